"""What rehydration hands out: all of it tracked, none of it twice, nothing of what is gone."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import gc
import math
import sys
from types import FrameType
from typing import Any

import pytest

from autostate.codec import registry
from autostate.errors import CodecError
from autostate.journal.commit import NodeState
from autostate.journal.replay import Replay
from autostate.tracking import Barrier, convert, node_capture
from autostate.tracking.kind import KINDS
from autostate.tracking.rehydration import _untouched
from tests.conformance.state_kit import Program, shape


class Colour(enum.Enum):
    """An enum that a later version of a program may lack."""

    RED = 1


def entry(number: int) -> dict[str, Any]:
    """A dict of scalars, as most entries are."""
    return {"status": 200, "depth": number, "title": f"Item {number}", "price": number / 8}


ENTRIES: dict[str, Any] = {
    "flat": entry(1),
    "one": {"only": 1},
    "one that looks like a tag": {"$set": 1},
    "empty": {},
    "moment": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    "moments": {"from": dt.date(2026, 1, 2), "to": None},
    "nested": {"in": entry(2), "tags": ["x", {"y": 1}], "set": {1, 2}},
    "list": [entry(3), 4, [entry(5)]],
    "tuple": (entry(6), [7]),
    "scalar": 8,
    "int keys": {9: entry(9)},
}


@pytest.mark.parametrize("copies", [1, 24], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["dict", "list", "deque"])
def test_all_of_it_is_tracked(kind: str, copies: int) -> None:
    """Every container that comes back saves what is done to it, however deep it lies."""
    program = Program()
    root = program.root("r", kind)
    for number in range(copies):
        for key, value in copy.deepcopy(ENTRIES).items():
            if kind == "dict":
                root[f"{key} {number}"] = value
            else:
                root.append(value)
    program.flush()
    following = program.restart()
    again = following.root("r", kind)
    assert shape(again) == shape(root)
    containers = list(_containers(again))
    assert len(containers) >= 18 * copies
    for number, container in enumerate(containers):
        assert isinstance(container, Barrier), container
        _write(container, number)
        following.flush()
        if number % 97 == 0 or number == len(containers) - 1:
            assert shape(following.restart().root("r", kind)) == shape(again)


def _containers(value: Any) -> Any:
    items = value.values() if isinstance(value, dict) else value
    for item in list(items):
        if isinstance(item, dict | list | set | tuple):
            if not isinstance(item, tuple):
                yield item
            if not isinstance(item, set):
                yield from _containers(item)


def _write(container: Any, number: int) -> None:
    if isinstance(container, dict):
        container["written"] = number
    elif isinstance(container, list):
        container.append(number)
    else:
        container.add(number)


def test_entries_keep_their_order_through_all_commits() -> None:
    """What was put, dropped, put again and written over comes back in the order of the dict."""
    program = Program()
    root = program.root("r", default={f"k{n}": entry(n) for n in range(600)})
    program.flush()
    del root["k3"], root["k599"]
    root["k5"] = 5
    program.flush()
    root["k3"] = entry(-3)
    root["new"] = [entry(0)]
    del root["k7"]
    program.flush()
    following = program.restart()
    again = following.root("r")
    assert list(again.items()) == list(root.items())
    again["k10"]["depth"] = root["k10"]["depth"] = -10
    following.flush()
    assert list(following.restart().root("r").items()) == list(root.items())


def test_keys_of_any_type_come_back_from_any_commit() -> None:
    """Entries whose keys are no str are merged before; what follows comes on top of them."""
    program = Program()
    root = program.root("r", default={f"k{n}": entry(n) for n in range(300)})
    program.flush()
    root[7] = entry(7)
    root[8] = 8
    program.flush()
    del root["k0"], root[8]
    program.flush()
    root["last"] = entry(9)
    program.flush()
    assert list(program.restart().root("r").items()) == list(root.items())


def test_what_is_gone_is_not_rebuilt() -> None:
    """An entry that was written over or dropped referred to nodes that the store may not have."""
    program = Program()
    root = program.root("r", default={f"k{n}": entry(n) for n in range(300)})
    root["over"] = root["gone"] = {f"m{n}": entry(n) for n in range(300)}
    program.flush()
    root["over"] = 1
    del root["gone"]
    program.flush()
    nodes = program.restart().journal.recover().nodes
    lost = [node_id for node_id, node in nodes.items() if not node.name]
    following = Program(program.store)
    for node_id in lost:
        following.tracker._rehydration._states.pop(node_id)
    assert following.root("r")["over"] == 1


def test_a_root_that_fails_takes_nothing_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both refer to one node; it was rebuilt for the one that failed, and is for the other."""
    program = Program()
    shared: Any = {f"k{n}": entry(n) for n in range(300)} | {"deep": {"in": [entry(0)]}}
    one, two = program.root("one"), program.root("two")
    one["shared"] = two["shared"] = shared
    del shared
    one["colour"] = Colour.RED
    program.flush()
    following = program.restart()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "enum_named", lambda _name: None)
        with pytest.raises(CodecError):
            following.root("one")
    again = following.root("two")
    assert again == two
    again["shared"]["k7"]["depth"] = again["shared"]["deep"]["in"][0]["depth"] = -1
    following.flush()
    assert following.restart().root("two") == again


def test_only_containers_are_converted() -> None:
    """The content of an object, and of a proxy, is what its own `decode` gets: plain JSON."""
    tracked, items = KINDS["dict"].nested, [entry(1), 2, [3], [{"$set": [1]}, 4]]
    for kind, expected in (("dict", tracked), ("proxy", dict), ("shared_object", dict)):
        content = {"value": entry(1), "tag": {"$set": [1]}, "scalar": 1}
        convert(NodeState(kind, None), content)
        assert [*map(type, content.values())] == [expected, dict, int]
    convert(NodeState("list", None), items)
    assert [*map(type, items)] == [tracked, int, KINDS["list"].nested, list]


def test_nothing_is_converted_before_there_are_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may delete a state object without ever making one."""
    monkeypatch.delitem(KINDS, "dict")
    content: dict[str, Any] = {"plain": entry(1)}
    convert(NodeState("dict", None), content)
    assert type(content["plain"]) is dict


def test_dicts_are_converted_where_the_collector_looks_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Newer versions of Python do not tell dicts of scalars from others by that."""
    monkeypatch.setattr(gc, "is_tracked", lambda _: True)
    content: dict[str, Any] = {"plain": entry(1), "deep": {"in": [1], "n": {"x": 2}}}
    convert(NodeState("dict", None), content)
    tracked = KINDS["dict"].nested
    assert [*map(type, content.values())] == [tracked, tracked]
    assert [*map(type, content["deep"].values())] == [KINDS["list"].nested, tracked]


@pytest.mark.parametrize("kind", [dict, list])
def test_large_containers_may_be_nested_deeper_than_functions(kind: type) -> None:
    """What was built step by step, each step in the last one, comes back however deep it is."""
    program = Program()
    root = program.root("r")
    root["in"] = kind(dict.fromkeys(range(300), 0))
    inner = root["in"]
    for _ in range(400):
        inner[0] = kind(dict.fromkeys(range(300), 0))
        inner = inner[0]
    program.flush()
    assert not program.errors
    found, depth = program.restart().root("r")["in"], 0
    while found:
        assert len(found) == 300
        found, depth = found[0], depth + 1
    assert depth == 401


def deep(number: int) -> dict[str, Any]:
    """A dict of dicts, lists and scalars."""
    inner = {"in": entry(number), "tags": ["x", number], "rows": [{"n": [number]}, {}]}
    return {"n": number, "one": {"only": number}, "deep": inner}


SHAPES: dict[str, tuple[str, Any]] = {
    "dicts": ("dict", lambda n: {f"k{i}": entry(i) for i in range(n)}),
    "dicts by number": ("dict", lambda n: {i: entry(i) for i in range(n)}),
    "dicts of one": ("dict", lambda n: {f"k{i}": {"only": i} for i in range(n)}),
    "lists": ("dict", lambda n: {f"k{i}": [i, str(i)] for i in range(n)}),
    "deep": ("dict", lambda n: {f"k{i}": deep(i) for i in range(n)}),
    "counts": ("counter", lambda n: {f"k{i}": i for i in range(n)}),
    "set": ("set", lambda n: {f"k{i}" for i in range(n)}),
    "set of numbers": ("set", lambda n: {*range(n)}),
    "list": ("list", lambda n: [entry(i) for i in range(n)]),
    "list of all": ("list", lambda n: [(deep(i), str(i))[i % 2] for i in range(n)]),
    "deque of lists": ("deque", lambda n: [[i, [i]] for i in range(n)]),
}


@pytest.mark.parametrize("which", SHAPES)
def test_rehydration_calls_no_function_for_each_entry(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries are read, converted and put in bulk: thousands of them in some hundred calls."""
    monkeypatch.setattr(node_capture, "SLICE", math.inf)  # lines would be short on a busy machine
    kind, content = SHAPES[which]
    program = Program()
    root = program.root("r", kind)
    (root.extend if kind in ("list", "deque") else root.update)(content(4096))
    program.flush()
    program.journal.compact(pause=lambda: None)  # or the number of lines would depend on the time
    calls = lines = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls, lines
        calls += event == "call"
        lines += event == "call" and frame.f_code is Replay.apply.__code__

    sys.setprofile(count)
    try:
        again = program.restart().root("r", kind)
    finally:
        sys.setprofile(None)
    assert shape(again) == shape(root)
    assert lines < 120
    assert calls < 500 + 50 * lines


def test_items_are_found_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if others were put in front of them, or taken out, after they were stored."""
    program = Program()
    root = program.root("r", "list", [entry(n) for n in range(600)])
    program.flush()
    root[10:10] = [entry(-1), [7], entry(-2)]
    program.flush()
    del root[300:310], root[0]
    program.flush()
    following = program.restart()
    again = following.root("r", "list")
    assert again == root
    numbers = [item._key_.number for item in again]
    assert numbers == [*range(again._node_.entries.first, again._node_.entries.first + len(again))]
    again[400]["depth"] = root[400]["depth"] = -3
    assert len(following.flush()) == 1
    assert following.restart().root("r", "list") == root


def test_a_list_that_was_loaded_is_not_written_again() -> None:
    """What the store has of it is known from its JSON, through all sorts of changes."""
    program = Program()
    root = program.root("r", "list", [deep(n) for n in range(40)])
    program.flush()
    root.insert(3, {"new": 1.5})
    program.flush()
    del root[20:23], root[7]
    root.append("é")
    program.flush()
    following = program.restart()
    following.root("r", "list")
    assert following.flush(full_compare=True) == []
    assert following.journal.recover().nodes


def test_a_tag_leaves_the_rest_of_the_entries_converted() -> None:
    """Only the entries with the tag are built one by one."""
    content: dict[str, Any] = {"a": deep(1), "b": {"x": {"y": [{"$tuple": [1, []]}]}}}
    state = NodeState("dict", None)
    before = copy.deepcopy(content["b"])
    convert(state, content)
    assert isinstance(content["a"], Barrier)
    assert content["b"] == before
    assert type(content["b"]["x"]["y"][0]) is dict
    assert state.unbuilt


def test_tagged_scalars_are_decoded_in_bulk() -> None:
    """At any depth, and wherever they lie; one that is damaged costs its root only."""
    date, good = dt.date(2026, 1, 2), {"$date": "2026-01-02"}
    content: dict[str, Any] = {"a": good, "b": {"x": [good, {"y": good, "z": 1}]}, "c": 1}
    state = NodeState("dict", None, unbuilt=False)
    convert(state, content)
    assert content == {"a": date, "b": {"x": [date, {"y": date, "z": 1}]}, "c": 1}
    assert isinstance(content["b"]["x"][1], Barrier)
    assert not state.unbuilt
    bad = {"a": {"$date": "tomorrow"}, "b": [{"$date": 1}], "c": good}
    convert(state, bad)
    assert bad == {"a": {"$date": "tomorrow"}, "b": [{"$date": 1}], "c": date}
    assert state.unbuilt


def test_a_load_that_an_upgrade_interrupts_keeps_scalars_and_containers() -> None:
    """What is stored is copied before, with what was converted already."""
    content: dict[str, Any] = {"a": {"at": {"$date": "2026-01-02"}, "in": [{"n": 1, "m": [2]}]}}
    convert(NodeState("dict", None), content)
    copied = _untouched(content)
    list.append(content["a"]["in"][0]["m"], 3)
    assert copied == {"a": {"at": dt.date(2026, 1, 2), "in": [{"n": 1, "m": [2]}]}}
    assert type(copied["a"]["in"][0]["m"]) is list

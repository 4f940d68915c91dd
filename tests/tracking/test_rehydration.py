"""What rehydration hands out: all of it tracked, none of it twice, nothing of what is gone."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import gc
from typing import Any

import pytest

from autostate.codec import registry
from autostate.errors import CodecError
from autostate.tracking import Barrier, convert
from autostate.tracking.kind import KINDS
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
    tracked = KINDS["dict"].nested
    for kind, expected in (("dict", tracked), ("proxy", dict), ("shared_object", dict)):
        content = {"value": entry(1), "tag": {"$date": "2026-01-02"}, "scalar": 1}
        convert(kind, content)
        assert [*map(type, content.values())] == [expected, dict, int]
        items = [entry(1), 2, [3]]
        convert("list", items)
        assert [*map(type, items)] == [tracked, int, list]


def test_nothing_is_converted_before_there_are_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may delete a state object without ever making one."""
    monkeypatch.delitem(KINDS, "dict")
    content: dict[str, Any] = {"plain": entry(1)}
    convert("dict", content)
    assert type(content["plain"]) is dict


def test_dicts_are_converted_where_the_collector_looks_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Newer versions of Python do not tell dicts of scalars from others by that."""
    monkeypatch.setattr(gc, "is_tracked", lambda _: True)
    content: dict[str, Any] = {"plain": entry(1), "deep": {"in": [1], "n": 2}}
    convert("dict", content)
    assert [*map(type, content.values())] == [KINDS["dict"].nested, dict]


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

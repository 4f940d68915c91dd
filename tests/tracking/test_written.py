"""What a full compare finds of writes past the barrier in large containers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from autostate.tracking import LARGE
from autostate.tracking.graph import Graph
from autostate.tracking.search import entries_inside
from tests.conformance.state_kit import Program, form, shape
from tests.tracking.test_live_conversion import python_calls

MANY = LARGE + 50
CONTENT: dict[str, Any] = {
    "dict": {number: number for number in range(MANY)},
    "counter": {number: number for number in range(MANY)},
    "set": set(range(MANY)),
}
WRITE: dict[str, Callable[[Any], object]] = {
    "dict": lambda root: dict.__setitem__(root, "new", [1]),
    "counter": lambda root: dict.__setitem__(root, "new", 1),
    "set": lambda root: set.add(root, "new"),
}
REMOVE: dict[str, Callable[[Any], object]] = {
    "dict": lambda root: dict.__delitem__(root, 7),
    "counter": lambda root: dict.__delitem__(root, 7),
    "set": lambda root: set.discard(root, 7),
}


@pytest.mark.parametrize("kind", CONTENT)
@pytest.mark.parametrize("write", [WRITE, REMOVE])
@pytest.mark.parametrize("rehydrated", [False, True])
def test_entries_that_came_or_went_past_the_barrier_are_found(
    kind: str, write: dict[str, Callable[[Any], object]], rehydrated: bool
) -> None:
    """In a container that was not written otherwise; and nothing is written twice."""
    program = Program()
    program.root("r", kind, CONTENT[kind])
    program.flush()
    program = program.restart() if rehydrated else program
    root = program.root("r", kind)
    assert program.flush(full_compare=True) == []
    write[kind](root)
    program.flush(full_compare=True)
    assert shape(program.restart().root("r", kind)) == shape(root)
    assert program.flush(full_compare=True) == []


@pytest.mark.parametrize("kind", CONTENT)
def test_what_came_past_the_barrier_while_it_shrank_is_saved(kind: str) -> None:
    """The hashes of a container that has become small are not those of unsaved entries."""
    program = Program()
    program.root("r", kind, CONTENT[kind])
    program.flush()
    program = program.restart()
    root = program.root("r", kind)
    for number in range(100):
        root.remove(number) if kind == "set" else root.pop(number)
    WRITE[kind](root)
    program.flush(full_compare=True)
    program.flush(full_compare=True)
    assert shape(program.restart().root("r", kind)) == shape(root)


@pytest.mark.parametrize("value", [{"a": 1}, {"a": {"b": [1]}}, [1, [2]]])
def test_a_large_dict_that_is_marked_as_a_whole_is_looked_through_once(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explicit flush resolves its values, and does not look for them a second time."""
    program = Program()
    root = program.root("r", "dict", dict.fromkeys(range(MANY), 0))
    program.flush()
    for number in range(MANY):
        root[number] = copy.deepcopy(value)
    program.tracker.estimate()  # nearly all entries are dirty: it is saved as a whole
    assert form(root) == "disarmed"
    looked: list[Any] = []
    monkeypatch.setattr(Graph, "look_inside", lambda *args, **_: looked.extend(args[2]))
    program.tracker.prepare(lambda: None, full_compare=True)
    assert looked == []
    monkeypatch.undo()
    program.flush(full_compare=True)
    assert program.restart().root("r") == root == dict.fromkeys(range(MANY), value)


def test_a_small_dict_is_looked_through_although_it_was_resolved() -> None:
    """Its hashes are kept: a full compare finds what was written past the barrier inside."""
    program = Program()
    root = program.root("r", "dict", {number: {"a": 1} for number in range(9)})
    program.flush()
    root.update(b=2)
    dict.__setitem__(root[3], "c", [5])
    program.tracker.prepare(lambda: None, full_compare=True)
    program.flush(full_compare=True)
    root[3]["c"].append(6)
    program.flush()
    assert program.restart().root("r") == root


def test_containers_inside_of_values_are_resolved_in_bulk() -> None:
    """A write to one takes few calls of Python, although its place is looked for."""
    program, count = Program(), 1_000
    root = program.root("r", default={f"k{n}": {"a": {"b": [n, {"c": n}]}} for n in range(count)})
    program.flush()

    def write(number: int) -> None:
        for value in root.values():
            value["a"]["b"][1]["c"] = number
            value["a"]["d"] = [number]

    write(1)
    assert python_calls(lambda: program.tracker.prepare(lambda: None)) < count
    program.flush()
    root["k1"]["a"]["d"].append(2)  # it was converted
    program.flush()
    assert program.restart().root("r") == root


def test_what_was_taken_out_of_a_value_is_plain_among_others_that_are_not() -> None:
    """Or it has moved to another value, or lies at two places."""
    program = Program()
    root = program.root("r", default={f"k{n}": {"a": {"b": n}, "c": 0} for n in range(50)})
    program.flush()
    taken = [root[f"k{n}"]["a"] for n in range(50)]
    for one in taken:
        one["b"] = -1
    del root["k3"]["a"]
    root["k4"]["a"], root["k5"]["a"] = root["k5"]["a"], root["k4"]["a"]
    root["k6"]["c"] = root["k7"]["a"]
    root["k8"].clear()
    program.tracker.prepare(lambda: None)
    program.flush()
    for one in taken:
        one["b"] = -2
    program.flush()
    again = program.restart().root("r")
    assert shape(again) == shape(root)
    assert again["k6"]["c"] is again["k7"]["a"]
    assert taken[3]._node_ is None
    assert taken[8]._node_ is None


def test_a_list_that_holds_itself_is_searched_once() -> None:
    """The search for places ends, and does not multiply."""
    program = Program()
    root = program.root("r", default={f"k{n}": {"a": [1]} for n in range(9)})
    program.flush()
    for value in root.values():
        list.extend(value["a"], [value["a"]] * 20)
    node, keys = root._node_, [*root]
    inside = [value["a"] for value in root.values()]
    found = entries_inside(node, keys, {id(root)})  # which is not there
    assert found == dict(zip(map(id, inside), keys, strict=True))

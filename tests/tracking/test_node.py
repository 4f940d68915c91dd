"""Containers with entries of their own: when they come to be, and how they come back."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from autostate.containers import PersistedDict, PersistedList
from autostate.tracking.watched import Watched
from tests.conformance.state_kit import BUILTIN, Program, shape
from tests.tracking.written import recovered, written


@pytest.mark.parametrize("before", [0, 200])
def test_a_container_that_grows_becomes_a_node(before: int) -> None:
    """Then one entry of it is written alone, and it comes back whole."""
    program = Program()
    state = program.root("state", default={"big": {f"o{i}": i for i in range(before)}, "x": 1})
    program.flush()
    state["big"].update({f"k{i}": {"n": i} for i in range(300)})
    program.flush()
    assert shape(recovered(program)) == shape(state)
    state["big"]["k7"]["n"] = "changed"
    changes = written(program.flush())
    assert [change.get("put") for change in changes] == [{"k7": {"n": "changed"}}]
    assert shape(recovered(program)) == shape(state)
    while len(state["big"]) > 5:
        state["big"].popitem()
    program.flush()
    assert shape(recovered(program)) == shape(state)


def test_what_is_at_two_places_is_one_object_again() -> None:
    """Between roots, in one list twice, in itself; and it stays one while it changes."""
    program = Program()
    state, items = program.root("state"), program.root("items", "list")
    state["a"] = {"n": [0]}
    program.flush()
    shared = state["a"]
    state["b"] = {"deeper": shared["n"]}
    items.extend([shared, {"x": shared}, [1]])
    items.append(items[2])
    shared["self"] = shared
    shared["root"] = items
    for step in range(3):
        program.flush()
        assert program.flush(full_compare=True) == []
        following = program.restart()
        again = following.root("state"), following.root("items", "list")
        assert shape(*again) == shape(state, items)
        shared["n"].append(step)
        items[2].append(step)


@pytest.mark.parametrize("many", [0, 300])
def test_a_plain_container_at_two_places_is_one_object_again(many: int) -> None:
    """While it is held outside it is watched; when it is free, it is converted at all places."""
    program = Program()
    state, items = program.root("state"), program.root("items", "list")
    shared: dict[str, Any] = {f"k{i}": i for i in range(many)} | {"in": [1]}
    state["a"] = shared
    state["b"] = {"deep": [shared, (shared,)]}
    items.extend([shared, [shared["in"]]])
    for step in range(3):
        program.flush()
        assert state["a"] is shared
        assert program.flush() == []
        following = program.restart()
        again = following.root("state"), following.root("items", "list")
        assert shape(*again) == shape(state, items)
        shared["in"].append(step)
        shared[f"new{step}"] = [step]
    state["b"]["deep"].pop()
    del shared
    for step in range(3):
        program.flush()
        program.flush()
        assert isinstance(state["a"], PersistedDict)
        assert state["a"] is items[0]
        assert isinstance(items[1][0], PersistedList)
        assert not program.tracker.part(Watched).knows(state._node_, "a")
        following = program.restart()
        again = following.root("state"), following.root("items", "list")
        assert shape(*again) == shape(state, items)
        state["a"]["in"].append(step)


def test_an_element_that_is_put_twice_into_a_list_is_one_object_again() -> None:
    """Elements of a list that is a node are entries by identity."""
    program = Program()
    items = program.root("items", "list", [{"n": [0]}, {"n": [1]}])
    program.flush()
    items.append(items[0])
    items.append([items[1], items[1]])
    for step in range(2):
        program.flush()
        assert shape(recovered(program, "items", "list")) == shape(items)
        items[0]["n"].append(step)
        items[1]["n"].append(step)


def test_what_becomes_a_node_while_it_is_encoded_is_saved_as_it_was_at_the_cut() -> None:
    """A cycle is found then; what is written inside of it afterwards is not part of the cut."""
    program = Program()
    state = program.root("state", default={"a": {"in": {"n": 1}}})
    program.flush()
    state["a"]["in"]["up"] = state["a"]
    former = shape(copy.deepcopy(state))
    capture = program.tracker.cut()
    assert capture is not None
    state["a"]["in"]["n"] = 2
    program.journal.commit(capture.encode())
    capture.saved()
    assert shape(recovered(program)) == former
    program.flush()
    assert shape(recovered(program)) == shape(state)


def test_a_deleted_object_that_is_put_into_the_state_is_watched_at_any_depth() -> None:
    """It was at full speed; now every write to it, and to what is inside it, is seen."""
    program = Program()
    old, state = program.root("old", default={"a": {"b": [1]}}), program.root("state")
    program.flush()
    program.tracker.detach("old")
    program.flush()
    state["old"] = old
    for step in range(2):
        program.flush()
        old["a"]["b"].append(step)
        old["a"][f"k{step}"] = step
        program.flush()
        assert shape(recovered(program)) == shape(state)


def test_new_nodes_that_refer_to_each_other_are_saved_once() -> None:
    """A capture ends, although neither of them is known to the store."""
    program = Program()
    state = program.root("state", default={"a": {"x": {}}, "b": {}})
    program.flush()
    state["a"]["other"] = state["b"]
    state["b"]["other"] = state["a"]
    changes = program.flush()
    assert len(changes) == len({json.loads(change)["id"] for change in changes})
    assert shape(recovered(program)) == shape(state)


def test_a_plain_container_that_holds_itself_comes_back_so() -> None:
    """A cycle of plain containers is saved, whether it is held outside or not."""
    program = Program()
    state = program.root("state")
    loop: dict[str, Any] = {"x": [1]}
    loop["self"] = loop
    loop["x"].append({"back": loop})
    state["loop"] = loop
    for step in range(3):
        program.flush()
        assert not program.errors
        assert program.flush(full_compare=True) == []
        assert shape(recovered(program)) == shape(state)
        loop["x"].append(step)
    del loop
    program.flush()
    assert shape(recovered(program)) == shape(state)
    del state["loop"]
    program.flush()
    assert recovered(program) == {}


def test_a_node_that_nothing_refers_to_comes_back_when_it_is_used_again() -> None:
    """An unreachable node is held by the program alone; compaction may leave it out."""
    program = Program()
    state = program.root("state", default={"big": {f"k{i}": i for i in range(300)}})
    program.flush()
    big = state.pop("big")
    program.flush()
    program.tracker.collected(program.journal.compact(pause=lambda: None))
    big["k0"] = "changed outside"
    program.flush()
    state["again"] = big
    program.flush()
    assert shape(recovered(program)) == shape(state)


def test_a_deleted_root_is_plain_and_gone() -> None:
    """Its object goes on as a plain one; the next run does not find it."""
    program = Program()
    state = program.root("state", default={"a": {"b": [1]}})
    other = program.root("other")
    other["x"] = state["a"]
    program.flush()
    program.tracker.detach("state")
    state["a"]["b"].append(2)
    state["c"] = 3
    program.flush()
    assert recovered(program) == {}
    assert program.restart().root("other") == {"x": {"b": [1, 2]}}


CONTENT: dict[str, Callable[[range], Any]] = {
    "dict": lambda numbers: {f"k{n}": [n] for n in numbers},
    "counter": lambda numbers: {f"k{n}": n for n in numbers},
    "set": set,
    "list": lambda numbers: [[n] for n in numbers],
    "deque": lambda numbers: [{"n": n} for n in numbers],
}


def overwrite(container: Any) -> None:
    """Change what a container holds, at any depth, then empty it."""
    for inner in container.values() if isinstance(container, dict) else container:
        if isinstance(inner, list | dict):
            overwrite(inner)
    container.clear()


@pytest.mark.parametrize("pauses", range(3))
@pytest.mark.parametrize("known", [0, 2, 900])
@pytest.mark.parametrize("kind", CONTENT)
def test_a_root_that_is_deleted_after_the_cut_is_saved_as_it_was_at_the_cut(
    kind: str, known: int, pauses: int
) -> None:
    """With all else as of that moment; the next save removes it. Also half-way through."""
    program = Program()
    other = program.root("other")
    state = program.root("state", kind, CONTENT[kind](range(known)))
    if known:
        program.flush()
    is_sequence = kind in {"list", "deque"}
    add = state.extend if is_sequence else state.update
    more = 4_000 if is_sequence else 100  # a thousand items are encoded without a pause
    add(CONTENT[kind](range(known, known + more)))
    other["moment"] = 1
    at_the_cut = shape({"moment": 1}, copy.deepcopy(BUILTIN[kind](state)))
    capture = program.tracker.cut()
    assert capture is not None
    times = itertools.count()

    def delete() -> None:
        if next(times) == pauses:
            program.tracker.detach("state")
            overwrite(state)
            other["moment"] = 2

    delete()
    program.journal.commit(capture.encode(delete))
    capture.saved()
    assert shape(recovered(program, "other"), recovered(program, kind=kind)) == at_the_cut
    program.flush()
    assert recovered(program, "other") == {"moment": 2}
    assert not recovered(program, kind=kind)

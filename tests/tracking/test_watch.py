"""What the program holds too is watched: aliases, and what they do to conversion."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from autostate.containers import PersistedDict, PersistedList
from autostate.tracking import watch
from autostate.tracking.barrier import Barrier
from autostate.tracking.watched import Watched
from tests.conformance.state_kit import Program, shape
from tests.tracking.held import Page, content, restored
from tests.tracking.written import recovered


@pytest.mark.parametrize("many", [0, 300])
def test_a_list_held_outside_is_watched_and_adopted_when_it_is_free(many: int) -> None:
    """It stays the same object while it is held; what is appended there is saved."""
    program = Program()
    state = program.root("state", default={f"k{i}": i for i in range(many)})
    queue: list[Any] = []
    state["queue"] = queue
    for item in (1, [2]):
        program.flush()
        assert state["queue"] is queue
        assert program.tracker.needs_polling
        assert program.flush() == []
        queue.append(item)
        program.flush()
        assert recovered(program)["queue"] == queue
    del queue, item
    program.flush()
    assert isinstance(state["queue"], PersistedList)
    assert not program.tracker.part(Watched).knows(state._node_, "queue")
    assert program.flush() == []


def test_an_alias_in_a_mapping_that_has_just_grown_large_is_written_once() -> None:
    """What was saved of watched entries is known from then on, though of no other entry."""
    program = Program()
    state = program.root("state")
    program.flush()
    state.update({f"k{number}": number for number in range(300)}, one=[0])
    state["two"] = state["one"]
    program.flush()
    assert program.flush() == []


def test_what_is_replaced_while_a_capture_is_encoded_is_not_in_it() -> None:
    """The factory of a `defaultdict` is of the moment of the cut, as its entries are."""
    program = Program()
    state = program.root("state")
    held: Any = defaultdict(list, x=[1])
    state["made"] = state["again"] = held
    capture = program.tracker.cut()
    assert capture is not None
    held.default_factory = dict
    program.journal.commit(capture.encode())
    capture.saved()
    assert recovered(program)["made"].default_factory is list
    program.flush()
    assert recovered(program)["made"].default_factory is dict


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_a_list_held_outside_inside_of_what_was_adopted_is_watched(kind: str) -> None:
    """Conversion of what is around it does not end the watch, nor does a move."""
    program = Program()
    root = program.root("state", kind, {"a": 0} if kind == "dict" else [0])
    queue: list[Any] = []
    put = root.append if kind == "list" else (lambda value: root.update(new=value))
    put({"inner": {"queue": queue}})
    del put
    for item in range(3):
        program.flush()
        queue.append(item)
        program.flush()
        assert shape(recovered(program, kind=kind)) == shape(root)
    holder = root[1] if kind == "list" else root["new"]
    assert isinstance(holder, PersistedDict)
    root.clear()
    root.append(holder) if kind == "list" else root.update(moved=holder)
    program.flush()
    queue.append("after the move")
    program.flush()
    assert shape(recovered(program, kind=kind)) == shape(root)


def test_a_tuple_that_holds_a_list_is_watched() -> None:
    """A list in a tuple cannot be replaced, so it is compared."""
    program = Program()
    state = program.root("state")
    state["pair"] = (1, [2])
    program.flush()
    state["pair"][1].append(3)
    program.flush()
    assert recovered(program) == {"pair": (1, [2, 3])}


def test_what_is_moved_is_saved_where_it_is() -> None:
    """A nested container that moves marks its new home, not its old one."""
    program = Program()
    state = program.root("state", default={"a": {"in": {"x": 1}}, "b": {}})
    program.flush()
    moved = state["a"].pop("in")
    state["b"]["in"] = moved
    program.flush()
    moved["x"] = 2
    program.flush()
    assert shape(recovered(program)) == shape({"a": {}, "b": {"in": {"x": 2}}})


def test_watching_very_much_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an example; it names no value."""
    monkeypatch.setattr(watch, "MANY", 10)
    program = Program()
    held: list[list[int]] = [[] for _ in range(20)]
    program.root("state", default=dict(enumerate(held)))
    for _ in range(3):
        program.flush()
    [record] = caplog.records
    assert record.getMessage().startswith("20 entries, state[0] for example")


def test_an_alias_inside_a_tuple_is_found_before_its_first_place_is_encoded() -> None:
    """Also in the only flush that there is after it was put there."""
    for flush_before in (False, True):
        program = Program()
        state = program.root("state")
        state["a"] = {}
        state["d"] = {"q": state["a"]}
        if flush_before:
            program.flush()
        with program.tracker.atomic():
            state["e"] = ({"s": state["d"]},)
        program.flush(full_compare=True)
        state = recovered(program)
        assert state["e"][0]["s"] is state["d"]
        assert state["d"]["q"] is state["a"]


def test_a_look_between_two_cuts_finds_that_no_cut_is_needed() -> None:
    """While entries are watched, and nothing in them has changed."""
    program = Program()
    root = program.root("state")
    held: list[Any] = [[1], {"n": 1}, Page("x")]
    root.update(enumerate(held))
    program.flush()
    program.flush()
    assert program.tracker.needs_polling
    assert not program.tracker.look()
    held[1]["n"] = 2
    assert program.tracker.look()
    program.flush()
    assert content(restored(program)) == content(root)
    assert not program.tracker.look()
    del held[1]
    assert program.tracker.look()
    program.flush()
    assert issubclass(type(root[1]), Barrier)

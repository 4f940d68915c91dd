"""What cannot be saved is told with its path; everything beside it is saved."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest

import autostate
from tests.conformance.state_kit import Program, shape


@dataclass
class Job:
    """An object that holds something that cannot be saved."""

    name: str
    lock: Any = None


def told(program: Program) -> list[str]:
    """The paths of what was not saved."""
    return [error.path for error in program.errors]


@pytest.mark.parametrize("kind", ["list", "deque"])
@pytest.mark.parametrize("size", [3, 1_000])
def test_in_a_sequence_its_place_is_kept(kind: str, size: int) -> None:
    """The other items are where they were, and go on being saved."""
    program = Program()
    made = program.root("s", kind, list(range(size)))
    program.flush()
    lock = threading.Lock()
    made.append(lock)
    made.append("after")
    made[0] = "changed"
    program.flush()
    assert told(program) == [f"s[{size}]"]
    again = program.restart().root("s", kind)
    assert [again[0], again[-1], len(again)] == ["changed", "after", size + 2]
    assert type(again[size]) is autostate.Unknown
    assert again[size].name == "_thread.lock"
    made[size] = "mended"
    program.flush(full_compare=True)
    assert not program.errors
    assert shape(program.restart().root("s", kind)) == shape(made)


def test_inside_an_entry_the_rest_of_it_is_saved() -> None:
    """Dicts, lists, tuples, objects; each value that is not saved is named."""
    program = Program()
    lock = threading.Lock()
    state = program.root("state", default={"n": 1})
    state["o"] = {"a": 1, "lock": lock, "b": [2, lock, {"c": (3, lock)}], "job": Job("x", lock)}
    program.flush()
    assert told(program) == [
        'state["o"]["lock"]',
        'state["o"]["b"][1]',
        'state["o"]["b"][2]["c"][1]',
        'state["o"]["job"].lock',
    ]
    again = program.restart().root("state")["o"]
    unknown = again["lock"]
    assert type(unknown) is autostate.Unknown
    assert again == {
        "a": 1,
        "lock": unknown,
        "b": [2, unknown, {"c": (3, unknown)}],
        "job": Job("x", unknown),
    }
    state["o"]["a"] = 2
    program.flush()
    assert program.restart().root("state")["o"]["a"] == 2


def test_of_many_in_one_entry_a_few_are_named() -> None:
    """A list of such values is no reason for as many lines in the log; their number is told."""
    program = Program()
    state = program.root("state", default={})
    state["v"] = [1, *[object() for _ in range(9)]]
    program.flush()
    assert told(program) == [*(f'state["v"][{at}]' for at in range(1, 6)), 'state["v"]…']
    assert "4 more values in it cannot be saved" in str(program.errors[-1])


def test_what_stands_for_it_is_carried_along() -> None:
    """A program that only reads such a state writes the same again, and nothing more."""
    program = Program()
    program.root("s", "list", [1, threading.Lock(), {"x": [threading.Lock()]}])
    program.flush()
    following = program.restart()
    again = following.root("s", "list")
    assert following.flush(full_compare=True) == []
    again.append(2)
    following.flush()
    assert not following.errors
    assert shape(following.restart().root("s", "list")) == shape(again)


def test_an_entry_that_cannot_be_saved_is_left_out() -> None:
    """Of a dict or set itself: then the key is not there after a restart, as was told."""
    program = Program()
    state = program.root("state", default={"a": 1})
    members = program.root("members", "set", {1})
    state["lock"] = threading.Lock()
    members.add(Ellipsis.__class__)
    state["b"] = 2
    program.flush()
    assert told(program) == ['state["lock"]', "members (the key <type>)"]
    following = program.restart()
    assert following.root("state") == {"a": 1, "b": 2}
    assert following.root("members", "set") == {1}


def test_monitoring_sees_what_is_not_saved(isolated: object) -> None:
    """The log is not all: statistics, info and the signal tell of it too, until it is mended."""
    signalled: list[tuple[str, int]] = []

    def failed(_: object, error: Exception, failures: int) -> None:
        signalled.append((str(error).partition(":")[0], failures))

    with autostate.hub.flush_failed.connected_to(failed):
        state: autostate.PersistedDict[str, Any] = autostate.PersistedDict("state", n=1)
        other: autostate.PersistedDict[str, Any] = autostate.PersistedDict("state2")
        other["x"] = 1
        state["deep"] = {"lock": threading.Lock()}
        for _ in range(2):
            with pytest.raises(autostate.UnsupportedTypeError):
                autostate.flush()
        path = 'state["deep"]["lock"]'
        assert signalled == [(path, 0)]
        assert autostate.statistics().unsavable == (path,)
        assert autostate.info(state).unsavable == (path,)
        assert autostate.info(other).unsavable == ()
        state["deep"]["lock"] = "mended"
        autostate.flush()
        assert autostate.statistics().unsavable == ()

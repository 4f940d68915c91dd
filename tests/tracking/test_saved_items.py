"""Copies of the saved items of sequences: a full compare encodes nothing that is the same."""

from __future__ import annotations

import heapq
import random
import sys
from collections import deque
from collections.abc import Callable
from operator import is_
from types import FrameType
from typing import Any

import pytest

from autostate.tracking import saved_items
from autostate.tracking.sequences import SequenceCapture
from tests.conformance.state_kit import Program, shape

KINDS = ["list", "deque"]


def filled(kind: str, items: list[Any]) -> tuple[Program, Any]:
    """A saved sequence."""
    program = Program()
    made = program.root("s", kind, items)
    items.clear()
    program.flush()
    program.flush()
    return program, made


def scalars(count: int) -> list[Any]:
    """Items that never change."""
    return [[None, True, 0.5, f"item {n}", n + 1000][n % 5] for n in range(count)]


def dicts(count: int) -> list[Any]:
    """Items that become persisted containers."""
    return [{"n": n, "tags": [n]} for n in range(count)]


def tuples(count: int) -> list[Any]:
    """Items as of a heap."""
    return [(n, f"item {n}") for n in range(count)]


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls of Python functions of the library."""
    calls = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call" and "autostate" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("make", [scalars, dicts, tuples])
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_compare_calls_nothing_for_each_item(kind: str, make: Callable[[int], Any]) -> None:
    """Where nothing has changed it makes the same calls for a thousand items and for ten."""
    found = []
    for count in (1_000, 10_000):
        program, _ = filled(kind, make(count))
        found.append(calls_of(lambda: program.flush(full_compare=True)))  # noqa: B023
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_compare_encodes_what_was_marked(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two thousand items: one replaced, one changed inside, some at the ends."""
    program, made = filled(kind, dicts(2_000))
    encoded: list[int] = []
    raws = SequenceCapture._raws

    def counted(self: SequenceCapture, units: list[tuple[int, int]]) -> list[bytes]:
        encoded.append(sum(stop - start for start, stop in units))
        return raws(self, units)

    monkeypatch.setattr(SequenceCapture, "_raws", counted)
    for turn in range(3):
        made[1_000] = turn
        made[700 + turn]["n"] = "new"
        made.append({"n": turn})
        del made[0]
        program.flush(full_compare=True)
    assert sum(encoded) == 9
    assert shape(program.restart().root("s", kind)) == shape(made)


PAST: dict[str, Callable[[Any], object]] = {
    "replaced": lambda s: base(s).__setitem__(s, 500, "new"),
    "replaced by a container": lambda s: base(s).__setitem__(s, 500, {"new": [1]}),
    "equal": lambda s: base(s).__setitem__(s, 300, True),
    "appended": lambda s: base(s).append(s, {"new": [1]}),
    "removed": lambda s: base(s).__delitem__(s, 7),
    "reversed": lambda s: base(s).reverse(s),
    "moved": lambda s: base(s).insert(s, 0, base(s).pop(s)),
    "twice": lambda s: base(s).__setitem__(s, 500, s[501]),
    "both": lambda s: (s.append(3), base(s).__setitem__(s, 500, "new")),
    "both, replaced": lambda s: (s.__setitem__(4, 3), base(s).__setitem__(s, 500, "new")),
    "both, moved": lambda s: (s.insert(9, 3), base(s).__setitem__(s, 500, "new")),
}


def base(items: Any) -> Any:
    """The builtin."""
    return list if isinstance(items, list) else deque


@pytest.mark.parametrize("which", PAST)
@pytest.mark.parametrize("kind", KINDS)
def test_writes_past_the_barrier_are_found(kind: str, which: str) -> None:
    """By the items, where nothing has marked them."""
    items = dicts(1_000)
    items[300] = 1
    program, made = filled(kind, items)
    for _ in range(2):
        PAST[which](made)
        program.flush(full_compare=True)
        assert shape(program.restart().root("s", kind)) == shape(made)
    following = program.restart()
    again = following.root("s", kind)
    PAST[which](again)
    following.flush(full_compare=True)
    assert shape(following.restart().root("s", kind)) == shape(again)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_put_past_the_barrier_is_tracked(kind: str) -> None:
    """A container that a full compare has found is marked by its own writes afterwards."""
    program, made = filled(kind, dicts(1_000))
    base(made).__setitem__(made, 500, {"new": [1]})
    program.flush(full_compare=True)
    made[500]["new"].append(2)
    assert len(program.flush()) == 1
    assert shape(program.restart().root("s", kind)) == shape(made)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_containers_are_converted_in_spite_of_the_copy(kind: str) -> None:
    """The copy does not hold them; when the program lets go of them, they become tracked."""
    items = dicts(1_000)
    held = items[3], items[900]
    program, made = filled(kind, items)
    held[0]["n"] = "changed"
    assert len(program.flush(full_compare=True)) == 1
    assert type(made[3]) is type(made[900]) is dict
    assert made._node_.entries.saved.items is not None
    del held
    program.flush()
    assert type(made[3]) is not dict
    assert type(made[900]) is not dict
    assert program.flush(full_compare=True) == []
    made[900]["n"] = "new"
    assert len(program.flush()) == 1


def test_a_container_in_a_copy_is_held_by_nobody() -> None:
    """So the cut does not have to encode it at once, and does not suspect late calls."""
    program, made = filled("list", dicts(1_000))
    del made[0]
    made[500]["n"] = "new"
    capture = program.tracker.cut()
    assert capture is not None
    [part] = capture.node_captures
    assert not part.early
    assert [one for one, _ in program.tracker.written.late_calls.suspects.values()] == [made]
    capture.encode()
    capture.failed()


def test_a_heap_costs_what_moved() -> None:
    """Again and again; each time the copy is that of the last save."""
    program, heap = filled("list", tuples(1_000))
    rng = random.Random(5)
    for number in range(20):
        heapq.heapreplace(heap, (rng.randrange(1_000), f"new {number}"))
        if number % 3 == 0:
            heapq.heappush(heap, (rng.randrange(1_000), f"pushed {number}"))
        changes = program.flush(full_compare=True)
        assert sum(map(len, changes)) < 4_000
        assert shape(program.restart().root("s", "list")) == shape(heap)


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_failure_everything_is_compared(kind: str) -> None:
    """The copy is that of no save then."""
    program, made = filled(kind, scalars(1_000))
    made[500] = "new"
    capture = program.tracker.cut(full_compare=True)
    assert capture is not None
    capture.encode()
    capture.failed()
    assert not saved_items.is_followed(made._node_)
    program.flush(full_compare=True)
    assert shape(program.restart().root("s", kind)) == shape(made)
    assert saved_items.is_followed(made._node_)


@pytest.mark.parametrize("kind", KINDS)
def test_many_places_of_one_sequence(kind: str) -> None:
    """A copy with holes at many places is made anew, one with few is changed in place."""
    program, made = filled(kind, dicts(1_000))
    rng = random.Random(2)
    for places in (3, 40, 200):
        for _ in range(places):
            position = rng.randrange(len(made) - 1)
            if rng.random() < 0.5:
                del made[position]
            else:
                made.insert(position, {"n": position})
        before = made._node_.entries.saved.items
        program.flush()
        now = made._node_.entries.saved.items
        assert (now is before) == (places == 3)
        assert len(now) == len(made)
        assert all(map(is_, made, now))
        assert program.flush(full_compare=True) == []
    assert shape(program.restart().root("s", kind)) == shape(made)


def test_a_copy_ends_with_its_state() -> None:
    """Else it would keep the items alive until the garbage collector finds the node."""
    program, made = filled("list", dicts(1_000))
    entries = made._node_.entries
    assert entries.saved.items is not None
    program.tracker.close()
    assert entries.saved is None


@pytest.mark.parametrize(("adding", "most"), [(False, 25), (True, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_changed_items_are_saved_in_bulk(kind: str, most: int, *, adding: bool) -> None:
    """A save makes a few calls for each item that changed inside, or was added."""
    program, made = filled(kind, [{"n": n} for n in range(3_000)])
    found = []
    for count in (200, 1_200):
        if adding:
            made.extend([{"n": n} for n in range(count)])
        for number in range(0 if adding else count):
            made[number * 2]["n"] = "new"
        found.append(calls_of(lambda: program.flush(full_compare=True)))
    assert found[1] - found[0] < 1_000 * most
    assert shape(program.restart().root("s", kind)) == shape(made)

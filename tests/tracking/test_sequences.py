"""Lists and deques: what a change costs, and that any run of changes comes back exactly."""

from __future__ import annotations

import heapq
import json
import os
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.state_kit import PERSISTED, Program, shape

KINDS = [kind for kind in ("list", "deque") if kind in PERSISTED]
SEEDS = int(os.environ.get("AUTOSTATE_EXAMPLES", "5"))


def filled(kind: str, count: int, *, nested: bool) -> tuple[Program, Any]:
    """A saved sequence of ints, or of small dicts."""
    program = Program()
    items = [{"n": i, "m": i} if nested else i for i in range(count)]
    made = program.root("s", kind, items)
    del items
    program.flush()
    program.flush()
    return program, made


def written(changes: list[bytes]) -> int:
    """How many items changes hold."""
    return sum(len(json.loads(change).get("items", ())) for change in changes)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("operation", "items"),
    [
        (lambda s: s.append(0), 1),
        (lambda s: s.pop(), 0),
        (lambda s: s.extend([1, 2, 3]), 3),
        (lambda s: s.__setitem__(1_000, 7), 1),
        (lambda s: s.__setitem__(0, 7), 1),
        (lambda s: s.__delitem__(0), 0),
        (lambda s: s.insert(0, 7), 1),
        (lambda s: (s.append(1), s.__delitem__(0)), 1),
    ],
    ids=["append", "pop", "extend", "middle", "first", "del first", "insert first", "queue"],
)
def test_a_change_costs_what_changed(
    kind: str, operation: Any, items: int, *, nested: bool
) -> None:
    """Of two thousand items only those are encoded and written that changed."""
    program, made = filled(kind, 2_000, nested=nested)
    operation(made)
    capture = program.tracker.cut()
    assert capture is not None
    changes = capture.encode()
    program.journal.commit(changes)
    capture.saved()
    assert written(changes) == items
    assert capture.entries == items
    assert shape(program.restart().root("s", kind)) == shape(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_writes_what_changed_at_either_end_only(kind: str) -> None:
    """Items are compared with those that were saved, wherever the first one is now."""
    program, made = filled(kind, 2_000, nested=False)
    for number in range(40):
        del made[0]
        made.append(number)
        assert written(program.flush(full_compare=True)) == 1
    assert shape(program.restart().root("s", kind)) == shape(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_inside_an_element_costs_that_element(kind: str) -> None:
    """At any position, and after the positions have changed."""
    program, made = filled(kind, 2_000, nested=True)
    made[1_000]["n"] = "new"
    [change] = program.flush()
    assert json.loads(change) == {"id": 1, "at": 1_000, "items": [{"n": "new", "m": 1_000}]}
    del made[0]
    made[1_000]["n"] = "newer"
    changes = [json.loads(change) for change in program.flush()]
    assert changes == [
        {"id": 1, "trim": [1, 2_000]},
        {"id": 1, "at": 1_001, "items": [{"n": "newer", "m": 1_001}]},
    ]
    assert shape(program.restart().root("s", kind)) == shape(made)
    assert program.flush(full_compare=True) == []


def test_a_heap_is_found_by_a_sweep_and_costs_what_moved() -> None:
    """`heapq` writes past any subclass: what it moved is found by the hashes of items."""
    program, heap = filled("list", 10_000, nested=False)
    heapq.heapreplace(heap, 5_000)
    assert program.flush() == []
    changes = program.flush(full_compare=True)
    assert 0 < written(changes) <= 20
    assert list(program.restart().root("s", "list")) == list(heap)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rehydrated_sequence_has_nothing_to_write(kind: str) -> None:
    """Also a full compare finds nothing, and the next change costs itself."""
    for count in (5, 255, 10_000):
        program, made = filled(kind, count, nested=True)
        following = program.restart()
        again = following.root("s", kind)
        assert following.flush(full_compare=True) == []
        again.append({"n": -1, "m": -1})
        assert written(following.flush()) == 1
        made.append({"n": -1, "m": -1})
        assert shape(following.restart().root("s", kind)) == shape(made)


def change_at_random(rng: random.Random, target: Any, number: int) -> None:  # noqa: PLR0912
    """Make one change of any kind."""
    position = rng.randrange(len(target)) if target else 0
    value = rng.choice([number, {"n": number, "m": 1}, [number, [number]]])
    match rng.randrange(13):
        case 0 | 1:
            target.append(value)
        case 2 if target:
            del target[0]
        case 3 if target:
            target.pop()
        case 4:
            target.insert(0, value)
        case 5 if target:
            target[position] = value
        case 6 if target:
            del target[position]
        case 7:
            target.insert(position, value)
        case 8:
            target.extend([number] * rng.choice([2, 60]))
        case 9 if rng.random() < 0.2:
            target.reverse()
        case 10 if isinstance(target, deque):
            target.rotate(rng.choice([-3, -1, 1, 2, 100]))
        case 11 if isinstance(target, deque) and target:
            ends: list[Callable[[], object]] = [target.popleft, lambda: target.appendleft(value)]
            rng.choice(ends)()
        case _ if target and isinstance(target[position], dict):
            target[position]["n"] = -number
        case _ if target and isinstance(target[position], list):
            target[position][1:] = [[number]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_run_of_changes_comes_back(kind: str, seed: int) -> None:
    """Large and small, with captures that fail or of which nobody knows whether they did."""
    rng = random.Random(seed)
    program = Program()
    made = program.root("s", kind, [{"n": i} for i in range(rng.choice([0, 3, 250, 300, 700]))])
    number = 0
    for _ in range(25):
        for _ in range(rng.choice([1, 2, 5, 40])):
            number += 1
            change_at_random(rng, made, number)
        outcome: Any = rng.choice(["saved", "saved", "lost", "unknown"])
        program.flush(full_compare=rng.random() < 0.3, outcome=outcome)
        if rng.random() < 0.3:
            program.flush()
            expected = shape(made)
            following = program.restart()
            again = following.root("s", kind)
            assert shape(again) == expected
            if rng.random() < 0.5:
                program, made = following, again
                assert program.flush(full_compare=True) == []

"""Saving a list or a deque costs what changed, wherever that is: entries and bytes are counted."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

import autostate
from autostate import PersistedDeque, PersistedDict, PersistedList
from autostate.tracking import LARGE
from tests.growth.growing import Runs, Saves, saving_by_itself, url

STARTS = (10, LARGE - 1, LARGE, LARGE + 1, 3000)
"""Items at the first save: few, just as many as are compared, and more."""

KINDS: dict[str, Any] = {"list": PersistedList, "deque": PersistedDeque}

Operation = Callable[[Any], object]

REMOVALS: dict[str, Operation] = {
    "del first": lambda s: s.__delitem__(0),
    "del second": lambda s: s.__delitem__(1),
    "del middle": lambda s: s.__delitem__(len(s) // 2),
    "del last": lambda s: s.__delitem__(-1),
    "pop": lambda s: s.pop(),
    "remove": lambda s: s.remove(s[len(s) // 3]),
}
INSERTIONS: dict[str, tuple[Operation, int]] = {
    "insert first": (lambda s: s.insert(0, "a"), 1),
    "insert second": (lambda s: s.insert(1, "b"), 1),
    "insert middle": (lambda s: s.insert(len(s) // 2, "c"), 1),
    "insert before last": (lambda s: s.insert(-1, "d"), 1),
    "append": (lambda s: s.append("e"), 1),
    "extend": (lambda s: s.extend(["f", "g", "h"]), 3),
    "extend by a generator": (lambda s: s.extend(c for c in "ijk"), 3),
    "iadd": (lambda s: s.__iadd__(["l", "m"]), 2),
    "replace": (lambda s: s.__setitem__(len(s) // 2, "n"), 1),
    "replace and shift": (lambda s: (s.__setitem__(4, "o"), s.insert(2, "p"), s.__delitem__(0)), 2),
    "both ends": (lambda s: (s.insert(0, "q"), s.append("r"), s.insert(5, "s")), 3),
}
LIST_ONLY: dict[str, tuple[Operation, int]] = {
    "pop(i)": (lambda s: s.pop(len(s) // 2), 0),
    "del slice": (lambda s: s.__delitem__(slice(2, 6)), 0),
    "del from the front": (lambda s: s.__delitem__(slice(3)), 0),
    "del backwards": (lambda s: s.__delitem__(slice(6, 2, -1)), 0),
    "del every second": (lambda s: s.__delitem__(slice(1, 8, 2)), 0),
    "a longer slice": (lambda s: s.__setitem__(slice(3, 5), "tuvw"), 4),
    "a shorter slice": (lambda s: s.__setitem__(slice(3, 7), "xy"), 2),
    "a slice at the front": (lambda s: s.__setitem__(slice(0, 0), "AB"), 2),
    "an empty slice": (lambda s: s.__setitem__(slice(3, 7), ()), 0),
    "steps": (lambda s: s.__setitem__(slice(1, 8, 2), "CDEF"), 4),
    "filter": (lambda s: s.__setitem__(slice(None), [x for x in s if x[-1] != "7"]), 0),
    "assign back": (lambda s: s.__setitem__(slice(None), list(s)), 0),
    "all but new": (lambda s: s.__setitem__(slice(None), [*list(s)[2:6], "G", *list(s)[7:]]), 1),
}
DEQUE_ONLY: dict[str, tuple[Operation, int]] = {
    "popleft": (lambda s: s.popleft(), 0),
    "appendleft": (lambda s: s.appendleft("H"), 1),
    "extendleft": (lambda s: s.extendleft("IJK"), 3),
    "rotate": (lambda s: s.rotate(2), 2),
    "rotate back": (lambda s: s.rotate(-3), 3),
    "take turns": (lambda s: s.append(s.popleft()), 1),
}
OPERATIONS = {
    kind: INSERTIONS | own | {name: (operation, 0) for name, operation in REMOVALS.items()}
    for kind, own in (("list", LIST_ONLY), ("deque", DEQUE_ONLY))
}


def grown(kind: str, count: int) -> Any:
    """A sequence that was empty when it was first saved, and has grown since."""
    made = KINDS[kind]("items")
    autostate.flush()
    made.extend(map(url, range(count)))
    autostate.flush()
    return made


def check(sequence: Any, operation: Operation, saves: Saves) -> int:
    """Do something to a sequence, and to a plain one; return the entries that a save writes."""
    expected = sequence.copy()
    operation(expected)
    operation(sequence)
    assert sequence == expected
    saves.clear()
    autostate.flush()
    return sum(entries for entries, _ in saves)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_writes_the_items_that_came(
    kind: str, start: int, saves: Saves, runs: Runs
) -> None:
    """Whatever the size, and wherever the change is."""
    sequence = grown(kind, start)
    for name, (operation, cost) in OPERATIONS[kind].items():
        assert (name, check(sequence, operation, saves)) == (name, cost)
    plain = sequence.copy()
    runs.again()
    assert KINDS[kind]("items") == plain


@pytest.mark.parametrize("start", [150, LARGE + 5, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_writes_a_few_hundred_bytes(kind: str, start: int, saves: Saves) -> None:
    """Also after many others: the head, which is written again, stays small."""
    sequence = grown(kind, start)
    saves.clear()
    for _ in range(100):
        del sequence[len(sequence) // 2]
        autostate.flush()
    assert sum(entries for entries, _ in saves) == 0
    sizes = [size for _, size in saves]
    assert max(sizes[:5]) < 800  # some 250 of them name the owner
    assert sum(sizes) / 100 < 1300
    assert max(sizes) < 2400


@pytest.mark.parametrize("start", [LARGE, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_in_the_next_run_writes_the_items_that_came(
    kind: str, start: int, saves: Saves, runs: Runs
) -> None:
    """What is stored is compared as what was saved in the same run."""
    sequence = grown(kind, start)
    for name, (operation, cost) in OPERATIONS[kind].items():
        plain = sequence.copy()
        runs.again()
        sequence = KINDS[kind]("items")
        assert sequence == plain
        assert (name, check(sequence, operation, saves)) == (name, cost)


@pytest.mark.parametrize("start", [LARGE + 1, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_sequence_in_a_dict_is_saved_item_by_item(
    kind: str, start: int, saves: Saves
) -> None:
    """As a state object of its own is."""
    state: Any = PersistedDict("state")
    state["items"] = {"list": list, "deque": deque}[kind]()
    autostate.flush()
    state["items"].extend(map(url, range(start)))
    autostate.flush()
    for name, (operation, cost) in OPERATIONS[kind].items():
        assert (name, check(state["items"], operation, saves)) == (name, cost)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0, 5, 200, LARGE, 400, 3000])
def test_any_edits_write_what_came(
    kind: str, start: int, rng: random.Random, saves: Saves, runs: Runs
) -> None:
    """Insertions, removals and replacements anywhere, some of them in one save."""
    sequence = grown(kind, start)
    fresh = start
    for step in range(40):
        before = set(sequence)
        for _ in range(rng.choice([1, 3, 12])):
            position = rng.randrange(len(sequence) + 1)
            fresh += 1
            match rng.randrange(5 if position < len(sequence) else 1):
                case 0 | 1:
                    sequence.insert(position, url(fresh))
                case 2:
                    sequence[position] = url(fresh)
                case _:
                    del sequence[position]
        count = len(saves)
        autostate.flush()
        assert sum(entries for entries, _ in saves[count:]) == len(set(sequence) - before)
        if step % 10 == 9:
            plain = sequence.copy()
            runs.again()
            sequence = KINDS[kind]("items")
            assert sequence == plain


@pytest.mark.parametrize("kind", KINDS)
def test_saves_that_come_by_themselves_write_what_changed(kind: str) -> None:
    """Where nothing is compared, what was recorded is written."""
    with saving_by_itself() as announced:
        sequence = grown(kind, 1000)
        while not announced.empty():
            announced.get()
        for step in range(6):
            with autostate.atomic():
                del sequence[step * 3]
                sequence.insert(500, url(-step))
                sequence[700] = f"replaced {step}"
            assert announced.get(timeout=60) == 2


def test_a_full_deque_writes_what_comes(saves: Saves, runs: Runs) -> None:
    """What it drops at the other end costs nothing."""
    latest = PersistedDeque("latest", map(url, range(1000)), maxlen=1000)
    autostate.flush()
    for step in range(10):
        latest.append(f"a{step}")
        latest.extend([f"b{step}", f"c{step}"])
        autostate.flush()
        assert saves[-1][0] == 3
        latest.appendleft(f"d{step}")
        latest.extendleft(f"e{step}")
        autostate.flush()
        assert saves[-1][0] == 3
    plain = latest.copy()
    runs.again()
    assert PersistedDeque("latest") == plain


@pytest.mark.parametrize("start", [200, 2000])
def test_what_moves_is_written_at_the_most(
    start: int, saves: Saves, rng: random.Random, runs: Runs
) -> None:
    """Sorting nearly sorted items costs those that have moved; a heap costs its paths."""
    numbers = PersistedList("numbers", range(0, start * 2, 2))
    autostate.flush()
    numbers.insert(3, 101)
    numbers.append(55)
    autostate.flush()
    numbers.sort()
    autostate.flush()
    assert saves[-1][0] <= 2
    for _ in range(20):
        heapq.heapreplace(numbers, rng.randrange(start))
        autostate.flush()
        assert saves[-1][0] <= 2 * start.bit_length()
    numbers.reverse()
    autostate.flush()
    assert saves[-1][0] <= start + 2
    plain = numbers.copy()
    runs.again()
    assert PersistedList("numbers") == plain

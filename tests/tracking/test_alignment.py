"""What two versions of a sequence have in common is found, and in reasonable time."""

from __future__ import annotations

import random
from array import array
from itertools import chain, pairwise

import pytest

from autostate.tracking.alignment import UNKNOWN, align, paired
from autostate.tracking.kept import Kept, Segment


def longest(old: list[int], new: list[int]) -> int:
    """The length of the longest common subsequence, by the textbook."""
    row = [0] * (len(new) + 1)
    for a in old:
        before = row
        row = [0]
        for index, b in enumerate(new):
            row.append(before[index] + 1 if a == b else max(before[index + 1], row[-1]))
    return row[-1]


def edited(items: list[int], rng: random.Random, edits: int) -> list[int]:
    """Items after some insertions, removals and replacements."""
    made = list(items)
    for _ in range(edits):
        at = rng.randrange(len(made) + 1)
        made[at : at + rng.randrange(3)] = [rng.randrange(9) for _ in range(rng.randrange(3))]
    return made


def pairs(found: list[Segment]) -> list[tuple[int, int]]:
    """Which item of the old sequence is which of the new one."""
    return [(start + n, at + n) for start, stop, at in found for n in range(stop - start)]


def check(old: list[int], new: list[int], found: list[Segment]) -> None:
    """Segments are in order, apart, and of equal items."""
    both = pairs(found)
    assert all(old[a] == new[b] for a, b in both)
    assert all(x[0] < y[0] and x[1] < y[1] for x, y in pairwise(both))
    assert all(stop > start for start, stop, _ in found)


@pytest.mark.parametrize("letters", [2, 9, 1000])
def test_short_sequences_have_as_much_in_common_as_can_be(letters: int, rng: random.Random) -> None:
    """Also where each item is there many times."""
    for _ in range(60):
        old = [rng.randrange(letters) for _ in range(rng.randrange(60))]
        new = edited(old, rng, rng.randrange(9))
        found = align(array("q", old), array("q", new))
        check(old, new, found)
        assert len(pairs(found)) == longest(old, new)


@pytest.mark.parametrize("edits", [1, 30, 3000])
def test_long_sequences_of_different_items_keep_what_stayed(edits: int, rng: random.Random) -> None:
    """However many items came and went between them."""
    old = list(range(10, 20_010))
    new = edited(old, rng, edits)
    found = align(array("q", old), array("q", new))
    check(old, new, found)
    assert len(pairs(found)) >= len(set(new) & set(old))


@pytest.mark.parametrize("letters", [1, 2, 50])
def test_long_sequences_of_few_different_items_end_somewhere(
    letters: int, rng: random.Random
) -> None:
    """What would take long to compare counts as replaced, unless it stands where it was."""
    old = [rng.randrange(letters) for _ in range(20_000)]
    new = [rng.randrange(letters) for _ in range(19_000)]
    found = align(array("q", old), array("q", new))
    check(old, new, found)
    assert len(pairs(found)) >= sum(a == b for a, b in zip(old, new, strict=False))


def test_what_is_not_known_is_equal_to_nothing(rng: random.Random) -> None:
    """No item has the hash that stands for an unknown one."""
    assert UNKNOWN not in {hash(b"%d" % rng.random()) for _ in range(1000)}
    assert align(array("q", [1, UNKNOWN, 3]), array("q", [1, 2, 3])) == [(0, 1, 0), (2, 3, 2)]


def test_every_item_stayed_or_was_replaced_or_is_new(rng: random.Random) -> None:
    """Each position is one of the three; what is replaced takes the place of what is gone."""
    for _ in range(100):
        old = [rng.randrange(30) for _ in range(40)]
        new = edited(old, rng, rng.randrange(1, 6))
        found = align(array("q", old), array("q", new))
        if not found:
            continue
        segments, replaced, fresh = paired(found, len(old), len(new))
        stayed = [b for _, b in pairs(found)]
        assert sorted(chain(stayed, *replaced, *fresh)) == list(range(len(new)))
        assert len(pairs(segments)) == len(stayed) + sum(map(len, replaced))


def test_kept_items_are_followed_through_every_splice(rng: random.Random) -> None:
    """The segments say of each item where it was, or that it came since."""
    for _ in range(100):
        items: list[int | None] = list(range(rng.randrange(30)))
        kept = Kept(len(items))
        count = len(items)
        for _ in range(rng.randrange(20)):
            at = rng.randrange(len(items) + 1)
            removed = rng.randrange(min(4, len(items) - at + 1))
            inserted = rng.randrange(3)
            items[at : at + removed] = [None] * inserted
            kept.splice(at, removed, inserted)
            for _ in range(rng.randrange(4)):
                if rng.random() < 0.5:
                    count_left = rng.randrange(-2, min(3, len(items) + 1))
                    items[: max(count_left, 0)] = [None] * -min(count_left, 0)
                    kept.move(count_left, len(items))
                else:
                    shorter = rng.randrange(max(len(items) - 2, 0), len(items) + 1)
                    del items[shorter:]
                    kept.move(0, len(items))
                    items += [None] * rng.randrange(2)
            if rng.random() < 0.1:
                cut = rng.randrange(len(items) + 1)
                items[cut:] = [None] * rng.randrange(3)
                kept.clip(cut)
        assert [kept.index_at(position) for position in range(len(items))] == items
        where = {index: position for position, index in enumerate(items) if index is not None}
        assert [kept.position_of(index) for index in range(count)] == [
            where.get(index) for index in range(count)
        ]
        fresh = list(chain.from_iterable(kept.fresh(len(items))))
        assert fresh == [position for position, index in enumerate(items) if index is None]

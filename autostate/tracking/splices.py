"""Writes to a sequence as splices, and how those of one block are taken out of the middle.

A *splice* says at which position items were taken out, and which were put there instead. To take
back the splices of one block, which others have written since, all are gone through in order,
with two versions of the sequence in mind: as it was, and as it would have been without the block.
They differ at *seams*, which are splices from the one to the other:

    as it was     a b X c d        block A inserted X at 2:   one seam, (2, X instead of nothing)
    without A     a b c d

A splice of the block adds to the seams. A splice of somebody else is moved: what is at 3 in the
one version is at 2 in the other. What it took out is less what the block had put in, and what the
block had taken out stays, behind what the other one has put in. In the end the seams say what to
change in the sequence as it is, and the splices of others are such that they can be taken back.

That costs what was written, not what the sequence holds. (What does not work: to keep the whole
former content with each change of writer. Two tasks that append in turns to a list of 100,000
items kept it 600 times.)
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress, count
from operator import attrgetter, is_, is_not
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from autostate.tracking.differences import shifted

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint

JOINED: Final = 64
"""Items up to which splices that lie side by side are made one: that copies them."""

_start: Final = attrgetter("start")


class Splice(Struct, eq=False):
    """One write to a sequence.

    Attributes:
        start: Where.
        removed: The items that were there.
        added: Those that are there instead.
        paired: Each item was replaced by another one, as by `items[start] = item`.
        owner: The savepoint of the block that wrote; None for those of no open block.
    """

    start: int
    removed: list[Any]
    added: list[Any]
    paired: bool = False
    owner: Savepoint | None = None

    @property
    def end(self) -> int:
        """The position behind what was added."""
        return self.start + len(self.added)

    @property
    def stop(self) -> int:
        """The position behind what was removed, before the write."""
        return self.start + len(self.removed)

    @property
    def size(self) -> int:
        """The number of items that it keeps."""
        return len(self.removed) + len(self.added)

    @property
    def lacks(self) -> int:
        """How much shorter the sequence is than before."""
        return len(self.removed) - len(self.added)


def joined(first: Splice, second: Splice) -> Splice | None:
    """One splice for two of one owner and sort, if they lie side by side and are small."""
    if first.owner is not second.owner or first.paired is not second.paired:
        return None
    if first.size > JOINED or second.size > JOINED:
        return None
    seams = Seams()
    seams.add(first)
    seams.add(second)
    if len(seams.seams) > 1:
        return None
    made = seams.seams[0] if seams.seams else Splice(first.start, [], [])
    made.owner = first.owner
    return made


class Seams:
    """Where a sequence differs from what it would be without the splices of one block.

    Attributes:
        seams: In order; `start` and `added` are of the sequence as it is.
    """

    def __init__(self) -> None:
        self.seams: list[Splice] = []
        self._lacks = 0

    # -- a splice of the block ----------------------------------------------------------------

    def add(self, write: Splice) -> None:
        """Take note of what the block did."""
        for part in self._parted(write):
            self._add(part)

    def _add(self, write: Splice) -> None:
        low, high = self._touched_by(write)
        met = self.seams[low:high]
        self._shift(high, write)
        seam = _composed(met, write)
        self._put(low, high, [] if _is_same(seam.removed, seam.added) else [seam])

    def _parted(self, write: Splice) -> list[Splice]:
        """Part a splice and the seams that it meets, so that each item which is an entry stays one.

        Items that were replaced lie in one seam for the sake of speed only: what takes out one of
        them leaves its neighbours what they are.
        """
        low, high = self._met_by(write, joins=False)
        if all(seam.paired == write.paired for seam in self.seams[low:high]):
            return [write]
        if write.paired:
            pairs = enumerate(zip(write.removed, write.added, strict=True), write.start)
            return [Splice(at, [old], [new], True, write.owner) for at, (old, new) in pairs]
        for position in (write.stop, write.start):
            self._part_at(position)
        return [write]

    def _part_at(self, position: int) -> None:
        at = bisect_right(self.seams, position, key=_start) - 1
        if at >= 0 and self.seams[at].paired and self.seams[at].start < position:
            seam = self.seams[at]
            if position < seam.end:
                halves = _part(seam, seam.start, position), _part(seam, position, seam.end)
                self.seams[at : at + 1] = halves

    def _touched_by(self, write: Splice) -> tuple[int, int]:
        """The seams that become one with a splice: that share items, or are small and beside it."""
        low, high = self._met_by(write, joins=False)
        if any(seam.paired != write.paired for seam in self.seams[low:high]):
            return low, high  # one that lies beside it is of another sort than what they become
        low, high = self._met_by(write, joins=True)
        if low and _is_behind(self.seams[low - 1], write):  # one of another sort lies between
            return self._met_by(write, joins=False)
        return low, high

    def _met_by(self, write: Splice, *, joins: bool) -> tuple[int, int]:
        def is_met(seam: Splice) -> bool:
            if seam.end > write.start and seam.start < write.stop:
                return True
            beside = seam.end >= write.start and seam.start <= write.stop
            return beside and joins and seam.paired == write.paired and seam.size <= JOINED

        high = bisect_right(self.seams, write.stop, key=_start)
        while high and not is_met(self.seams[high - 1]) and _is_behind(self.seams[high - 1], write):
            high -= 1
        low = high
        while low and is_met(self.seams[low - 1]):
            low -= 1
        return low, high

    def _shift(self, high: int, write: Splice) -> None:
        if write.lacks:
            for seam in self.seams[high:]:
                seam.start -= write.lacks

    def _put(self, low: int, high: int, seams: list[Splice]) -> None:
        self._lacks += _lacks(seams) - _lacks(self.seams[low:high])
        self.seams[low:high] = seams

    # -- a splice of somebody else ------------------------------------------------------------

    def without(self, write: Splice) -> list[Splice]:
        """What a splice of somebody else would have been without the block."""
        return [made for part in self._parted(write) for made in self._without(part)]

    def _without(self, write: Splice) -> list[Splice]:
        high = bisect_right(self.seams, write.stop, key=_start)
        while high and _is_behind(self.seams[high - 1], write, at_the_left_end=True):
            high -= 1
        low = high
        while low and self.seams[low - 1].end > write.start:
            low -= 1
        met = self.seams[low:high]
        before = self._lacks - _lacks(self.seams[low:])
        self._shift(high, write)
        if write.paired and all(seam.paired for seam in met):
            made, seams = _replaced(write, met, before)
        else:
            made, seams = _cut(write, met, before)
        self._put(low, high, seams)
        return made

    # -- the sequence -------------------------------------------------------------------------

    def applied(self, items: list[Any]) -> list[Any]:
        """The items as they would be without the block."""
        made: list[Any] = []
        at = 0
        for seam in self.seams:
            if seam.start < at or not _is_same(items[seam.start : seam.end], seam.added):
                return self._by_identity(items)
            made += items[at : seam.start]
            made += seam.removed
            at = seam.end
        return made + items[at:]

    def _by_identity(self, items: list[Any]) -> list[Any]:
        for seam in reversed(self.seams):
            items = taken_back(items, seam)
        return items


def _lacks(seams: list[Splice]) -> int:
    return sum(seam.lacks for seam in seams)


def _is_behind(seam: Splice, write: Splice, *, at_the_left_end: bool = False) -> bool:
    """Tell whether a seam lies to the right of what was written.

    Where the block took out what others insert something, that comes in front of what they
    insert; but at the left end others put something before everything.
    """
    if seam.start < write.stop:
        return False
    return seam.end > write.start or (at_the_left_end and write.stop == 0)


def _composed(met: list[Splice], write: Splice) -> Splice:
    """One seam for those that a splice of the block touches."""
    if not met:
        return Splice(write.start, [*write.removed], [*write.added], write.paired)
    first, last = met[0], met[-1]
    added = [
        *first.added[: max(write.start - first.start, 0)],
        *write.added,
        *last.added[max(write.stop - last.start, 0) :],
    ]
    removed: list[Any] = []
    at = write.start
    for seam in met:
        removed += write.removed[at - write.start : max(seam.start, at) - write.start]
        removed += seam.removed
        at = max(at, seam.end)
    removed += write.removed[at - write.start :]
    paired = write.paired and all(seam.paired for seam in met)
    return Splice(min(first.start, write.start), removed, added, paired)


def _replaced(write: Splice, met: list[Splice], before: int) -> tuple[list[Splice], list[Splice]]:
    """Move a splice that replaces items which the block has replaced: each is an entry.

    What is no number is as the others left it. Of a number the difference stays to be taken back.
    """
    removed, added = [*write.removed], [*write.added]
    seams: list[Splice] = []
    for seam in met:
        low, high = max(seam.start, write.start), min(seam.end, write.stop)
        seams.append(_part(seam, seam.start, low))
        for position in range(low, high):
            index = position - write.start
            former = seam.removed[position - seam.start]
            found, now = write.removed[index], write.added[index]
            numbers = shifted([found, now], former, found)
            removed[index] = former
            if numbers is not None:
                added[index] = numbers[1]
                seams.append(Splice(position, [numbers[1]], [now], paired=True))
        seams.append(_part(seam, high, seam.end))
    made = Splice(write.start + before, removed, added, paired=True, owner=write.owner)
    return [made], [seam for seam in seams if seam.added]


def _part(seam: Splice, start: int, stop: int) -> Splice:
    low, high = start - seam.start, stop - seam.start
    return Splice(start, seam.removed[low:high], seam.added[low:high], paired=True)


def _cut(write: Splice, met: list[Splice], before: int) -> tuple[list[Splice], list[Splice]]:
    """Move a splice: it did not take out what the block has put in, which was not there.

    What the block had taken out is still there, between what the splice took out.
    """
    behind = write.start + len(write.added)
    seams: list[Splice] = []
    pieces: list[tuple[int, list[Any]]] = []
    where, at = write.start + before, write.start
    for seam in met:
        left = max(write.start - seam.start, 0)
        if left:
            where = seam.start + before + len(seam.removed)
            seams.append(Splice(seam.start, seam.removed, seam.added[:left]))
        elif seam.start > at:
            pieces.append((at + before, write.removed[at - write.start : seam.start - write.start]))
        rest = seam.added[max(write.stop - seam.start, left) :]
        seams.append(Splice(behind, [] if left else seam.removed, rest))
        before += seam.lacks
        at = min(seam.end, write.stop)
    if at < write.stop:
        pieces.append((at + before, write.removed[at - write.start :]))
    made = [Splice(start, items, [], owner=write.owner) for start, items in reversed(pieces)]
    if made and made[-1].start == where:
        made[-1].added = [*write.added]
    elif write.added:
        made.append(Splice(where, [], [*write.added], owner=write.owner))
    return made, [seam for seam in seams if seam.added or seam.removed]


# -- by identity ------------------------------------------------------------------------------


def taken_back(items: list[Any], write: Splice) -> list[Any]:
    """Take back a splice where something was written past the barrier: its items have moved."""
    at = _find(items, write.added, write.start)
    if at is not None:
        return [*items[:at], *write.removed, *items[at + len(write.added) :]]
    for item in write.added:
        at = _find(items, [item], write.start)
        if at is not None:
            items = [*items[:at], *items[at + 1 :]]
    start = min(write.start, len(items))
    removed = [] if write.paired else write.removed
    return [*items[:start], *removed, *items[start:]]


def _find(items: list[Any], run: list[Any], near: int) -> int | None:
    """The place of consecutive items that is nearest to an index."""
    if not run:
        return min(near, len(items))
    found = (place for place, item in enumerate(items) if item is run[0])
    places = [place for place in found if _is_same(items[place : place + len(run)], run)]
    return min(places, key=lambda place: abs(place - near), default=None)


def _is_same(items: list[Any], others: list[Any]) -> bool:
    return len(items) == len(others) and all(map(is_, items, others))


def same_ends(items: Any, others: Any) -> tuple[int, int]:
    """The number of items that two sequences share at their left and right ends."""
    shorter = min(len(items), len(others))
    start = next(compress(count(), map(is_not, items, others)), shorter)
    backwards = map(is_not, reversed(items), reversed(others))
    return start, min(next(compress(count(), backwards), shorter), shorter - start)

"""Writes to a sequence as splices, and how the splices of one block are taken out of the middle.

A *splice* is a position, the items that were taken out there, and the items that were put there
instead. Others may have written since a block did. To undo the splices of the block, the algorithm
goes through all splices in order, and compares two versions of the sequence: as it was, and as it
would have been without the block. They differ at *seams*, which are splices between the two:

    as it was     a b X c d        block A inserted X at 2:   one seam, (2, X instead of nothing)
    without A     a b c d

A splice of the block adds to the seams. A splice of somebody else is moved to the version without
the block: position 3 in the one version is position 2 in the other. It no longer takes out items
that the block had put in; items that the block had taken out stay, behind the items that the
splice puts in. In the end the seams tell which changes the present sequence needs, and the
remaining splices are those of a sequence without the block, so that they can be undone later.

The cost is proportional to the writes, not to the length of the sequence. (What does not work: a
copy of the whole content with each change of writer. Two tasks that append in turns to a list of
100,000 items kept it 600 times.)
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress, count
from operator import attrgetter, is_not
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from autostate.tracking.differences import same_items, same_number, shifted

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint

JOINED: Final = 64
"""Items up to which adjacent splices are joined, which copies the items."""

_start: Final = attrgetter("start")


class Splice(Struct, eq=False):
    """One write to a sequence.

    Attributes:
        start: The position.
        removed: The items that were there.
        added: The items that are there instead.
        paired: Whether each item was replaced by another one, as by `items[start] = item`.
        owner: The savepoint of the block that wrote; None for a write outside of blocks.
    """

    start: int
    removed: list[Any]
    added: list[Any]
    paired: bool = False
    owner: Savepoint | None = None

    @property
    def end(self) -> int:
        """The position behind the added items."""
        return self.start + len(self.added)

    @property
    def stop(self) -> int:
        """The position behind the removed items, before the write."""
        return self.start + len(self.removed)

    @property
    def size(self) -> int:
        """The number of items that it keeps."""
        return len(self.removed) + len(self.added)

    @property
    def is_same(self) -> bool:
        """Whether the items are put there that were there already."""
        return same_items(self.removed, self.added)

    @property
    def lacks(self) -> int:
        """The number of items by which the sequence became shorter."""
        return len(self.removed) - len(self.added)


def joined(first: Splice, second: Splice) -> Splice | None:
    """Join two splices of one owner and kind if they are adjacent and small."""
    if first.owner is not second.owner or first.paired is not second.paired:
        return None
    if first.size > JOINED or second.size > JOINED:
        return None
    if first.is_same or second.is_same:
        return None  # it would be lost in the other one
    seams = Seams()
    seams.add(first)
    seams.add(second)
    if len(seams.seams) > 1 or (first.paired and not seams.seams):
        return None  # an item that is put back is written nevertheless
    made = seams.seams[0] if seams.seams else Splice(first.start, [], [])
    made.owner = first.owner
    return made


class Seams:
    """The differences between a sequence and its version without the splices of one block.

    Attributes:
        seams: The differences, in order; `start` and `added` refer to the present sequence.
    """

    def __init__(self) -> None:
        self.seams: list[Splice] = []
        self._lacks = 0

    # -- a splice of the block ----------------------------------------------------------------

    def add(self, write: Splice) -> None:
        """Add a splice of the block."""
        for part in self._parted(write):
            self._add(part)

    def _add(self, write: Splice) -> None:
        low, high = self._touched_by(write)
        met = self.seams[low:high]
        self._shift(high, write)
        seam = _composed(met, write)
        self._put(low, high, [] if same_items(seam.removed, seam.added) else [seam])

    def _parted(self, write: Splice) -> list[Splice]:
        """Divide a splice and the seams that it touches, so that replaced items stay entries.

        Replaced items lie in one seam for the sake of speed only: if one of them is taken out, its
        neighbours remain entries.
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
        """Find the seams to join with a splice: they share items, or are small and adjacent."""
        low, high = self._met_by(write, joins=False)
        if any(seam.paired != write.paired for seam in self.seams[low:high]):
            return low, high  # an adjacent seam is of another kind than the joined one
        low, high = self._met_by(write, joins=True)
        # A seam of another kind may lie between. Joined past it, the seams would be out of order,
        # and an item that was replaced would come back.
        if low and _is_behind(self.seams[low - 1], write):
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
        """Return the form that a splice of somebody else has without the block."""
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
        """Return the items as they would be without the block."""
        made: list[Any] = []
        at = 0
        for seam in self.seams:
            if seam.start < at or not same_items(items[seam.start : seam.end], seam.added):
                # a write bypassed the barrier, so that the positions are not right
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
    """Tell whether a seam lies to the right of a splice.

    If others insert at the position where the block took out items, the items of the block come
    first; but at the left end the items of others come first.
    """
    if seam.start < write.stop:
        return False
    return seam.end > write.start or (at_the_left_end and write.stop == 0)


def _composed(met: list[Splice], write: Splice) -> Splice:
    """Join a splice of the block and the seams that it touches into one seam."""
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
    """Move a splice that replaces items which the block has replaced; each item is an entry.

    A value that is no number stays as the others left it. Of a number, the difference remains to be
    undone.
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
            same = found is now or same_number(found, now)  # assigned, whatever was there
            numbers = None if same else shifted([found, now], former, found)
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
    """Move a splice to the version without the block.

    The items that the block has put in are not there, so the splice does not take them out. The
    items that the block had taken out are still there, between those that the splice takes out.
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
    """Undo a splice after a write that bypassed the barrier: search its items, which moved."""
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
    """Find the occurrence of consecutive items that is nearest to an index."""
    if not run:
        return min(near, len(items))
    found = (place for place, item in enumerate(items) if item is run[0])
    places = [place for place in found if same_items(items[place : place + len(run)], run)]
    return min(places, key=lambda place: abs(place - near), default=None)


def same_ends(items: Any, others: Any) -> tuple[int, int]:
    """Count the items that two sequences share at their left and right ends."""
    shorter = min(len(items), len(others))
    start = next(compress(count(), map(is_not, items, others)), shorter)
    backwards = map(is_not, reversed(items), reversed(others))
    return start, min(next(compress(count(), backwards), shorter), shorter - start)

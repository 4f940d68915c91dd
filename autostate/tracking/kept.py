"""Which items of a sequence are those of the last cut, and where they stand now."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

SEGMENTS: Final = 512
"""So many segments at the most: with more, it is cheaper to compare all items afterwards."""


class Segment(NamedTuple):
    """Items side by side that were side by side before.

    Attributes:
        start, stop: Where they were: indices, the second not included.
        at: Where the first of them is now.
    """

    start: int
    stop: int
    at: int

    @property
    def end(self) -> int:
        """The position behind the last of them."""
        return self.at + self.stop - self.start


_start = itemgetter(0)
_at = itemgetter(2)


class Kept:
    """The items of the last cut that are still there, as segments in order.

    All other items came since. What was written past the barrier moves nothing here, so a segment
    may reach beyond the end of the sequence until it is clipped.
    """

    __slots__ = ("segments",)

    def __init__(self, count: int = 0) -> None:
        self.segments: list[Segment] = [Segment(0, count, 0)] if count else []

    def splice(self, at: int, removed: int, inserted: int) -> None:
        """Take out items from a position on, and put others in their place."""
        segments, end, shift = self.segments, at + removed, inserted - removed
        index = max(bisect_right(segments, at, key=_at) - 1, 0)
        made = []
        for segment in segments[index:]:
            start, stop, here = segment
            if here < at:
                made.append(Segment(start, min(stop, start + at - here), here))
            if segment.end > end:
                skipped = max(end - here, 0)
                made.append(Segment(start + skipped, stop, here + skipped + shift))
        segments[index:] = made

    def clip(self, length: int) -> None:
        """Forget the items from a position on."""
        segments = self.segments
        while segments and segments[-1].end > length:
            start, _, at = segments.pop()
            if at < length:
                segments.append(Segment(start, start + length - at, at))

    def index_at(self, position: int) -> int | None:
        """Where the item at a position was at the cut; None if it came since."""
        index = bisect_right(self.segments, position, key=_at) - 1
        if index < 0 or position >= self.segments[index].end:
            return None
        start, _, at = self.segments[index]
        return start + position - at

    def position_of(self, index: int) -> int | None:
        """Where an item of the cut is now; None if it is no more."""
        found = bisect_right(self.segments, index, key=_start) - 1
        if found < 0 or index >= self.segments[found].stop:
            return None
        start, _, at = self.segments[found]
        return at + index - start

    def fresh(self, count: int) -> Iterator[range]:
        """The positions of the items that came since the cut; there are `count` items in all."""
        return (range(new.start, new.stop) for _, new in gaps(self.segments, 0, count) if new)


def gaps(segments: list[Segment], before: int, now: int) -> Iterator[tuple[range, range]]:
    """What lies between segments: the former indices, and the positions.

    Args:
        segments: In order.
        before: The number of all items that there were.
        now: The number of all items that there are.
    """
    index = position = 0
    for segment in segments:
        yield range(index, segment.start), range(position, segment.at)
        index, position = segment.stop, segment.end
    yield range(index, before), range(position, now)

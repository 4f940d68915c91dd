"""Which items of a sequence are those of the last cut, and where they stand now."""

from __future__ import annotations

import sys
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

    What comes and goes at the ends, as in a queue, is summed up (`move`) and applied when the
    segments are looked at: it must not cost more the more segments there are.
    """

    __slots__ = ("_high", "_left", "_low", "_segments")

    def __init__(self, count: int = 0) -> None:
        self._segments: list[Segment] = [Segment(0, count, 0)] if count else []
        # In the numbers that positions had when the segments were looked at last: which number
        # is the first now, and the range of those that have been there ever since.
        self._left, self._low, self._high = 0, 0, sys.maxsize

    @property
    def segments(self) -> list[Segment]:
        """The segments as of now."""
        if self._left or self._low or self._high < sys.maxsize:
            left, low, high = self._left, self._low, self._high
            self._left, self._low, self._high = 0, 0, sys.maxsize
            ranges = (
                (start - at, max(at, low), min(at + stop - start, high))
                for start, stop, at in self._segments
            )
            self._segments = [
                Segment(begin + gap, end + gap, begin - left)
                for gap, begin, end in ranges
                if begin < end
            ]
        return self._segments

    @segments.setter
    def segments(self, segments: list[Segment]) -> None:
        self._segments = segments

    def move(self, shift: int, length: int) -> None:
        """Take so many items off the left end, or put them there; then there are `length`."""
        left = self._left = self._left + shift
        self._low = max(self._low, left)
        self._high = min(self._high, left + length)

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
        segments, number = self._segments, position + self._left
        index = 0 if len(segments) == 1 else bisect_right(segments, number, key=_at) - 1
        if index < 0 or not self._low <= number < self._high:
            return None
        start, stop, at = segments[index]
        found = start + number - at
        return found if start <= found < stop else None

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

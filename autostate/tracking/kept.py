"""Which items of a sequence were there at the last cut, and where they are now."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

SEGMENTS: Final = 512
"""The largest number of segments: with more, comparing all items afterwards is cheaper."""


class Segment(NamedTuple):
    """Items side by side that were side by side before.

    Attributes:
        start, stop: Their former indices, the second not included.
        at: The present index of the first of them.
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

    All other items came since. Writes that bypass the barrier are not known here, so a segment may
    reach beyond the end of the sequence until it is clipped.

    Items that come and go at the ends, as in a queue, are summed up (`move`); the sum is applied
    when the segments are read. So the cost of such a write does not grow with the segments.
    """

    __slots__ = ("_high", "_left", "_low", "_segments")

    def __init__(self, count: int = 0) -> None:
        self._segments: list[Segment] = [Segment(0, count, 0)] if count else []
        # In the numbers that positions had when the segments were last read: the number of the
        # present first position, and the range of positions that have been there ever since.
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
        """Remove `shift` items from the left end, or add them; then there are `length` items."""
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
        """Return the index that the item at a position had at the cut; None if it came since."""
        # Called for each write: it translates the position, and does not go through all segments.
        segments, number = self._segments, position + self._left
        index = 0 if len(segments) == 1 else bisect_right(segments, number, key=_at) - 1
        if index < 0 or not self._low <= number < self._high:
            return None
        start, stop, at = segments[index]
        found = start + number - at
        return found if start <= found < stop else None

    def position_of(self, index: int) -> int | None:
        """Return the present position of an item of the cut; None if the item is gone."""
        found = bisect_right(self.segments, index, key=_start) - 1
        if found < 0 or index >= self.segments[found].stop:
            return None
        start, _, at = self.segments[found]
        return at + index - start

    def count_fresh(self, count: int) -> int:
        """Count the items that came since the cut; `count` is the present length."""
        return max(count - sum(stop - start for start, stop, _ in self.segments), 0)

    def fresh(self, count: int) -> Iterator[range]:
        """Yield the positions of items that came since the cut; `count` is the present length."""
        return (range(new.start, new.stop) for _, new in gaps(self.segments, 0, count) if new)


def gaps(segments: list[Segment], before: int, now: int) -> Iterator[tuple[range, range]]:
    """Yield the gaps between segments: the former indices, and the present positions.

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

"""Which items two versions of a sequence have in common, in order.

Items are given by their hashes. In short sequences, and where few items differ, the result has as
many common items as possible (Myers, "An O(ND) Difference Algorithm"). In long sequences the unique
items are paired first (as in a "patience diff"), and the stretches between them are compared one by
one: that takes n log n steps. Items that are not found within a bound of steps count as replaced.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from autostate.tracking.kept import Segment, gaps

UNKNOWN: Final = -1
"""In the place of a hash that is not known: no object has this hash."""

_STRIDE: Final = 4096  # items that are compared by one comparison of slices, which is C
_SHORT: Final = 600  # items up to which the longest common subsequence is searched at once
_STEPS: Final = 200_000  # of all searches for longest common subsequences: some 40 ms
_DEPTH: Final = 20  # stretches between anchors inside stretches between anchors


def align(before: array[int], now: array[int]) -> list[Segment]:
    """Find which items stayed.

    Returns:
        Segments of equal items, in order.
    """
    found = list(_joined(_Search().align(before, now)))
    same = _in_place(before, now)  # the better one where the search came to its bound
    return same if _length(same) > _length(found) else found


def paired(
    same: list[Segment], before: int, now: int
) -> tuple[list[Segment], list[range], list[range]]:
    """Let as many items as possible be replaced, instead of taken out and inserted.

    Args:
        same: Items that stayed, in order; at least one.
        before: The number of all items that there were.
        now: The number of all items that there are.

    Returns:
        The segments with those that are replaced, the positions of these, and those of new items.
    """
    segments: list[Segment] = []
    replaced, new = [], []
    for number, (old, here) in enumerate(gaps(same, before, now)):
        many = min(len(old), len(here))
        # Replaced items lie beside items that stayed.
        start, at = (old.stop - many, here.stop - many) if not number else (old.start, here.start)
        segments += [Segment(start, start + many, at)] if many else []
        segments += same[number : number + 1]
        replaced.append(range(at, at + many))
        new += [range(here.start, at), range(at + many, here.stop)]
    return list(_joined(segments)), [r for r in replaced if r], [n for n in new if n]


def _length(segments: list[Segment]) -> int:
    return sum(stop - start for start, stop, _ in segments)


def _joined(segments: Iterator[Segment] | list[Segment]) -> Iterator[Segment]:
    """Make one segment of those that lie side by side, before and now."""
    last: Segment | None = None
    for segment in segments:
        if last is not None and (last.stop, last.end) == (segment.start, segment.at):
            last = Segment(last.start, segment.stop, last.at)
            continue
        if last is not None:
            yield last
        last = segment
    if last is not None:
        yield last


def _in_place(before: array[int], now: array[int]) -> list[Segment]:
    """Find the items that are equal to the former items at the same positions."""
    found = []
    for at in range(0, min(len(before), len(now)), _STRIDE):
        old, new = before[at : at + _STRIDE], now[at : at + _STRIDE]
        if old == new:
            found.append(Segment(at, at + len(old), at))
        else:
            pairs = enumerate(zip(old, new, strict=False), at)
            found += [Segment(index, index + 1, index) for index, (a, b) in pairs if a == b]
    return list(_joined(found))


class _Search:
    """One comparison, with a bound on its steps."""

    def __init__(self) -> None:
        self._steps = _STEPS

    def align(self, before: array[int], now: array[int], depth: int = 0) -> Iterator[Segment]:
        """Find equal items: at both ends, then between the ends."""
        left = _common(before, now)
        if left:
            yield Segment(0, left, 0)
        right = _common_at_the_end(before, now, min(len(before), len(now)) - left)
        old, new = before[left : len(before) - right], now[left : len(now) - right]
        for start, stop, at in self._between(old, new, depth) if old and new else ():
            yield Segment(start + left, stop + left, at + left)
        if right:
            yield Segment(len(before) - right, len(before), len(now) - right)

    def _between(self, old: array[int], new: array[int], depth: int) -> list[Segment]:
        # The search takes (items × differences) steps: where many may differ, unique items divide
        # the rest first.
        short = len(old) + len(new) <= _SHORT
        found = self._longest(old.tolist(), new.tolist()) if short else None
        if found is not None:
            return found
        anchors = _unique(old, new) if depth < _DEPTH else []
        if not anchors:
            return [] if short else self._longest(old.tolist(), new.tolist()) or []
        made: list[Segment] = []
        for number, (a, b) in enumerate(gaps(anchors, len(old), len(new))):
            if a and b:
                rest = self.align(old[a.start : a.stop], new[b.start : b.stop], depth + 1)
                made += [Segment(i + a.start, j + a.start, at + b.start) for i, j, at in rest]
            made += anchors[number : number + 1]
        return made

    def _longest(self, old: list[int], new: list[int]) -> list[Segment] | None:
        """Find the longest common subsequence; None if the search takes too long."""
        furthest = {1: 0}  # for each diagonal, how far in `old` the best way has come
        history: list[dict[int, int]] = []
        goal = len(old) - len(new)
        edits = 0
        while self._steps > 0:
            history.append(furthest.copy())
            for k in range(-edits, edits + 1, 2):
                down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
                came = x = furthest[k + 1] if down else furthest[k - 1] + 1
                y = x - k
                while x < len(old) and y < len(new) and old[x] == new[y]:
                    x, y = x + 1, y + 1
                furthest[k] = x
                self._steps -= x - came + 2
                if k == goal and x >= len(old):
                    return _way_back(history, len(old), len(new))
            edits += 1
        return None


def _common(before: array[int], now: array[int]) -> int:
    """Count the items that are equal at the beginning."""
    limit = min(len(before), len(now))
    at = 0
    while at < limit:
        stop = min(at + _STRIDE, limit)
        if before[at:stop] != now[at:stop]:
            return next(i for i in range(at, stop) if before[i] != now[i])
        at = stop
    return limit


def _common_at_the_end(before: array[int], now: array[int], limit: int) -> int:
    """Count the items that are equal at the end, up to a limit."""
    done, old, new = 0, len(before), len(now)
    while done < limit:
        step = min(_STRIDE, limit - done)
        left, right = before[old - done - step : old - done], now[new - done - step : new - done]
        if left != right:
            return done + next(i for i in range(step) if left[-1 - i] != right[-1 - i])
        done += step
    return limit


def _unique(old: array[int], new: array[int]) -> list[Segment]:
    """Find the longest ordered series of items that occur once in both versions."""
    indices = _once(old)
    indices.pop(UNKNOWN, None)  # equal to another UNKNOWN, which may be any item
    positions = _once(new)
    pairs = [(i, positions[digest]) for digest, i in indices.items() if digest in positions]
    # The longest increasing subsequence: `ends` holds the least last position for each length.
    ends: list[int] = []
    chains: list[int] = []
    previous: list[int] = []
    for number, (_, at) in enumerate(pairs):
        length = bisect_left(ends, at)
        ends[length : length + 1] = [at]
        chains[length : length + 1] = [number]
        previous.append(chains[length - 1] if length else -1)
    found = []
    number = chains[-1] if chains else -1
    while number >= 0:
        index, at = pairs[number]
        stop = index + 1
        number = previous[number]
        while number >= 0 and pairs[number] == (index - 1, at - 1):  # side by side
            index, at = pairs[number]
            number = previous[number]
        found.append(Segment(index, stop, at))
    return found[::-1]


def _once(hashes: array[int]) -> dict[int, int]:
    """Find the positions of the items that occur only once, in order."""
    found: dict[int, int] = {}
    several: set[int] = set()
    for index, digest in enumerate(hashes):
        if digest in found:
            several.add(digest)
        else:
            found[digest] = index
    for digest in several:
        del found[digest]
    return found


def _way_back(history: list[dict[int, int]], x: int, y: int) -> list[Segment]:
    found = []
    for edits in range(len(history) - 1, -1, -1):
        furthest, k = history[edits], x - y
        down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
        before = k + 1 if down else k - 1
        old_x = furthest[before]
        old_y = old_x - before
        many = min(x - old_x, y - old_y)
        if many:
            found.append(Segment(x - many, x, y - many))
        x, y = old_x, old_y
    return found[::-1]

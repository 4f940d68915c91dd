"""What is written of lists and deques.

Items are numbered. An item keeps its number while others come and go at both ends, so a queue
costs what was put in and taken out; and an item that was replaced, or in which something
changed, costs only itself (`journal/commit.py` says how a change names items).

Of what was saved a hash is remembered for each *block* of items, to find what was written past
the barrier or in the disarmed form. Blocks of small sequences have one item, so that it is also
found out by how much the items have moved.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Final

import msgspec

from autostate import codec
from autostate.tracking.barrier import FORM_SETS, FORMS, size
from autostate.tracking.node import LARGE, Place
from autostate.tracking.pending import Pending, batches
from autostate.tracking.raw import items_of

_DICT_FORMS: Final = FORM_SETS["dict"]

CHUNK: Final = 32
"""Items of a large sequence that share a hash."""


@dataclass(slots=True)
class Blocks:
    """What was saved of a sequence, block by block.

    Attributes:
        starts: The number of each block's first item; blocks lie side by side.
        hashes: The hash of each block's items, encoded; None where that is not known.
        end: The number after the last item.
        sure: The store holds these items and no others.
    """

    starts: list[int]
    hashes: list[int | None]
    end: int
    sure: bool = True

    @property
    def first(self) -> int:
        """The number of the first item."""
        return self.starts[0] if self.starts else self.end

    def bounds(self) -> list[int]:
        """The numbers at which blocks begin, and the end."""
        return [*self.starts, self.end]


@dataclass(slots=True)
class _Run:
    """Items side by side that are to be written: their numbers, and their JSON in pieces."""

    start: int
    stop: int
    raws: deque[bytes]


def blocks_of(content: list[Any], first: int) -> Blocks:
    """The blocks of a sequence as it is stored.

    Args:
        content: The items as decoded JSON.
        first: The number of the first item.
    """
    size = 1 if len(content) <= LARGE else CHUNK
    starts = range(0, len(content), size)
    hashes: list[int | None] = [hash(codec.dump(content[at : at + size])[1:-1]) for at in starts]
    return Blocks([first + at for at in starts], hashes, first + len(content))


class SequencePending(Pending):
    """The share of a list or deque in a capture.

    Attributes:
        first, end: The numbers of its items.
        low, high: The items of these numbers stand where they were saved.
        changed: The numbers of those among them that are to be written again; if `compared`,
            those whose block has another hash are written instead.
    """

    def copy(self) -> None:
        """Copy the items to look at; the lock is held."""
        node = self.node
        before: Blocks | None = node.saved
        self.first, self.count = node.first, size(node.obj)
        self.end = self.first + self.count
        self.compared = self.whole and before is not None
        self.changed: set[int] = set()
        self._index: dict[int, int] | None = None
        if before is None:
            self.low = self.high = self.first
        elif self.whole:
            self.low, self.high = max(before.first, self.first), min(before.end, self.end)
        else:
            self.low = max(node.low, before.first, self.first)
            self.high = min(node.high, before.end, self.end)
        ranges = [(self.first, self.end)]
        if before is not None and not self.whole:
            ranges = self._marked(before)
        if ranges == [(self.first, self.end)]:
            node.bad = {}
        if len(node.places) > 2 * self.count + LARGE:
            node.places = {
                id(i): node.places[id(i)] for i in items_of(node.obj) if id(i) in node.places
            }
        self._starts = [start for start, _ in ranges]
        self._copies = [_slice(node.obj, a - self.first, b - self.first) for a, b in ranges]
        node.low, node.high = self.first, self.end

    def _marked(self, before: Blocks) -> list[tuple[int, int]]:
        """Find the blocks in which something was marked, and what is beside the old ones."""
        slots = self.node.locate(key for key in self.touched if type(key) is Place)
        numbers = {*self.keys, *(self.first + slot for slot in slots.values())}
        self.changed = {number for number in numbers if self.low <= number < self.high}
        bounds = before.bounds()
        kept = range(bisect_left(bounds, self.low), bisect_right(bounds, self.high) - 1)
        if not kept or self._is_fragmented(before):
            return [(self.first, self.end)]
        dirty = sorted({bisect_right(bounds, number) - 1 for number in self.changed})
        ranges = [(self.first, bounds[kept.start])]
        ranges += [(bounds[i], bounds[i + 1]) for i in dirty if i in kept]
        ranges.append((bounds[kept.stop], self.end))
        return [(start, stop) for start, stop in ranges if start < stop]

    def _is_fragmented(self, before: Blocks) -> bool:
        """Whether it is time to make few blocks of many small ones again."""
        return len(before.starts) > self.count // 8 + 2 * LARGE

    def encode_now(self, key: Any) -> None:
        """Encode one item before it is written to; the lock is held."""
        number = self._number(key)
        if number is not None and number not in self.early:
            self.early[number] = self._encode(number, self._item(number))

    def encode_rest(self) -> None:
        """Encode all that can still change, before it is let go of; the lock is held."""
        for start, items in zip(self._starts, self._copies, strict=True):
            for number, item in enumerate(items, start):
                if number not in self.early and type(item) not in codec.NATIVE:
                    self.early[number] = self._encode(number, item)

    def _number(self, place: Place) -> int | None:
        """The number that an element had at the cut; None if it is not to be encoded."""
        if id(self._item(place.number)) == place.ident:
            return place.number
        if self._index is None:
            copies = zip(self._starts, self._copies, strict=True)
            self._index = {
                id(item): number for at, items in copies for number, item in enumerate(items, at)
            }
        return self._index.get(place.ident)

    def _item(self, number: int) -> Any:
        """The copy of an item; this object if there is none."""
        index = bisect_right(self._starts, number) - 1
        if index >= 0 and number - self._starts[index] < len(self._copies[index]):
            return self._copies[index][number - self._starts[index]]
        return self

    def release(self) -> None:
        """Let go of the copies."""
        super().release()
        self._starts, self._copies, self._index = [], [], None

    # -- what is written ----------------------------------------------------------------------

    def changes(self) -> Iterator[dict[str, Any] | None]:
        """Encode, pausing at every `yield`."""
        before: Blocks | None = self.node.saved
        if before is not None and self.compared and self.count <= LARGE:
            yield from self._find_shift(before)
        if before is not None and before.sure and not self.count and before.first == before.end:
            self.saved = before  # it was empty, and is
            return
        if before is None or self.low >= self.high:
            yield from self._assign()
            return
        if (self.low, self.high) != (before.first, before.end) or not before.sure:
            yield {"trim": [self.low, self.high]}
        ends = zip(before.bounds()[1:], before.hashes, strict=True)
        known = dict(zip(before.starts, ends, strict=True))
        hashes: dict[int, int | None] = {}
        plan = self._plan(before)
        # What lies to the left is written towards the left: each item beside one that is there.
        left = [block for block in plan if block[1] <= self.low]
        for blocks in (left[::-1], plan[len(left) :]):
            yield from self._write(blocks, known, hashes)
        if sum(map(len, self._copies)) < self.count:
            for start, (_, digest) in known.items():
                if self.low <= start < self.high:
                    hashes.setdefault(start, digest)
        starts = sorted(hashes)
        self.saved = Blocks(starts, [hashes[start] for start in starts], self.end)

    def _assign(self) -> Iterator[dict[str, Any] | None]:
        """Write all items."""
        at = {"at": self.first} if self.first else {}
        starts: list[int] = []
        hashes: list[int | None] = []
        size = self._size()
        for batch in batches(iter(range(self.first, self.end, size))):
            with self.node.tracker.lock:
                raws = [self._raw(start, min(start + size, self.end)) for start in batch]
            starts += batch
            hashes += map(hash, raws)
            items = msgspec.Raw(b"[" + b",".join(raws) + b"]")
            first = batch[0] == self.first
            yield {"assign": items, **at} if first else {"at": batch[0], "items": items}
        self.capture.entries += self.count
        if not self.count:
            yield {"assign": [], **at}
        self.saved = Blocks(starts, hashes, self.end)

    def _plan(self, before: Blocks) -> list[tuple[int, int]]:
        """The blocks to encode, which neither `low` nor `high` divides."""
        plan: list[tuple[int, int]] = []
        size = self._size()
        bounds = [] if self._is_fragmented(before) else before.bounds()
        for start, copy in zip(self._starts, self._copies, strict=True):
            at, end = start, start + len(copy)
            while at < end:
                later = bisect_right(bounds, at)  # up to where the next old block begins
                inside = 0 < later < len(bounds)
                stop = min(bounds[later] if inside else at + size, end)
                stop = min(edge for edge in (self.low, self.high, stop) if edge > at)
                plan.append((at, stop))
                at = stop
        return plan

    def _write(
        self,
        plan: list[tuple[int, int]],
        known: dict[int, tuple[int, int | None]],
        hashes: dict[int, int | None],
    ) -> Iterator[dict[str, Any] | None]:
        """Encode blocks, and write of each what is to be written."""
        for batch in batches(iter(plan)):
            runs: list[_Run] = []
            with self.node.tracker.lock:
                for start, stop in batch:
                    raw = self._raw(start, stop)
                    hashes[start] = hash(raw)
                    same = known.get(start) == (stop, hashes[start])
                    for a, b in self._to_write(start, stop, same=same):
                        piece = raw if (a, b) == (start, stop) else self._raw(a, b)
                        _join(runs, a, b, piece)
            self.capture.entries += sum(stop - start for start, stop in batch)
            yield None
            for run in runs:
                yield {"at": run.start, "items": msgspec.Raw(b"[" + b",".join(run.raws) + b"]")}

    def _to_write(self, start: int, stop: int, *, same: bool) -> list[tuple[int, int]]:
        """Which items of a block are to be written, as ranges of numbers."""
        if stop <= self.low or start >= self.high:
            return [(start, stop)]
        if same:
            return []
        if self.compared:
            return [(start, stop)]
        return [(n, n + 1) for n in range(start, stop) if n in self.changed]

    def _find_shift(self, before: Blocks) -> Iterator[None]:
        """Find out by how much the items of a small sequence have moved, and number them so."""
        hashes: list[int | None] = []
        for batch in batches(iter(range(self.first, self.end))):
            with self.node.tracker.lock:
                for number in batch:
                    if number not in self.early:
                        self.early[number] = self._encode(number, self._item(number))
                    hashes.append(hash(self.early[number]))
            yield None
        if len(before.starts) == before.end - before.first:  # a hash for each item
            first = before.first + _shift(before.hashes, hashes)
            with self.node.tracker.lock:
                self._renumber(first - self.first)
            self.low, self.high = max(before.first, self.first), min(before.end, self.end)

    def _renumber(self, shift: int) -> None:
        node = self.node
        self.first += shift
        self.end += shift
        self._starts = [start + shift for start in self._starts]
        self.early = {number + shift: raw for number, raw in self.early.items()}
        self._index = None
        node.first, node.low, node.high = node.first + shift, node.low + shift, node.high + shift
        node.keys = {number + shift: None for number in node.keys}

    def _size(self) -> int:
        return 1 if self.count <= LARGE else CHUNK

    def _raw(self, start: int, stop: int) -> bytes:
        """Encode some items, without the brackets; the lock is held."""
        index = bisect_right(self._starts, start) - 1
        at = self._starts[index]
        items = self._copies[index][start - at : stop - at]
        if codec.is_flat(items) or self._is_json(start, items):
            with contextlib.suppress(ValueError):  # an int with too many digits: found below
                return codec.dump(items)[1:-1]
        raws = [
            self.early[number] if number in self.early else self._encode(number, item)
            for number, item in enumerate(items, start)
        ]
        return b",".join(raws)

    def _is_json(self, start: int, items: list[Any]) -> bool:
        """Whether msgspec can be given items as they are: dicts of scalars that are entries."""
        if not _DICT_FORMS.issuperset(map(type, items)):
            return False
        if self.early and not self.early.keys().isdisjoint(range(start, start + len(items))):
            return False
        node = self.node
        return all(
            item._node_ is node and item._key_.ident == id(item) and codec.is_json_dict(item)
            for item in items
        )

    def _encode(self, number: int, item: Any) -> bytes:
        """Encode one item; if it cannot be saved something stands for it, so that none moves."""
        node = self.node
        entry = node.places.get(id(item))
        if entry is None and type(item) in FORMS and item._node_ is node:
            entry = item._key_
        if type(entry) is not Place or entry.ident != id(item):
            entry = Place(number, id(item))
        encoded = self.encode_value(entry, item, number - self.first)
        return codec.dump(codec.unsaved(item)) if encoded is None else encoded

    # -- if it fails --------------------------------------------------------------------------

    def give_back(self) -> None:
        """Mark again what was taken over: the store may have it, or have it in part."""
        node = self.node
        before: Blocks | None = node.saved
        if before is None or self.low >= self.high:
            node.saved, node.whole = None, True
            return
        node.whole = node.whole or self.compared
        node.keys = dict.fromkeys(self.changed) | node.keys
        node.touched = dict.fromkeys(self.touched) | node.touched
        after = self.saved if self.saved is not None else before
        new = dict(zip(after.starts, after.hashes, strict=True))
        hashes: dict[int, int | None] = {self.low: None}
        for (start, stop), digest in zip(pairwise(before.bounds()), before.hashes, strict=True):
            if self.low <= start < self.high:
                same = stop <= self.high and new.get(start) == digest
                hashes[start] = digest if same else None
        starts = sorted(hashes)
        node.saved = Blocks(starts, [hashes[start] for start in starts], self.high, sure=False)


def _shift(before: list[int | None], now: list[int | None]) -> int:
    """By how much items have moved: what was taken off the left end, less what was put there."""
    if not before or not now:
        return 0
    for shift, digest in enumerate(before):
        if digest == now[0]:
            common = min(len(before) - shift, len(now))
            if before[shift : shift + common] == now[:common]:
                return shift
    for shift, digest in enumerate(now):
        if digest == before[0]:
            common = min(len(before), len(now) - shift)
            if now[shift : shift + common] == before[:common]:
                return -shift
    return 0


def _slice(items: Any, start: int, stop: int) -> list[Any]:
    """Copy some items, from the end that is nearer."""
    if isinstance(items, list):
        return list.__getitem__(items, slice(start, stop))
    length = deque.__len__(items)
    if length - stop < start:
        copied = list(islice(deque.__reversed__(items), length - stop, length - start))
        copied.reverse()
        return copied
    return list(islice(deque.__iter__(items), start, stop))


def _join(runs: list[_Run], start: int, stop: int, raw: bytes) -> None:
    """Add items to the last run, if they lie beside it, or begin a new one."""
    run = runs[-1] if runs else None
    if run is not None and run.stop == start:
        run.stop = stop
        run.raws.append(raw)
    elif run is not None and run.start == stop:
        run.start = start
        run.raws.appendleft(raw)
    else:
        runs.append(_Run(start, stop, deque([raw])))


Pending.shapes["sequence"] = SequencePending

"""Which items of lists and deques are written.

Items are numbered in the store (`journal/commit.py` says how a change names them). An item keeps
its number while others come and go at both ends; if items are taken out of the middle, or inserted
there, the items behind them are renumbered. So a commit contains the new items, and only the
numbers of removed items.

Which items stayed is recorded (`kept.py`), or found by comparing with hashes of the saved items. In
the disarmed variant, and for writes that bypass the barrier, nothing is recorded; then the two
versions are aligned by their hashes (`alignment.py`). Items that replace a slice are aligned too:
`queue[:] = [page for page in queue if …]` costs only the removed items.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice, starmap
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from autostate import codec
from autostate.tracking.alignment import UNKNOWN, align, paired
from autostate.tracking.barrier import VARIANTS, size
from autostate.tracking.items import ItemRef, SequenceEntries
from autostate.tracking.kept import Kept, Segment, gaps
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import LARGE
from autostate.tracking.node_capture import Changes, NodeCapture, batches
from autostate.tracking.raw import items_of
from autostate.tracking.saved_items import Saved, copied, spliced
from autostate.tracking.verbatim import verbatim

UNIT: Final = 32
"""Items that are encoded at once."""

_SHORT: Final = 4096
"""Bytes of items up to which it costs nothing to copy them once more."""

_CUTS: Final = 4096
"""Ranges that one change takes out, at the most: some 64 KiB."""

_ident: Final = attrgetter("ident")


class _Run(Struct):
    """Items side by side that are to be written: their positions, and their JSON."""

    start: int
    stop: int
    insert: bool
    raws: deque[bytes]


class SequenceCapture(NodeCapture):
    """The part of a list or deque in a capture. Items are named by their positions at the cut.

    Attributes:
        before: What was saved; None if that is not known.
        length: The number of all items at the cut.
        first: `SequenceEntries.first` at the cut.
        compared: Whether all items are compared with the saved ones.
        changed: Items that stayed, and have to be encoded again.
    """

    entries: SequenceEntries
    early: dict[int, bytes]

    def copy(self) -> None:
        """Copy the items to encode; the lock is held."""
        entries, obj = self.entries, self.node.obj
        self.before: Saved | None = entries.saved
        # Until the outcome of this capture is known, the content of the store is not known.
        self.saved, entries.saved = entries.saved, None
        self.first, self.length = entries.first, size(obj)
        self.compared = self.all_dirty and self.before is not None
        kept, entries.kept = entries.kept, Kept(self.length)
        kept.clip(self.length)
        self._segments = self._stayed = kept.segments
        self._new: list[range] = []
        self._replaced: list[range] = []
        # What the store may have of this capture, if its outcome is unknown: the numbers that were
        # written (None: items were renumbered), and the range of numbers that was left.
        self._written: set[int] | None = set()
        self._left: tuple[int, int] | None = None
        self._index: dict[int, int] | None = None
        self.changed = self._marked(kept)
        if self.all_dirty or self.before is None:
            ranges = [range(self.length)]
            entries.bad = {}
        else:
            ranges = _merged(
                chain(kept.fresh(self.length), (range(p, p + 1) for p in self.changed))
            )
        entries.forget_gone(self.length)
        self._starts = [positions.start for positions in ranges]
        self._copies = _slices(obj, ranges)
        self.count = sum(map(len, self._copies))

    def _marked(self, kept: Kept) -> set[int]:
        """Return the positions of items in which something was marked."""
        slots = self.entries.locate(key for key in self.touched if type(key) is ItemRef)
        found = {*map(kept.position_of, self.keys), *slots.values()}
        return {position for position in found if position is not None}

    def encode_now(self, key: Any) -> None:
        """Encode one item before it is written to; the lock is held."""
        position = self._position(key)
        if position is not None and position not in self.early:
            self.early[position] = self._encode(position, self._item(position))

    def put_copy(self, entry: Any, copy: Any) -> None:
        """Encode a copy of an item."""
        position = self._position(entry)
        if position is not None:
            encoded = self.encode_value(entry, copy, position)
            unsaved = codec.unsaved(self._item(position))
            self.early[position] = codec.dump(unsaved) if encoded is None else encoded

    def holding(self, entries: list[Any], values: list[Any]) -> list[bool]:
        """Tell for each of these values whether it is to be encoded as its entry."""
        if self._starts == [0] and len(self._copies[0]) == self.length:
            return [True] * len(values)  # all items are
        return list(map(self._positions().__contains__, map(id, values)))

    def put_early(self, entries: list[Any], raws: list[bytes]) -> None:
        """Take over encoded entries; the lock is held."""
        positions = map(self._positions().__getitem__, map(_ident, entries))
        self.early.update(zip(positions, raws, strict=True))

    def encode_rest(self) -> None:
        """Encode items that can still change, before the node is untracked; the lock is held."""
        for start, items in zip(self._starts, self._copies, strict=True):
            for position, item in enumerate(items, start):
                if position not in self.early and type(item) not in codec.NATIVE:
                    self.early[position] = self._encode(position, item)

    def _position(self, place: ItemRef) -> int | None:
        """Return the position of an item at the cut; None if it is not to be encoded."""
        if id(self._item(place.number - self.first)) == place.ident:
            return place.number - self.first
        return self._positions().get(place.ident)

    def _positions(self) -> dict[int, int]:
        """Return the positions of the copied items, by `id`."""
        if self._index is None:
            self._index = {}
            for at, items in zip(self._starts, self._copies, strict=True):
                self._index.update(zip(map(id, items), count(at), strict=False))
        return self._index

    def _items(self, start: int, stop: int) -> list[Any]:
        """Return the copies of items side by side, which are there."""
        if start == stop:
            return []
        index = bisect_right(self._starts, start) - 1
        at = self._starts[index]
        return self._copies[index][start - at : stop - at]

    def _item(self, position: int) -> Any:
        """Return the copy of an item; this object if there is none."""
        index = bisect_right(self._starts, position) - 1
        if index >= 0 and position - self._starts[index] < len(self._copies[index]):
            return self._copies[index][position - self._starts[index]]
        return self

    def release(self) -> None:
        """Release the copies."""
        self.early = {}
        self._starts, self._copies, self._index = [], [], None

    # -- what is written ----------------------------------------------------------------------

    def changes(self) -> Changes:
        """Encode, and yield what is to be written."""
        before = self.before
        if before is not None and before.sure and not self.length and not before.hashes:
            return  # it was empty, and is
        hashes = array("q", [UNKNOWN]) * self.length
        if before is not None:
            yield from self._align(before.hashes, hashes)
        if before is None or not self._segments:
            yield from self._assign(hashes)
            return
        first = before.first + self._segments[0].start - self._segments[0].at
        after = array("q", [UNKNOWN]) * self.length
        for start, stop, at in self._segments:
            after[at : at + stop - start] = before.hashes[start:stop]
        yield from self._take_out(before)  # first: the numbers of the other items depend on it
        yield from self._write(first, after)
        self.saved = Saved(first, after, items=self._copied())

    def _align(self, before: array[int], hashes: array[int]) -> Iterator[None]:
        """Find the items that stayed, and fill in the hashes of items encoded for that."""
        segments = self._segments
        if self.compared:
            yield from self._hash([range(self.length)], hashes)
            if not self._is_confirmed(before, hashes):
                segments = []  # a write was not recorded: all of it is aligned by the hashes
        else:
            open_ = gaps(segments, len(before), self.length)
            yield from self._hash([new for old, new in open_ if old and new], hashes)
        found: list[Segment] = []
        for number, (old, new) in enumerate(gaps(segments, len(before), self.length)):
            if old and new:
                same = align(before[old.start : old.stop], hashes[new.start : new.stop])
                found += [Segment(a + old.start, b + old.start, c + new.start) for a, b, c in same]
                yield None
            found += segments[number : number + 1]
        self._segments = found
        if found:
            self._segments, replaced, self._new = paired(found, len(before), self.length)
            stayed = Kept()
            stayed.segments = found
            changed = (range(p, p + 1) for p in self.changed if stayed.index_at(p) is not None)
            self._replaced = _merged(chain(replaced, changed))

    def _is_confirmed(self, before: array[int], hashes: array[int]) -> bool:
        """Tell whether all items that stayed, except marked ones, are as they were saved."""
        for start, stop, at in self._segments:
            old, new = before[start:stop], hashes[at : at + stop - start]
            if len(old) != len(new):
                return False
            if old != new:
                pairs = enumerate(zip(old, new, strict=True), at)
                if any(a != b and position not in self.changed for position, (a, b) in pairs):
                    return False
        return True

    def _hash(self, ranges: Iterable[range], hashes: array[int]) -> Iterator[None]:
        for batch in batches(_units(ranges)):
            with self.node.tracker.lock:
                digests = array("q", map(hash, self._raws(batch)))
                at = 0
                for start, stop in batch:
                    hashes[start:stop] = digests[at : at + stop - start]
                    at += stop - start
            yield None

    def _assign(self, hashes: array[int]) -> Changes:
        """Write all items."""
        self._written = None
        verb = "assign"
        for batch in batches(_units([range(self.length)])):
            with self.node.tracker.lock:
                raws = self._raws(batch)
            start = batch[0][0]
            hashes[start : start + len(raws)] = array("q", map(hash, raws))
            items = msgspec.Raw(b"[" + b",".join(raws) + b"]")
            yield {"assign": items} if verb == "assign" else {"at": start, "items": items}
            verb = "items"
        self.capture.entries += self.length
        if not self.length:
            yield {"assign": []}
        self.saved = Saved(0, hashes, items=self._copied())

    def _copied(self) -> list[Any] | None:
        """Bring the copy of the saved items up to date, for the next full compare."""
        before, node = self.before, self.node
        if self.length <= LARGE or type(node.obj) in PLAIN:
            return None
        if self._starts == [0] and len(self._copies[0]) == self.length:
            return copied(node, self._copies[0][:])
        if before is None or before.items is None:
            return None
        copy, before.items = before.items, None
        fresh = [
            copied(node, self._items(new.start, new.stop))
            for _, new in gaps(self._stayed, len(copy), self.length)
        ]
        positions = [*self.changed]
        changed = copied(node, [*map(self._item, positions)])
        if None in fresh or changed is None:
            return None
        copy = spliced(copy, self._stayed, self.length, cast("list[list[Any]]", fresh))
        for position, item in zip(positions, changed, strict=True):
            copy[position] = item
        return copy

    def _plan(self) -> Iterator[tuple[int, int, bool]]:
        """Yield ranges of positions to write, and whether they insert, in a possible order.

        Each range lies beside an item that is there already; so ranges to the left of all others
        are written from right to left.
        """
        left, right = self._segments[0].at, self._segments[-1].end
        yield from reversed([(*unit, False) for unit in _units(self._new) if unit[0] < left])
        rest = [(positions, False) for positions in self._replaced]
        rest += [(new, new.start < right) for new in self._new if new.start >= left]
        for positions, insert in sorted(rest, key=lambda one: one[0].start):
            for start, stop in _units([positions]):
                yield start, stop, insert

    def _take_out(self, before: Saved) -> Iterator[dict[str, Any]]:
        """Take out the items that are gone, at the ends and between others."""
        segments, first = self._segments, before.first
        low, high = first + segments[0].start, first + segments[-1].stop
        self._left = low, high
        if (low, high) != (first, before.end) or not before.sure:
            yield {"trim": [low, high]}
        spaces = list(gaps(segments, len(before.hashes), self.length))[1:-1]
        cuts = [[first + old.start, first + old.stop] for old, _ in spaces if old]
        for stop in range(len(cuts), 0, -_CUTS):  # from the right: the other numbers stay valid
            self._written = None
            yield {"cut": cuts[max(stop - _CUTS, 0) : stop]}

    def _write(self, first: int, hashes: array[int]) -> Changes:
        """Encode items, and write those that differ from the saved ones."""
        left = self._segments[0].at
        for batch in batches(self._plan()):
            runs: list[_Run] = []
            with self.node.tracker.lock:
                raws = self._raws([(start, stop) for start, stop, _ in batch])
            digests = array("q", map(hash, raws))
            at = 0
            for start, stop, insert in batch:
                end = at + stop - start
                known, digest, unit = hashes[start:stop], digests[at:end], raws[at:end]
                at = end
                if known == digest:
                    continue
                hashes[start:stop] = digest
                if len(unit) == 1 or known.count(UNKNOWN) == len(unit):
                    _join(runs, start, unit, insert=insert)
                    continue
                pairs = [*enumerate(zip(known, digest, unit, strict=True), start)]
                for position, (before, now, raw) in reversed(pairs) if stop <= left else pairs:
                    if before != now:
                        _join(runs, position, [raw], insert=insert)
            yield None
            self.capture.entries += sum(run.stop - run.start for run in runs)
            for run in runs:
                self._note(first + run.start, first + run.stop, insert=run.insert)
                items = b"[" + b",".join(run.raws) + b"]"
                if run.insert or self._header or len(items) > _SHORT:
                    insert_them = {"insert": True} if run.insert else {}
                    yield {"at": first + run.start, "items": msgspec.Raw(items), **insert_them}
                else:  # of these there may be thousands
                    at, node_id = first + run.start, self.node.id
                    self.capture.changes.append(
                        b'{"id":%d,"at":%d,"items":%b}' % (node_id, at, items)
                    )
                    self.written = True

    def _note(self, start: int, stop: int, *, insert: bool) -> None:
        """Remember which numbers are written, in case the outcome is unknown."""
        if insert:
            self._written = None
        elif self._written is not None:
            self._written.update(range(start, stop))

    def _raws(self, units: list[tuple[int, int]]) -> list[bytes]:
        """Encode the items at some ranges of positions; the lock is held."""
        items = [*chain.from_iterable(starmap(self._items, units))]
        early: list[bytes | None] = []
        if self.early:
            early = [*map(self.early.get, chain.from_iterable(starmap(range, units)))]
            if all(early):
                return cast("list[bytes]", early)
        if not any(early):
            known = verbatim(self.node, items, None)
            raws = None if known is None else known.each()
            if raws is not None:
                return raws
        if len(units) > 1:  # an item that needs a closer look costs its unit only
            return [*chain.from_iterable(self._raws([unit]) for unit in units)]
        return [*map(self._raw, chain.from_iterable(starmap(range, units)), items)]

    def _raw(self, position: int, item: Any) -> bytes:
        if position in self.early:
            return self.early[position]
        reported = len(self.capture.errors)
        raw = self._encode(position, item)
        if len(self.capture.errors) > reported:
            self.early[position] = raw  # so that an error is reported once
        return raw

    def _encode(self, position: int, item: Any) -> bytes:
        """Encode one item; an item that cannot be saved gets a stand-in, so that no other moves."""
        node = self.node
        entry = self.entries.refs.get(id(item))
        if entry is None and type(item) in VARIANTS and item._node_ is node:
            entry = item._key_
        if type(entry) is not ItemRef or entry.ident != id(item):
            entry = ItemRef(self.first + position, id(item))
        encoded = self.encode_value(entry, item, position)
        return codec.dump(codec.unsaved(item)) if encoded is None else encoded

    def _is_stored(self, entry: Any, encoded: bytes) -> bool:
        """Tell whether the store is known to have an item in exactly this form, at any position."""
        return self.before is not None and hash(encoded) in self.before.hashes

    # -- if it fails --------------------------------------------------------------------------

    def restore(self) -> None:
        """Mark again the items of this capture: the store may have all, some or none of them.

        If items were only replaced, or came and went at the ends, the store certainly has most of
        the other items. If items were renumbered, nothing is known any more.
        """
        before = self.before
        self.entries.all_dirty = True  # compared again, as far as anything is known
        if before is None or self._written is None:
            self.entries.saved = None
        elif self._left is None:
            self.entries.saved = before  # nothing of this capture was written
        else:
            low, high = self._left
            hashes = before.hashes[low - before.first : high - before.first]
            for number in self._written:
                if low <= number < high:
                    hashes[number - low] = UNKNOWN
            # Not sure: the store may still have the items outside of `low` and `high`.
            self.entries.saved = Saved(low, hashes, sure=False)


def _units(ranges: Iterable[range]) -> Iterator[tuple[int, int]]:
    """Divide ranges into units that are encoded at once."""
    for positions in ranges:
        for start in range(positions.start, positions.stop, UNIT):
            yield start, min(start + UNIT, positions.stop)


def _merged(ranges: Iterable[range]) -> list[range]:
    """Sort ranges, and join those that touch."""
    made: list[range] = []
    for positions in sorted(ranges, key=lambda positions: positions.start):
        if made and positions.start <= made[-1].stop:
            made[-1] = range(made[-1].start, max(made[-1].stop, positions.stop))
        else:
            made.append(positions)
    return made


def _slices(items: Any, ranges: list[range]) -> list[list[Any]]:
    """Copy some items; one walk through a deque is faster than many."""
    if isinstance(items, list) or len(ranges) < 8:
        return [_slice(items, positions.start, positions.stop) for positions in ranges]
    every = items_of(items)
    return [every[positions.start : positions.stop] for positions in ranges]


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


def _join(runs: list[_Run], start: int, raws: list[bytes], *, insert: bool) -> None:
    """Add items to the last run if they lie beside that, else begin a new run."""
    run, stop = runs[-1] if runs else None, start + len(raws)
    if run is not None and run.insert == insert and run.stop == start:
        run.stop = stop
        run.raws.extend(raws)
    elif run is not None and run.insert == insert and run.start == stop:
        run.start = start
        run.raws.extendleft(reversed(raws))
    else:
        runs.append(_Run(start, stop, insert, deque(raws)))


NodeCapture.shapes["sequence"] = SequenceCapture

"""Which members of sets are written.

Small sets are compared: the hashes of their encoded members are kept. Additions to large sets and
removals from them are recorded. `mappings.py` says what happens when a set grows or shrinks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import compress, repeat
from typing import Any

import msgspec

from autostate import codec
from autostate.tracking.barrier import held_keys
from autostate.tracking.mappings import KeyedCapture
from autostate.tracking.nan_keys import has_nan, is_nan
from autostate.tracking.node_capture import Changes, NodeCapture, batches, dump_key, is_key
from autostate.tracking.verbatim import verbatim


class SetCapture(KeyedCapture):
    """The part of a set in a capture."""

    items: set[Any]

    def copy_items(self) -> set[Any]:
        """Copy the dirty members; the lock is held."""
        obj = self.node.obj
        if self.entries.saved is not None and not self.is_large:
            self.all_dirty = True
        if self.all_dirty or has_nan(self.keys, self.drops):  # see `MappingCapture`
            self.all_dirty = True
            return set(obj)
        keys = [*held_keys(obj, self.keys)]
        return set(compress(keys, map(set.__contains__, repeat(obj), keys)))

    def values(self, batch: list[Any]) -> list[Any]:
        """Return the members themselves."""
        return batch

    def remember(self) -> dict[bytes, int]:
        """Encode all members of a set that became small, for its hashes; the lock is held."""
        return dict(Counter(map(dump_key, filter(is_key, set.__iter__(self.node.obj)))))

    def encode_now(self, key: Any) -> None:
        """Encode one member before it is written to; the lock is held."""
        if key not in self.early and key in self.items:
            self.early[key] = self.encode_entry(key, key)

    def encode_rest(self) -> None:
        """Encode members that can still change, before the node is untracked."""
        for member in [member for member in self.items if type(member) not in codec.NATIVE]:
            self.encode_now(member)

    def encode_entry(self, key: Any, value: Any) -> bytes | None:
        """Encode a member; report it and return None if it cannot be saved."""
        return self._reported(key, value, lambda: dump_key(value))

    def changes(self) -> Changes:
        """Encode, and yield what is to be written."""
        before = self.entries.saved
        if before is None:
            return self._assigned() if self.all_dirty else self._recorded()
        if self.all_dirty and (has_nan(self.items) or any(map(is_nan, before))):
            return self._compared_with_nan(before)
        return self._compared(before) if self.all_dirty else self._updated(before)

    def _compared(self, before: dict[bytes, int]) -> Changes:
        """Drop the members that are gone, then write those that were not saved.

        The drops come first: a member may have been replaced by an equal one of another type, which
        a set does not take beside it.
        """
        remembering = self.remembers()
        saved: dict[bytes, int] = {}
        there: set[bytes] = set()
        puts: list[msgspec.Raw] = []
        pieces: deque[msgspec.Raw] = deque()
        for batch in self.encoded():
            for _, encoded in batch:
                if encoded in before:
                    there.add(encoded)
                else:
                    puts.append(msgspec.Raw(encoded))
                if remembering:
                    saved[encoded] = 1
            self.capture.entries += len(puts)
            if puts:
                pieces.append(msgspec.Raw(codec.dump(puts)))
                puts = []
            yield None
        self.saved = saved if remembering else None
        if drops := before.keys() - there:
            yield {"drop": [msgspec.Raw(member) for member in drops]}
        while pieces:
            yield {"put": pieces.popleft()}

    def _compared_with_nan(self, before: dict[bytes, int]) -> Changes:
        """Write all members if any has changed: each nan is a member of its own."""
        members: list[bytes] = []
        for batch in self.encoded():
            members += [encoded for _, encoded in batch]
            yield None
        if Counter(members) == before:
            self.saved = before
        else:
            yield from self._assigned()

    def _assigned(self) -> Changes:
        """Write all members."""
        verb = "assign"
        if not self.remembers():
            for content in self._together():
                yield {verb: content}
                verb = "put"
        else:
            saved: Counter[bytes] = Counter()
            for batch in self.encoded():
                members = [encoded for _, encoded in batch]
                saved.update(members)
                self.capture.entries += len(members)
                yield {verb: list(map(msgspec.Raw, members))}
                verb = "put"
            self.saved = dict(saved)
        if verb == "assign":
            yield {"assign": []}

    def _recorded(self) -> Changes:
        """Write the recorded members."""
        for batch in batches(iter(self.drops)):
            yield {"drop": self.dropped(batch)}
        for content in self._together():
            yield {"put": content}
        self.saved = self.remembered

    def _updated(self, before: dict[bytes, int]) -> Changes:
        """Write the recorded members of a large set whose hashes are kept."""
        for key in self.drops:
            if is_key(key):
                before.pop(dump_key(key), None)
        for batch in batches(iter(self.drops)):
            yield {"drop": self.dropped(batch)}
        for members in self.encoded():
            self.capture.entries += len(members)
            before.update((encoded, 1) for _, encoded in members)
            yield {"put": [msgspec.Raw(encoded) for _, encoded in members]}
        self.saved = before if self.remembers() else None

    def _together(self) -> Iterator[msgspec.Raw]:
        """Yield the dirty members as content, in batches: one call for each if they are JSON."""
        for batch in self.batches():
            with self.node.tracker.lock:
                known = verbatim(self.node, batch, batch) if self.are_plain(batch) else None
                data = None if known is None else codec.dump_as_is(batch)
                if data is None:
                    raws = [raw for raw in self.raws(batch) if raw is not None]
                    data = codec.dump([msgspec.Raw(raw) for raw in raws])
                    self.capture.entries += len(raws)
                else:
                    self.capture.entries += len(batch)
            yield msgspec.Raw(data)


NodeCapture.shapes["set"] = SetCapture

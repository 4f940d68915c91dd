"""What is written of sets.

Of small ones the encoded members are remembered and compared; of large ones what was added and
removed is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from autostate.tracking.barrier import size
from autostate.tracking.mappings import has_nan
from autostate.tracking.node import LARGE
from autostate.tracking.pending import KeyedPending, Pending, batches, dump_key


class SetPending(KeyedPending):
    """The share of a set in a capture."""

    def copy_items(self) -> dict[Any, Any]:
        """Copy the dirty members; the lock is held."""
        obj = self.node.obj
        if self.whole or size(obj) <= LARGE or has_nan(chain(self.keys, self.drops)):
            self.whole = True
            members = set(obj)
            return dict(zip(members, members, strict=True))
        return {member: member for member in self.keys if set.__contains__(obj, member)}

    def encode_entry(self, key: Any, value: Any) -> bytes | None:
        """Encode a member; None if it cannot be saved, which is reported."""
        return self._reported(key, lambda: dump_key(value))

    def changes(self) -> Iterator[dict[str, Any] | None]:
        """Encode, pausing at every `yield`."""
        small = self.count <= LARGE and (self.whole or self.node.saved is not None)
        return self._compared() if small else self._recorded()

    def _compared(self) -> Iterator[dict[str, Any] | None]:
        """Write the members that were not saved, and drop those that are no more."""
        before = self.node.saved
        members: list[bytes] = []
        for batch in self.encoded():
            members += [encoded for _, encoded in batch]
            yield None
        self.saved = dict(Counter(members))  # each nan is a member of its own
        nan = any(b"nan" in member.lower() for member in chain(members, before or ()))
        if before is None or (nan and before != self.saved):
            yield {"assign": [msgspec.Raw(member) for member in members]}
            return
        change = {}
        if drops := before.keys() - self.saved.keys():
            change["drop"] = [msgspec.Raw(member) for member in drops]
        if puts := [member for member in members if member not in before]:
            change["put"] = [msgspec.Raw(member) for member in puts]
        if change:
            yield change

    def _recorded(self) -> Iterator[dict[str, Any] | None]:
        """Write the recorded members, or all of them."""
        verb = "assign" if self.whole else "put"
        if not self.whole and self.drops:
            for batch in batches(iter(self.drops)):
                yield {"drop": self.dropped(batch)}
        for batch in batches(iter(self.items)):
            with self.node.tracker.lock:
                members = [(member, self.taken(member, member)) for member in batch]
            self.capture.entries += len(batch)
            yield {verb: [msgspec.Raw(raw) for _, raw in members if raw is not None]}
            verb = "put"
        if verb == "assign":
            yield {"assign": []}


Pending.shapes["set"] = SetPending

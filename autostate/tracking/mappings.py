"""What is written of dicts, counters and the like.

Small ones are compared: of each entry a hash is remembered, so that any write at full speed
still costs only the entries that changed. The writes to large ones are recorded by key; nothing
is remembered of them.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import msgspec

from autostate import codec
from autostate.tracking.barrier import FORM_SETS, KINDS, PLAIN, copy_dict
from autostate.tracking.node import LARGE
from autostate.tracking.pending import KeyedPending, Pending, batches, dump_key, is_key

_MISSING: Final = object()
_STR: Final = frozenset({str})
_DICT_FORMS: Final = FORM_SETS["dict"]
_MAYBE_NAN: Final = frozenset({float, complex, decimal.Decimal, tuple, frozenset})


class MappingPending(KeyedPending):
    """The share of a dict, counter, OrderedDict or defaultdict in a capture."""

    def copy_items(self) -> dict[Any, Any]:
        """Copy the dirty entries; the lock is held."""
        obj = self.node.obj
        if not self.whole and has_nan(chain(self.keys, self.drops)):
            self.whole = True
        if self.whole:
            builtin = KINDS[self.node.kind].builtin
            in_order = builtin.__iter__ is dict.__iter__
            return copy_dict(obj) if in_order else dict(builtin.items(obj))
        get, keys, drops, touched = dict.get, self.keys, self.drops, self.touched
        if keys or drops or None in touched.values():
            entries = [key for key in touched if key not in keys] if keys else touched
            return {
                key: value
                for key in chain(entries, keys)
                if (value := get(obj, key, _MISSING)) is not _MISSING
            }
        return touched.copy()  # each entry is the container that changed, still in its place

    def changes(self) -> Iterator[dict[str, Any] | None]:
        """Encode, pausing at every `yield`."""
        small = self.count <= LARGE and (self.whole or self.node.saved is not None)
        if small or type(self.node.obj) in PLAIN:  # those are compared in every capture
            return self._compared()
        return self._recorded()

    def _compared(self) -> Iterator[dict[str, Any] | None]:
        """Write the entries that differ from what was saved."""
        before = self.node.saved
        entries: dict[Any, bytes] = {}
        for batch in self.encoded():
            entries.update(batch)
            yield None
        hashes = {key: hash((dump_key(key), value)) for key, value in entries.items()}
        if before is None or (self.whole and self._has_to_be_assigned(before, hashes)):
            self.saved = hashes
            yield {"assign": _raw(entries)}
            return
        change: dict[str, Any] = {}
        gone = [key for key in before if key not in self.items] if self.whole else []
        drops = dict.fromkeys([*gone, *self.drops])
        puts = {
            key: value
            for key, value in entries.items()
            if key in drops or before.get(key) != hashes[key]
        }
        self.saved = {key: value for key, value in before.items() if key not in drops} | hashes
        if drops:
            change["drop"] = self.dropped(drops)
        if puts:
            change["put"] = _raw(puts)
        if change:
            yield change

    def _has_to_be_assigned(self, before: dict[Any, int], hashes: dict[Any, int]) -> bool:
        """Whether dropping and putting entries would not give the content that is.

        That is so for another order, for a key that is equal to a former one but another (1 and
        True), and for nan, which is equal to nothing.
        """
        if not _same_order(before, hashes):
            return True
        odd = [key for key in chain(before, hashes) if type(key) is not str]
        changed = [key for key in odd if before.get(key) != hashes.get(key)]
        return any(key in before and key in hashes for key in changed) or has_nan(changed)

    def _recorded(self) -> Iterator[dict[str, Any] | None]:
        """Write the recorded entries, or all of them."""
        verb = "assign" if self.whole else "put"
        if not self.whole and self.drops:
            for batch in batches(iter(self.drops)):
                yield {"drop": self.dropped(batch)}
        for pairs in self._translated():
            yield None if pairs is None else {verb: pairs}
            verb = verb if pairs is None else "put"
        if verb == "assign":
            yield {"assign": {}}

    def _translated(self) -> Iterator[msgspec.Raw | None]:
        """Batches of entries as encoded content; each entry is done once it is taken."""
        items, early, touched = self.items, self.early, self.touched
        for batch in batches(iter(items)):
            pairs = []
            with self.node.tracker.lock:
                for key in batch:
                    value = items[key]
                    items[key] = None
                    if (key not in early and type(key) in codec.NATIVE) and (
                        touched.get(key, _MISSING) is value or self._is_json(key, value)
                    ):
                        pairs.append((key, value))
                        continue
                    encoded = self.taken(key, value)
                    if encoded is not None and not self._was_seen(key, encoded):
                        pairs.append((key, msgspec.Raw(encoded)))
                content = self._joined(pairs) if pairs else None
            self.capture.entries += len(batch)
            yield content

    def _joined(self, pairs: list[tuple[Any, Any]]) -> msgspec.Raw:
        """Encode a batch in one call; one by one if there is an int with too many digits."""
        try:
            return msgspec.Raw(codec.dump(_content(pairs)))
        except ValueError:
            raw = msgspec.Raw
            single = ((k, v if type(v) is raw else self.encode_entry(k, v)) for k, v in pairs)
            kept = [(k, v if type(v) is raw else raw(v)) for k, v in single if v is not None]
            return raw(codec.dump(_content(kept)))

    def _was_seen(self, key: Any, encoded: bytes) -> bool:
        """Whether a watched entry is as it was saved: it is looked at in every capture."""
        tracker = self.node.tracker
        if not tracker.watch.knows(self.node, key):
            return False
        digest = self.seen[key] = hash(encoded)
        known = tracker.watch.was_saved(self.node, key, digest)
        return known and not self.whole and key not in self.drops

    def _is_json(self, key: Any, value: Any) -> bool:
        """Whether msgspec can be given a value as it is: a scalar, or a dict of such."""
        cls = type(value)
        if cls in codec.NATIVE:
            return True
        return (
            cls in _DICT_FORMS
            and value._key_ is key
            and value._node_ is self.node
            and codec.is_json_dict(value)
        )


def has_nan(keys: Iterable[Any]) -> bool:
    """Whether a key is, or holds, nan: no other nan is equal to it."""
    return any(
        type(key) in _MAYBE_NAN and is_key(key) and b"nan" in dump_key(key).lower() for key in keys
    )


def _content(pairs: list[tuple[Any, Any]]) -> Any:
    """Entries as content: an object if all keys are str, else pairs."""
    if _STR.issuperset(map(type, dict(pairs))) and _utf8([key for key, _ in pairs]):
        return dict(pairs)
    return [[msgspec.Raw(dump_key(key)), value] for key, value in pairs]


def _raw(entries: dict[Any, bytes]) -> Any:
    """Encoded entries as content."""
    return _content([(key, msgspec.Raw(raw)) for key, raw in entries.items()])


def _utf8(keys: list[str]) -> bool:
    try:
        "".join(keys).encode()
    except UnicodeEncodeError:
        return False
    return True


def _same_order(before: dict[Any, int], now: dict[Any, int]) -> bool:
    """Whether dropping what is gone and appending what is new gives the order that is."""
    kept = [key for key in before if key in now]
    return [*kept, *(key for key in now if key not in before)] == list(now)


Pending.shapes["mapping"] = MappingPending

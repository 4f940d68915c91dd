"""Which entries of dicts, counters and other mappings are written.

Small mappings are compared: a hash of each entry is kept, so that a write at full speed costs only
the entries that changed. Writes to large mappings are recorded by key, and no hashes are kept,
unless something has bypassed the methods of the mapping. A mapping that grew from small to large at
full speed is compared with the few known hashes, and its other entries are new: growth costs what
was added.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

import msgspec

from autostate import codec
from autostate.memory import Pieces
from autostate.tracking.barrier import VARIANT_SETS, held_keys
from autostate.tracking.kind import copy_dict
from autostate.tracking.node_capture import KeyedCapture, NodeCapture, batches, dump_key, is_key

_MISSING: Final = object()
_STR: Final = frozenset({str})
_LARGE: Final = 1 << 20  # bytes of an entry above which another copy costs too much
_DICT_FORMS: Final = VARIANT_SETS["dict"]
_MAYBE_NAN: Final = frozenset({float, complex, decimal.Decimal, tuple, frozenset})
_NAN: Final = re.compile(rb'\{"\$[a-z]+":"[^"]*nan', re.IGNORECASE)


class MappingCapture(KeyedCapture):
    """The share of a dict, counter, OrderedDict or defaultdict in a capture."""

    def copy_items(self) -> dict[Any, Any]:
        """Copy the dirty entries; the lock is held."""
        obj = self.node.obj
        if not self.all_dirty and has_nan(chain(self.keys, self.drops)):
            self.all_dirty = True
        if self.all_dirty:
            return self._copy_all()
        get, touched, drops = dict.get, self.touched, self.drops
        if not self.keys and not drops and None not in touched.values():
            return touched.copy()  # each entry is the container that changed, still in its place
        keys = dict.fromkeys(held_keys(obj, self.keys))
        entries = [key for key in touched if key not in keys] if keys else touched
        return {
            key: value
            for key in chain(entries, keys)
            if (value := get(obj, key, _MISSING)) is not _MISSING
        }

    def _copy_all(self) -> dict[Any, Any]:
        obj, builtin = self.node.obj, self.node.kind.builtin
        in_order = builtin.__iter__ is dict.__iter__
        return copy_dict(obj) if in_order else dict(builtin.items(obj))

    def remember(self) -> dict[Any, int]:
        """Encode all entries of a mapping that became small, for its hashes; the lock is held."""
        saved = {}
        for key, value in self._copy_all().items():
            if key in self.entries.bad:
                continue
            encoded = self.encode_entry(key, value)
            if encoded is not None:
                saved[key] = _hash(key, encoded)
            if key in self.items:
                self.early[key] = encoded
        return saved

    def changes(self) -> Iterator[dict[str, Any] | None]:
        """Encode, pausing at every `yield`."""
        before: dict[Any, int] | None = self.entries.saved
        if before is None:
            return self._assigned() if self.all_dirty else self._recorded()
        if self.all_dirty and has_nan(chain(before, self.items)):
            return self._compared_with_nan(before)
        if self.all_dirty and self._is_reordered(before):
            return self._assigned()
        return self._compared(before)

    def _compared(self, before: dict[Any, int]) -> Iterator[dict[str, Any] | None]:
        """Write the entries that differ from what was saved."""
        items, remembering = self.items, self.remembers()
        drops = dict.fromkeys(self.dropped_keys(before))
        saved = {} if self.all_dirty else before
        for key in () if self.all_dirty else drops:
            saved.pop(key, None)
        puts: list[tuple[Any, Any]] = []
        yield from self._drops_of_large(drops)
        for batch in self.batches():
            with self.node.tracker.lock:
                for key in batch:
                    known = before.get(key) if key not in drops else None
                    if known is None and not remembering and self._is_native(key, items[key]):
                        puts.append((key, items[key]))
                        continue
                    encoded = self.taken(key, items[key])
                    if encoded is None:
                        saved.pop(key, None)
                        continue
                    digest = _hash(key, encoded)
                    if known != digest:
                        puts.append((key, msgspec.Raw(encoded)))
                    if remembering:
                        saved[key] = digest
                    else:  # it has become large
                        self._note_seen(key, encoded)
                content = self._joined(puts) if self.is_large and puts else None
            yield {"put": content} if content is not None else None
            if self.is_large:
                self.capture.entries += len(puts)
                puts = []
        self.saved = saved if remembering else None
        change: dict[str, Any] = {}
        if drops and not self.is_large:
            change["drop"] = self.dropped(drops)
        if puts:
            self.capture.entries += len(puts)
            change["put"] = self._joined(puts)
        if change:
            yield change

    def _drops_of_large(self, drops: Iterable[Any]) -> Iterator[dict[str, Any]]:
        for batch in batches(iter(drops if self.is_large else ())):
            yield {"drop": self.dropped(batch)}

    def _compared_with_nan(self, before: dict[Any, int]) -> Iterator[dict[str, Any] | None]:
        """Write all entries if one of them differs: no stored key is equal to nan."""
        hashes: dict[Any, int] = {}
        for batch in self.encoded():
            hashes.update((key, _hash(key, encoded)) for key, encoded in batch)
            yield None
        if hashes == before:
            self.saved = before
        else:
            yield from self._assigned()

    def _is_reordered(self, before: dict[Any, int]) -> bool:
        """Tell whether dropping and putting entries would not give the present content.

        It would not if the order is another one, or if a key is equal to a former key but not the
        same (1 and True).
        """
        items = self.items
        kept = [key for key in before if key in items]
        now = list(islice(items, len(kept)))
        if kept != now:
            return True
        return any(
            a is not b and not (type(a) is type(b) is str) and dump_key(a) != dump_key(b)
            for a, b in zip(kept, now, strict=True)
            if is_key(b)
        )

    def _assigned(self) -> Iterator[dict[str, Any] | None]:
        """Write all entries."""
        verb = "assign"
        if not self.remembers():
            for pairs in self._translated():
                yield None if pairs is None else {verb: pairs}
                verb = verb if pairs is None else "put"
        else:
            entries: list[tuple[Any, Any]] = []
            largest = 0
            self.saved = {}
            for batch in self.encoded():
                self.saved.update((key, _hash(key, encoded)) for key, encoded in batch)
                entries += [(key, msgspec.Raw(encoded)) for key, encoded in batch]
                largest = max(largest, max((len(encoded) for _, encoded in batch), default=0))
                self.capture.entries += len(batch)
                del batch
                yield None
                if self.is_large and entries:
                    yield {verb: _packed(entries, largest)}
                    verb, entries, largest = "put", [], 0
            if entries:
                yield {verb: _packed(entries, largest)}
                verb = "put"
        if verb == "assign":
            yield {"assign": {}}

    def _recorded(self) -> Iterator[dict[str, Any] | None]:
        """Write the recorded entries."""
        for batch in batches(iter(self.drops)):
            yield {"drop": self.dropped(batch)}
        for pairs in self._translated():
            yield None if pairs is None else {"put": pairs}
        self.saved = self.remembered

    def _translated(self) -> Iterator[msgspec.Raw | None]:
        """Yield batches of entries as encoded content, with pauses (None) in between."""
        items = self.items
        for batch in self.batches():
            pairs: list[tuple[Any, Any]] = []
            with self.node.tracker.lock:
                for key in batch:
                    value = items[key]
                    items[key] = None
                    if self._is_native(key, value):
                        pairs.append((key, value))
                        continue
                    encoded = self.taken(key, value)
                    if encoded is not None and not self._was_seen(key, encoded):
                        pairs.append((key, msgspec.Raw(encoded)))
                content = self._joined(pairs) if pairs else None
            self.capture.entries += len(pairs)
            yield content

    def _joined(self, pairs: list[tuple[Any, Any]]) -> msgspec.Raw:
        """Encode a batch in one call; entry by entry if an int has too many digits."""
        try:
            return msgspec.Raw(codec.dump(_content(pairs)))
        except ValueError:
            raw = msgspec.Raw
            single = ((k, v if type(v) is raw else self.encode_entry(k, v)) for k, v in pairs)
            kept = [(k, v if type(v) is raw else raw(v)) for k, v in single if v is not None]
            return raw(codec.dump(_content(kept)))

    def _was_seen(self, key: Any, encoded: bytes) -> bool:
        """Tell whether a watched entry, which every capture encodes, is as it was saved."""
        digest = self._note_seen(key, encoded)
        if digest is None:
            return False
        known = self.capture.watched.was_saved(self.node, key, digest)
        return known and not self.all_dirty and key not in self.drops

    def _note_seen(self, key: Any, encoded: bytes) -> int | None:
        """Note what will be saved of a watched entry; give its hash, None for any other entry."""
        if not self.capture.watched.knows(self.node, key):
            return None
        digest = self.seen[key] = hash(encoded)
        return digest

    def _is_stored(self, entry: Any, encoded: bytes) -> bool:
        """Tell whether an entry is known to be stored like this."""
        saved: dict[Any, int] | None = self.entries.saved
        if saved is not None and saved.get(entry) == _hash(entry, encoded):
            return True
        watch = self.capture.watched
        return watch.knows(self.node, entry) and watch.was_saved(self.node, entry, hash(encoded))

    def _is_native(self, key: Any, value: Any) -> bool:
        """Tell whether msgspec can be given an entry as it is; the lock is held."""
        return (key not in self.early and type(key) in codec.NATIVE) and (
            self.touched.get(key, _MISSING) is value or self._is_json(key, value)
        )

    def _is_json(self, key: Any, value: Any) -> bool:
        """Tell whether msgspec can be given a value as it is: a scalar, or a dict of such."""
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
    """Tell whether a key is, or holds, nan: no other nan is equal to it."""
    return any(type(key) in _MAYBE_NAN and is_key(key) and is_nan(dump_key(key)) for key in keys)


def is_nan(encoded: bytes) -> bool:
    """Tell whether an encoded key or member is, or holds, nan. No text can look like that."""
    return _NAN.search(encoded) is not None


def _hash(key: Any, encoded: bytes) -> int:
    """Hash an entry, with its key if an equal key could be another one."""
    return hash(encoded) if type(key) is str else hash((dump_key(key), encoded))


def _content(pairs: list[tuple[Any, Any]]) -> Any:
    """Build content from entries: an object if all keys are str, else pairs."""
    if _STR.issuperset(map(type, dict(pairs))) and _utf8([key for key, _ in pairs]):
        return dict(pairs)
    return [[msgspec.Raw(dump_key(key)), value] for key, value in pairs]


def _packed(pairs: list[tuple[Any, Any]], largest: int) -> Any:
    """Build content from encoded entries; join them here if one of them is large."""
    content = _content(pairs)
    if largest > _LARGE and type(content) is dict:
        return Pieces.of(content)
    return content


def _utf8(keys: list[str]) -> bool:
    try:
        "".join(keys).encode()
    except UnicodeEncodeError:
        return False
    return True


NodeCapture.shapes["mapping"] = MappingCapture

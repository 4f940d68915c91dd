"""Which entries of dicts, counters and other mappings are written.

Small mappings are compared: a hash of each entry is kept, so that a write at full speed costs only
the entries that changed. Writes to large mappings are recorded by key, and no hashes are kept,
unless something has bypassed the methods of the mapping. A mapping that grew from small to large at
full speed is compared with the few known hashes, and its other entries are new: growth costs what
was added.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain, islice, repeat
from operator import countOf, is_, is_not
from typing import Any, Final

import msgspec

from autostate import codec
from autostate.collector import made_large
from autostate.memory import Pieces
from autostate.tracking.barrier import INTERCHANGEABLE, held_keys
from autostate.tracking.kind import PLAIN
from autostate.tracking.nan_keys import has_nan
from autostate.tracking.node import LARGE, KeyedEntries
from autostate.tracking.node_capture import Changes, NodeCapture, batches, dump_key, is_key
from autostate.tracking.parts import handed_over, parts_of
from autostate.tracking.raw import drain
from autostate.tracking.verbatim import verbatim

_MISSING: Final = object()
_STR: Final = frozenset({str})
_FEW: Final = 32  # entries that are one batch
_LARGE: Final = 1 << 20  # bytes of an entry above which another copy costs too much


class KeyedCapture(NodeCapture):
    """The part of a mapping or a set: its entries are addressed by keys.

    Attributes:
        items: Copy of the entries to encode: key → value, or a set of members.
        is_large: Whether the container had so many entries at the cut that writes are recorded.
        remembered: The hashes to keep, if they are known already at the cut.
    """

    entries: KeyedEntries
    early: dict[Any, bytes | None]
    items: Any
    remembered: dict[Any, int] | None = None

    def copy(self) -> None:
        """Copy the dirty entries; the lock is held."""
        node = self.node
        length = node.kind.builtin.__len__(node.obj)
        self.is_large = length > LARGE
        if self.entries.saved is None and len(self.keys) + len(self.drops) > length:
            self.all_dirty = True  # more drops than remaining entries: writing all is shorter
        self.entries.length, former = length, self.entries.length
        recorded = countOf(self.keys.values(), True) - countOf(self.drops.values(), True)
        if self.entries.saved is None and former is not None and former + recorded != length:
            # Something bypassed the methods of the container. The hashes of a container that has
            # become small would count its unsaved entries as saved.
            self.all_dirty = True
        self.items = self.copy_items()
        self.count = len(self.items)
        still_bad = {} if self.all_dirty else self.entries.bad
        self.entries.bad = {key: value for key, value in still_bad.items() if key not in self.items}
        if not self.is_large and not self.all_dirty and self.entries.saved is None:
            self.remembered = self.remember()

    def batches(self) -> Iterator[list[Any]]:
        """Yield the keys of the dirty entries in batches, and find the type of all keys."""
        items = self.items
        # Copied first: entries are removed from `items` as they are encoded.
        few = len(items) <= _FEW
        parts = [[*items]] if few else [*parts_of(items)]
        if items is self.touched:  # it was not copied in the cut, for which all threads wait
            self.marked, self.touched = [*parts], {}  # in this order, for Ctrl-C
        if few:
            divided = iter(parts if items else ())
        else:
            made_large(len(items))
            divided = batches(chain.from_iterable(handed_over(parts)))
        if not self.all_dirty:
            yield from divided
            return
        # Here all keys are read anyway. If they are of one type, no write has to look for the
        # key that is held in the place of an equal one.
        types: set[type] = set()
        for batch in divided:
            types.update(map(type, batch))
            yield batch
        entries = self.entries
        with self.node.tracker.lock:
            types.update(map(type, list(entries.keys)))  # recorded meanwhile
            entries.key_type = common_type(types)

    @abstractmethod
    def remember(self) -> dict[Any, int]:
        """Encode all entries of a container that became small, for its hashes; the lock is held."""

    def remembers(self) -> bool:
        """Tell whether hashes of the saved entries are kept, to compare with next time."""
        return not self.is_large or self.entries.compare or type(self.node.obj) in PLAIN

    def dropped_keys(self, before: Iterable[Any]) -> Iterable[Any]:
        """Return the keys to be dropped: those recorded as removed, or those that are gone.

        If everything is compared, a removed entry that is there again may be at its former place:
        it must not be put at the end.
        """
        if not self.all_dirty:
            return self.drops
        return (key for key in chain(before, self.drops) if key not in self.items)

    @abstractmethod
    def copy_items(self) -> Any:
        """Copy the dirty entries; the lock is held."""

    def release(self) -> None:
        """Release the copies."""
        self.early, self.items = {}, {}

    def encode_now(self, key: Any) -> None:
        """Encode one entry before it is written to; the lock is held."""
        # once: what the first of several writers has found is what the cut has seen
        if key not in self.early and self.items.get(key) is not None:
            self.early[key] = self.encode_entry(key, self.items[key])

    def put_copy(self, entry: Any, copy: Any) -> None:
        """Encode a copy of the value of an entry."""
        self.early[entry] = self.encode_entry(entry, copy)

    def holding(self, entries: list[Any], values: list[Any]) -> list[bool]:
        """Tell for each of these values whether it is to be encoded as its entry."""
        return list(map(is_, map(self.items.get, entries), values))

    def put_early(self, entries: list[Any], raws: list[bytes]) -> None:
        """Take over encoded entries; the lock is held."""
        self.early.update(zip(entries, raws, strict=True))

    def encode_rest(self) -> None:
        """Encode entries that can still change, before the node is untracked; the lock is held."""
        for key in [key for key, value in self.items.items() if type(value) not in codec.NATIVE]:
            self.encode_now(key)

    def encode_entry(self, key: Any, value: Any) -> bytes | None:
        """Encode one entry; report it and return None if its value or key cannot be saved."""
        if not is_key(key):
            self._reported(key, key, lambda: dump_key(key))
            return None
        encoded = self.encode_value(key, value, key)
        stand_in = self.node.kind.stand_in
        if encoded is None and stand_in is not None and not self.node.declared:
            return codec.dump(stand_in(value))
        return encoded

    def taken(self, key: Any, value: Any) -> bytes | None:
        """Return one entry's bytes, encoded early or now; the lock is held."""
        return self.early[key] if key in self.early else self.encode_entry(key, value)

    def values(self, batch: list[Any]) -> list[Any]:
        """Return the copies of some entries."""
        return [*map(self.items.__getitem__, batch)]

    def raws(self, batch: list[Any], values: list[Any] | None = None) -> list[bytes | None]:
        """Encode some entries, in a few calls if they are JSON already; the lock is held."""
        values = self.values(batch) if values is None else values
        known = verbatim(self.node, values, batch) if self.are_plain(batch) else None
        raws = None if known is None else known.each()
        if raws is not None:
            return [*raws]
        return [self.taken(key, value) for key, value in zip(batch, values, strict=True)]

    def are_plain(self, keys: list[Any]) -> bool:
        """Tell whether all keys are JSON scalars, and none of these entries is encoded yet."""
        return self.early.keys().isdisjoint(keys) and codec.NATIVE.issuperset(map(type, keys))

    def encoded(self) -> Iterator[list[tuple[Any, bytes]]]:
        """Yield all entries, encoded, in batches, without those that cannot be saved."""
        for batch in self.batches():
            with self.node.tracker.lock:
                raws = self.raws(batch)
                # the entries may be asked for a second time, when a comparison tells nothing
                self.early.update(zip(batch, raws, strict=True))
            yield [(key, raw) for key, raw in zip(batch, raws, strict=True) if raw is not None]

    def find_defaults(self) -> frozenset[Hashable]:
        """Return the offered defaults, without entries that could not be saved.

        These are not in the store, and would look deleted to the next process. Of an object, only
        deleted fields count: its class may lose a field, and have another one of that name later.
        """
        node = self.node
        if node.kind.has_fields:
            if self.all_dirty:
                return self.defaults.difference(self.items)
            dropped = self.defaults.intersection(self.drops)
            return self.entries.saved_defaults.union(dropped).difference(self.items)
        unsaved = self.defaults.intersection(self.entries.bad).difference(self.drops)
        return self.defaults.difference(unsaved) if unsaved else self.defaults

    def dropped(self, keys: Iterable[Any]) -> list[msgspec.Raw]:
        """Return the JSON of removed keys, except keys that cannot be saved and never were."""
        return [msgspec.Raw(dump_key(key)) for key in keys if is_key(key)]

    def restore(self) -> None:
        """Mark again the entries of this capture."""
        node, entries = self.node, self.entries
        # Which entries the store has is not known any more, and the hashes are partly those of this
        # capture: so all entries are written if they were compared, else the recorded ones.
        entries.all_dirty = entries.all_dirty or self.all_dirty or entries.saved is not None
        entries.saved = None
        self.capture.watched.saved(node, dict.fromkeys(self.seen))
        entries.restore(self.keys, self.drops, chain(self.touched, *self.marked))


class MappingCapture(KeyedCapture):
    """The part of a dict, counter, OrderedDict or defaultdict in a capture."""

    items: dict[Any, Any]

    def copy_items(self) -> dict[Any, Any]:
        """Copy the dirty entries; the lock is held."""
        obj = self.node.obj
        if self.all_dirty:
            return self._copy_all()
        touched = self.touched
        if not self.keys and not self.drops and all(map(is_not, touched.values(), repeat(None))):
            return touched  # each is the container that changed, still in its place; no key is nan
        if has_nan(self.keys, self.drops, touched):
            self.all_dirty = True  # no key is equal to nan: nothing can be put or dropped by it
            return self._copy_all()
        keys = held_keys(obj, self.keys)  # the store has the keys that are held
        if touched:
            recorded = {*keys}
            keys = [*(key for key in touched if key not in recorded), *keys]
        values = map(dict.get, repeat(obj), keys, repeat(_MISSING))
        items = dict(zip(keys, values, strict=True))
        if any(map(is_, items.values(), repeat(_MISSING))):
            return {key: value for key, value in items.items() if value is not _MISSING}
        return items

    def _copy_all(self) -> dict[Any, Any]:
        obj, builtin = self.node.obj, self.node.kind.builtin
        return dict(obj) if type(obj).__iter__ is dict.__iter__ else dict(builtin.items(obj))

    def remember(self) -> dict[Any, int]:
        """Encode all entries of a mapping that became small, for its hashes; the lock is held."""
        content = self._copy_all()
        keys = [key for key in content if key not in self.entries.bad]
        raws = dict(zip(keys, self.raws(keys, [content[key] for key in keys]), strict=True))
        self.early = {key: raws[key] for key in self.items if key in raws}
        return {key: _hash(key, raw) for key, raw in raws.items() if raw is not None}

    def changes(self) -> Changes:
        """Encode, and yield what is to be written."""
        before = self.entries.saved
        if before is None:
            return self._assigned() if self.all_dirty else self._recorded()
        if self.all_dirty and has_nan(before, self.items):
            return self._compared_with_nan(before)
        if self.all_dirty and self._is_reordered(before):
            return self._assigned()
        return self._compared(before) if self.remembers() else self._grown(before)

    def _compared(self, before: dict[Any, int]) -> Changes:
        """Write the entries that differ from what was saved."""
        # Drops come before puts, here and everywhere: a key that was removed and put again lies at
        # the end, and a key may have been replaced by an equal one of another type.
        drops = self._take_drops(before)
        saved = {} if self.all_dirty else before
        if self.is_large:
            yield from self._dropped(drops)
        puts: list[tuple[Any, msgspec.Raw]] = []
        largest = 0
        for number, batch in enumerate(self.batches()):
            if number:
                yield None
            with self.node.tracker.lock:
                raws = self.raws(batch)
            for key, raw in zip(batch, raws, strict=True):
                if raw is None:
                    saved.pop(key, None)
                    continue
                digest = hash(raw) if type(key) is str else _hash(key, raw)
                if digest != before.get(key):
                    puts.append((key, msgspec.Raw(raw)))
                    largest = max(largest, len(raw))
                saved[key] = digest
            if self.is_large and puts:
                self.capture.entries += len(puts)
                yield {"put": _packed(puts, largest)}
                puts = []
        self.saved = saved
        change: dict[str, Any] = {}
        if drops and not self.is_large:
            change["drop"] = self.dropped(drops)
        if puts:
            self.capture.entries += len(puts)
            change["put"] = _packed(puts, largest)
        if change:
            yield change

    def _grown(self, before: dict[Any, int]) -> Changes:
        """Write the entries of a mapping that has become large: most of them are new."""
        yield from self._dropped(self._take_drops(before))
        for batch in self.batches():
            with self.node.tracker.lock:
                content = (
                    self._together(batch)
                    if before.keys().isdisjoint(batch)
                    else self._differing(batch, before)
                )
            yield {"put": content} if content is not None else None
        self.saved = None

    def _differing(self, batch: list[Any], before: dict[Any, int]) -> msgspec.Raw | None:
        """Encode those entries of a batch that differ from the saved ones."""
        puts = []
        for key, raw in zip(batch, self.raws(batch), strict=True):
            if raw is not None:
                self._note_seen(key, raw)
                if before.get(key) != _hash(key, raw):
                    puts.append((key, msgspec.Raw(raw)))
        self.capture.entries += len(puts)
        return msgspec.Raw(codec.dump(_content(puts))) if puts else None

    def _take_drops(self, before: dict[Any, int]) -> list[Any]:
        """Return the keys to be dropped, and forget their hashes."""
        drops = list(dict.fromkeys(self.dropped_keys(before)))
        for key in drops:
            before.pop(key, None)
        return drops

    def _dropped(self, drops: Iterable[Any]) -> Iterator[dict[str, Any]]:
        for batch in batches(iter(drops)):
            yield {"drop": self.dropped(batch)}

    def _compared_with_nan(self, before: dict[Any, int]) -> Changes:
        """Write all entries if one of them differs: no stored key is equal to nan."""
        hashes: dict[Any, int] = {}
        for batch in self.encoded():
            hashes.update((key, _hash(key, encoded)) for key, encoded in batch)
            yield None
        if [*hashes.items()] == [*before.items()]:  # the order counts, too
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
        types = set(map(type, chain(kept, now)))
        if len(types) <= 1 and types <= INTERCHANGEABLE:
            return False
        return any(
            a is not b and not (type(a) is type(b) is str) and dump_key(a) != dump_key(b)
            for a, b in zip(kept, now, strict=True)
            if is_key(b)
        )

    def _assigned(self) -> Changes:
        """Write all entries."""
        verb = "assign"
        if not self.remembers():
            for pairs in self._translated():
                yield None if pairs is None else {verb: pairs}
                verb = verb if pairs is None else "put"
        else:
            entries: list[tuple[Any, msgspec.Raw]] = []
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

    def _recorded(self) -> Changes:
        """Write the recorded entries."""
        yield from self._dropped(self.drops)
        for pairs in self._translated():
            yield None if pairs is None else {"put": pairs}
        self.saved = self.remembered

    def _translated(self) -> Iterator[msgspec.Raw | None]:
        """Yield batches of entries as encoded content, with pauses (None) in between."""
        for batch in self.batches():
            with self.node.tracker.lock:
                content = self._together(batch)
            yield content

    def _together(self, batch: list[Any]) -> msgspec.Raw | None:
        """Encode a batch of entries as content, in one call if they are JSON already."""
        values = self.values(batch)
        # From now on no writer encodes them early. To free all copies at the end would take long.
        if self.node.kind.has_fields:
            self.items.update(zip(batch, repeat(None)))
        else:
            drain(map(self.items.pop, batch))
        if self.are_plain(batch):
            known = verbatim(self.node, values, batch)
            data = None if known is None else known.under(batch)
            if data is not None:
                self.capture.entries += len(batch)
                return msgspec.Raw(data)
        raws = [self.taken(key, value) for key, value in zip(batch, values, strict=True)]
        pairs = [
            (key, msgspec.Raw(raw))
            for key, raw in zip(batch, raws, strict=True)
            if raw is not None and not self._was_seen(key, raw)
        ]
        self.capture.entries += len(pairs)
        return msgspec.Raw(codec.dump(_content(pairs))) if pairs else None

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
        saved = self.entries.saved
        if saved is not None and saved.get(entry) == _hash(entry, encoded):
            return True
        watch = self.capture.watched
        return watch.knows(self.node, entry) and watch.was_saved(self.node, entry, hash(encoded))


def common_type(types: set[type]) -> type | None:
    """Return the one type of all keys, if equal keys of this type are the same."""
    return next(iter(types)) if len(types) == 1 and types <= INTERCHANGEABLE else None


def _hash(key: Any, encoded: bytes) -> int:
    """Hash an entry, with its key if an equal key could be another one."""
    return hash(encoded) if type(key) is str else hash((dump_key(key), encoded))


def _content(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | list[list[Any]]:
    """Build content from entries: an object if all keys are str, else pairs."""
    if _STR.issuperset(map(type, dict(pairs))) and _utf8([key for key, _ in pairs]):
        return dict(pairs)
    return [[msgspec.Raw(dump_key(key)), value] for key, value in pairs]


def _packed(pairs: list[tuple[Any, msgspec.Raw]], largest: int) -> object:
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

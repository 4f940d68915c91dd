"""A capture: the dirty entries as of one moment, and their encoding afterwards, in slices.

The cut (`Tracker.cut`) leaves a `Pending` at every dirty node: shallow copies of its dirty
entries. Later writes to the node itself cannot reach those. What they can reach are the
*inline* containers inside the entries; these are armed, and a write to one first encodes the
entry it lives in (`Pending.encode_now`). So encoding can take its time on the flusher's thread,
batch by batch under the lock, and what is saved is still the state at the cut.

What was saved is remembered in 8 bytes an entry (`node.saved`), to find out what changed where
nobody recorded it, and to write nothing where nothing changed:

- small dicts: key → hash of the encoded entry; small sets: the encoded members; lists: their
  length and a hash per chunk of items. Large dicts and sets: nothing, their writes are recorded.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autostate import codec
from autostate.codec import Unsupported, dumps
from autostate.errors import UnsupportedTypeError
from autostate.tracking.barrier import FORM_SETS, PLAIN, copy_dict
from autostate.tracking.node import LARGE

if TYPE_CHECKING:
    from autostate.tracking.node import Node
    from autostate.tracking.tracker import Tracker

_MISSING: Final = object()
_STR: Final = frozenset({str})
_DICT_FORMS: Final = FORM_SETS["dict"]

CHUNK: Final = 32
"""Items of a list that share a hash."""

SLICE: Final = 0.0005
"""Seconds for which a batch of entries may hold the lock; batches grow and shrink towards it."""


class Shared(Exception):  # noqa: N818 - not an error: the container has to become a node
    """A container was met a second time inside one entry."""

    def __init__(self, container: Any) -> None:
        self.container = container


class Incomplete(Exception):  # noqa: N818 - reported already
    """An item of a list cannot be saved: without it the others would move, so the list waits."""


class Walk:
    """Resolves the containers inside one entry: nodes by reference, others inline."""

    __slots__ = ("key", "node", "seen")

    def __init__(self, node: Node, key: Any) -> None:
        self.node: Node = node
        self.key: Any = key
        self.seen: set[int] = set()

    def __call__(self, container: Any) -> dict[str, int] | None:
        """Refer to a node; None for a container that is saved inline."""
        tracker = self.node.tracker
        if type(container) in PLAIN:
            plain = tracker.sharing.node_of(container)
            return None if plain is None else {"$ref": plain.id}
        if container._node is not self.node or container._key != self.key:
            tracker.claim(container, self.node, self.key)
        owner: Node = container._node
        if owner.tracker is not tracker:
            raise Unsupported("a state object of another store cannot be part of this one")
        if owner.obj is container:
            tracker.revive(owner)
            return {"$ref": owner.id}
        if id(container) in self.seen:
            raise Shared(container)
        self.seen.add(id(container))
        return None


class Pending:
    """One node's share of a capture.

    Attributes:
        items: Copy of the entries to encode: key → value, members, or all items of a list.
        whole: All entries of the node are among them.
        drops: Keys or members that were removed.
        stable: For a list: nothing changed before this index, not inside the items either.
        early: Entries that are encoded already.
        seen: Hashes of encoded entries, for those that are watched.
        written: Whether there is anything to write.
    """

    def __init__(self, capture: Capture, node: Node) -> None:
        self.capture = capture
        self.node = node
        self.whole: bool = node.whole
        self.keys: dict[Any, None] = node.take_keys()
        self.touched: dict[Any, Any] = node.touched
        node.touched = {}
        self.drops: dict[Any, None] = node.drops
        self.stable: int = node.high
        self.early: dict[Any, bytes | None] = {}
        self.seen: dict[Any, int] = {}
        self._index: dict[int, int] | None = None
        self._header: dict[str, Any] = {}
        self.written: bool = False
        self.saved: Any = None
        self.items: Any = _COPY[node.kind](self)
        self.gone: frozenset[Hashable] = node.gone
        self.count: int = len(self.items)
        if node.shape == "sequence":
            self._place_elements()
        node.bad = {} if self.whole else {k: v for k, v in node.bad.items() if k not in self.items}
        node.whole, node.drops = False, {}
        node.high = len(node.obj)
        node.pending = self

    def _find_gone(self) -> Iterator[None]:
        """Find which defaults the program has deleted."""
        node, items = self.node, self.items
        if node.shape == "sequence" or not node.offered:
            return
        gone: set[Hashable] = set()
        if self.whole:
            for batch in _batches(iter(node.offered)):
                gone.update(key for key in batch if key not in items)
                yield
        else:
            dropped = node.offered.intersection(self.drops)
            gone.update(node.gone.union(dropped).difference(items))
        self.gone = frozenset(gone)

    def _place_elements(self) -> None:
        """Find the elements in which something changed; compare from the first of them on."""
        if self.whole or self.node.saved is None:
            self.stable = 0
        elif self.touched:
            touched = (i for i, item in enumerate(self.items) if id(item) in self.touched)
            self.stable = min(self.stable, next(touched, self.stable))

    def encode_now(self, key: Any) -> None:
        """Encode one entry before it is written to; the lock is held."""
        if key in self.early:
            return
        if self.node.shape != "sequence":
            if self.items.get(key) is not None:
                self.early[key] = self._encode(key, self.items[key])
            return
        if self._index is None:
            self._index = {id(item): i for i, item in enumerate(self.items)}
        index = self._index.get(key)
        if index is not None:
            self.early[key] = self._encode(key, self.items[index], index)

    def _encode(self, key: Any, value: Any, index: int | None = None) -> bytes | None:
        """Encode one value; None if it or its key cannot be saved, which is reported."""
        while True:
            try:
                if index is None and value is not key and not _is_key(key):
                    self._report(key, Unsupported("its key is of a type that cannot be saved"))
                    return None
                if type(key) is not str and index is None:
                    _dump_key(key)  # it has to be one that can be saved
                return _dump(codec.jsonable(value, Walk(self.node, key)))
            except Shared as shared:
                known = key in self.node.touched
                self.node.tracker.promote(shared.container)
                if not known:  # the entry is encoded again right here
                    self.node.touched.pop(key, None)
            except Unsupported as problem:
                self._report(key if index is None else index, problem)
                return None
            except ValueError as problem:  # of an int with too many digits, says the interpreter
                self._report(key if index is None else index, Unsupported(str(problem)))
                return None
            except RecursionError:
                self._report(key, Unsupported("nested too deeply to be saved"))
                return None

    def _report(self, key: Any, problem: Unsupported) -> None:
        if self.node.shape == "set":
            path = self.node.path
        else:
            shown = f'"{key}"' if type(key) is str else repr(key)
            path = f"{self.node.path}[{shown}]"
        path += "".join(reversed(problem.steps))
        error = UnsupportedTypeError(path, problem.problem)
        self.node.bad[key] = error
        self.capture.errors.append(error)

    # -- what is written ----------------------------------------------------------------------

    def encode(self) -> Iterator[None]:
        """Encode the node's changes into the capture, pausing at every `yield`."""
        changes = self.capture.changes
        mark = len(changes)
        with self.node.tracker.lock:
            if self.node.tracker.nodes.get(self.node.id) is not self.node:
                return  # deleted meanwhile
        yield from self._find_gone()
        self._header = self._describe()
        try:
            for change in self._encoder()(self):
                if change is not None:
                    self._emit(change)
                yield
            if self._header and (len(self._header) > 1 or not self.node.declared):
                self._emit({})
        except Incomplete:
            del changes[mark:]
            self.written = False
        with self.node.tracker.lock:
            self.node.pending = None
            self.items, self.early = {}, {}  # what they hold would look held by somebody
            if self.written and self.count:
                self.node.weight = sum(map(len, changes[mark:])) // self.count + 1

    def _encoder(self) -> Callable[[Pending], Iterator[dict[str, Any] | None]]:
        small = self.count <= LARGE and (self.whole or self.node.saved is not None)
        small = small or type(self.node.obj) in PLAIN  # compared in every capture
        return (_SMALL if small else _LARGE)[self.node.kind]

    def _describe(self) -> dict[str, Any]:
        """What is said of the node as a whole: its kind and name at first, deleted defaults."""
        header: dict[str, Any] = {}
        if not self.node.declared:
            header["kind"] = self.node.kind
            if self.node.name is not None:
                header["name"] = self.node.name
        if self.gone != self.node.gone:
            known = [key for key in self.gone if _is_key(key)]
            header["known"] = [codec.jsonable(key, Walk(self.node, None)) for key in known]
        return header

    def _emit(self, change: dict[str, Any]) -> None:
        self.capture.changes.append(dumps({"id": self.node.id, **self._header, **change}))
        self._header = {}
        self.written = True

    def _take(self, key: Any, value: Any) -> bytes | None:
        """One entry's bytes, encoded early or now; the lock is held."""
        return self.early[key] if key in self.early else self._encode(key, value)

    def _entries(self) -> Iterator[list[tuple[Any, bytes]]]:
        """All entries encoded one by one, in batches."""
        pairs = iter(self.items.items())
        for batch in _batches(pairs):
            with self.node.tracker.lock:
                for key, value in batch:
                    if key not in self.early:
                        self.early[key] = self._encode(key, value)
            self.capture.entries += len(batch)
            taken = ((key, self.early[key]) for key, _ in batch)
            yield [(key, value) for key, value in taken if value is not None]

    def small_dict(self) -> Iterator[dict[str, Any] | None]:
        """Write the entries that differ from what was saved."""
        before = self.node.saved
        entries: dict[Any, bytes] = {}
        for batch in self._entries():
            entries.update(batch)
            yield None
        hashes = {key: hash((_dump_key(key), value)) for key, value in entries.items()}
        if before is None or (self.whole and not _same_order(before, hashes)):
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
        if any(key in before and type(key) is not str for key in puts) and self.whole:
            self.saved = hashes  # an equal key may be another: 1 and True
            yield {"assign": _raw(entries)}
            return
        self.saved = {key: value for key, value in before.items() if key not in drops} | hashes
        if drops:
            change["drop"] = [msgspec.Raw(_dump_key(key)) for key in drops if _is_key(key)]
        if puts:
            change["put"] = _raw(puts)
        if change:
            yield change

    def small_set(self) -> Iterator[dict[str, Any] | None]:
        """Write the members that were not saved, and drop those that are no more."""
        before = self.node.saved
        members: dict[bytes, None] = {}
        for batch in self._entries():
            members.update((encoded, None) for _, encoded in batch)
            yield None
        self.saved = members
        if before is None:
            yield {"assign": [msgspec.Raw(member) for member in members]}
            return
        change = {}
        if drops := before.keys() - members.keys():
            change["drop"] = [msgspec.Raw(member) for member in drops]
        if puts := [member for member in members if member not in before]:
            change["put"] = [msgspec.Raw(member) for member in puts]
        if change:
            yield change

    def tail(self) -> Iterator[dict[str, Any] | None]:
        """Write the items from the first one on that differs, chunk by chunk."""
        length, olds = self.node.saved or (0, ())
        known = self.node.saved is not None
        first = min(self.stable, length) // CHUNK
        hashes = list(olds[:first])
        writing = False
        for batch in _batches(iter(range(first * CHUNK, self.count, CHUNK))):
            raws: list[bytes] = []
            at = batch[0]
            with self.node.tracker.lock:
                for index in batch:
                    chunk = self._chunk(index, self.items[index : index + CHUNK])
                    hashes.append(hash(chunk))
                    if not writing:
                        at = self._first_changed(index, length, olds)
                        writing = at < min(index + CHUNK, self.count)
                        chunk = self._chunk(at, self.items[at : index + CHUNK])
                    if writing:
                        raws.append(chunk)
            change = msgspec.Raw(b"[" + b",".join(raws) + b"]")
            if not writing:
                yield None
            elif known or self.written:
                yield {"at": at, "splice": change}
            else:
                yield {"assign": change}
        if known and not writing and self.count < length:
            yield {"at": self.count, "splice": []}
        if not known and not self.count:
            yield {"assign": []}
        self.saved = (self.count, tuple(hashes))

    def _first_changed(self, index: int, length: int, olds: tuple[int, ...]) -> int:
        """Where in the chunk at `index` the items begin to differ from what was saved."""
        upto = min(index + CHUNK, length)
        if upto <= index:
            return index
        same = hash(self._chunk(index, self.items[index:upto])) == olds[index // CHUNK]
        return upto if same else index

    def _chunk(self, index: int, items: list[Any]) -> bytes:
        """Encode some items, without the brackets."""
        if codec.is_flat(items):
            with contextlib.suppress(ValueError):  # an int with too many digits: found below
                return _dump(items)[1:-1]
        values = [self._item(index + offset, item) for offset, item in enumerate(items)]
        if None in values:
            raise Incomplete
        return b",".join(values)  # type: ignore[arg-type]

    def _item(self, index: int, item: Any) -> bytes | None:
        if id(item) in self.early:
            return self.early[id(item)]
        encoded = self._encode(id(item), item, index)
        if type(item) not in codec.NATIVE:
            self.early[id(item)] = encoded
        return encoded

    def large_dict(self) -> Iterator[dict[str, Any] | None]:
        """Write the recorded entries, or all of them."""
        verb = "assign" if self.whole else "put"
        if not self.whole and self.drops:
            for batch in _batches(iter(self.drops)):
                yield {"drop": [msgspec.Raw(_dump_key(key)) for key in batch if _is_key(key)]}
        for pairs in self._translated():
            yield None if pairs is None else {verb: pairs}
            verb = verb if pairs is None else "put"
        if verb == "assign":
            yield {"assign": {}}

    def _translated(self) -> Iterator[msgspec.Raw | None]:
        """Batches of entries as encoded content; each entry is done once it is taken."""
        items, early, touched = self.items, self.early, self.touched
        for batch in _batches(iter(items)):
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
                    encoded = self._take(key, value)
                    if encoded is not None and not self._was_seen(key, encoded):
                        pairs.append((key, msgspec.Raw(encoded)))
                content = self._joined(pairs) if pairs else None
            self.capture.entries += len(batch)
            yield content

    def _joined(self, pairs: list[tuple[Any, Any]]) -> msgspec.Raw:
        """Encode a batch in one call; one by one if there is an int with too many digits."""
        try:
            return msgspec.Raw(_dump(_content(pairs)))
        except ValueError:
            raw = msgspec.Raw
            single = ((k, v if type(v) is raw else self._encode(k, v)) for k, v in pairs)
            kept = [(k, v if type(v) is raw else raw(v)) for k, v in single if v is not None]
            return raw(_dump(_content(kept)))

    def _was_seen(self, key: Any, encoded: bytes) -> bool:
        """Whether a watched entry is as it was saved: it is looked at in every capture."""
        tracker = self.node.tracker
        if not tracker.is_watched(self.node, key):
            return False
        digest = self.seen[key] = hash(encoded)
        known = tracker.was_seen(self.node, key, digest)
        return known and not self.whole and key not in self.drops

    def _is_json(self, key: Any, value: Any) -> bool:
        """Whether msgspec can be given a value as it is: a scalar, or a dict of such."""
        cls = type(value)
        if cls in codec.NATIVE:
            return True
        return (
            cls in _DICT_FORMS
            and value._key is key
            and value._node is self.node
            and codec.is_json_dict(value)
        )

    def large_set(self) -> Iterator[dict[str, Any] | None]:
        """Write the recorded members, or all of them."""
        verb = "assign" if self.whole else "put"
        if not self.whole and self.drops:
            for batch in _batches(iter(self.drops)):
                yield {"drop": [msgspec.Raw(_dump_key(key)) for key in batch if _is_key(key)]}
        for batch in _batches(iter(self.items)):
            with self.node.tracker.lock:
                members = [(member, self._take(member, member)) for member in batch]
            self.capture.entries += len(batch)
            yield {verb: [msgspec.Raw(raw) for _, raw in members if raw is not None]}
            verb = "put"
        if verb == "assign":
            yield {"assign": []}


def _dump(json: Any) -> bytes:
    try:
        return dumps(json)
    except UnicodeEncodeError:
        return dumps(codec.escape(json))


def _dump_key(key: Any) -> bytes:
    return _dump(codec.jsonable(key, _no_ref))


def _is_key(key: Any) -> bool:
    """Whether a key can be saved; what cannot was never saved, and need not be dropped."""
    if type(key) in codec.NATIVE:
        return True
    try:
        codec.jsonable(key, _no_ref)
    except Unsupported:
        return False
    return True


def _no_ref(_container: Any) -> None:
    return None


def _content(pairs: list[tuple[Any, Any]]) -> Any:
    """Entries as content: an object if all keys are str, else pairs."""
    if _STR.issuperset(map(type, dict(pairs))) and _utf8([key for key, _ in pairs]):
        return dict(pairs)
    return [[msgspec.Raw(_dump_key(key)), value] for key, value in pairs]


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


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Cut into batches whose handling takes about `SLICE`."""
    size = 32
    while batch := [*islice(items, size)]:
        started = time.perf_counter()
        yield batch
        spent = time.perf_counter() - started
        size = min(size * 2, 512) if spent < SLICE else max(size // 2, 1)


_COPY: Final[dict[str, Callable[[Pending], Any]]] = {}


def _copy_dict(pending: Pending) -> dict[Any, Any]:
    obj = pending.node.obj
    if pending.whole:
        return copy_dict(obj)
    get, keys, drops, touched = dict.get, pending.keys, pending.drops, pending.touched
    if keys or drops or None in touched.values():
        entries = [key for key in touched if key not in keys] if keys else touched
        return {
            key: value
            for key in chain(entries, keys)
            if (value := get(obj, key, _MISSING)) is not _MISSING
        }
    return touched.copy()  # each entry is the container that changed, still in its place


def _copy_set(pending: Pending) -> dict[Any, Any]:
    obj = pending.node.obj
    if pending.whole or len(obj) <= LARGE:
        pending.whole = True
        return {member: member for member in set(obj)}
    return {member: member for member in pending.keys if member in obj}


def _copy_list(pending: Pending) -> list[Any]:
    return list.copy(pending.node.obj)


_COPY.update(dict=_copy_dict, counter=_copy_dict, set=_copy_set, list=_copy_list)

_SMALL = {
    "dict": Pending.small_dict,
    "counter": Pending.small_dict,
    "set": Pending.small_set,
    "list": Pending.tail,
}
_LARGE = {
    "dict": Pending.large_dict,
    "counter": Pending.large_dict,
    "set": Pending.large_set,
    "list": Pending.tail,
}


class Capture:
    """The dirty entries of all state objects as of one moment.

    Attributes:
        changes: After `encode`: the commit, one JSON object a change.
        errors: After `encode`: the entries that could not be saved.
        entries: After `encode`: the number of entries looked at.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.pendings: list[Pending] = []
        self.nodes: set[Node] = set()
        self.changes: list[bytes] = []
        self.errors: list[UnsupportedTypeError] = []
        self.deleted: list[int] = []
        self.entries = 0

    def take(self, nodes: Iterable[Node]) -> None:
        """Take over what is dirty about the nodes; the lock is held."""
        nodes = list(nodes)
        self.nodes.update(nodes)
        self.pendings += [Pending(self, node) for node in nodes]

    def encode(self, pause: Callable[[], None] | None = None) -> list[bytes]:
        """Encode what was captured.

        Args:
            pause: Called between slices of about a millisecond, without the lock.

        Returns:
            The changes of the commit; empty if nothing has to be saved.
        """
        index = 0
        while True:
            with self.tracker.lock:
                if index == len(self.pendings):  # it grows while nodes are promoted
                    self.tracker.captured(self)
                    break
                pending = self.pendings[index]
            for _ in pending.encode():
                if pause is not None:
                    pause()
            index += 1
        self.changes += [dumps({"id": node_id, "delete": True}) for node_id in self.deleted]
        return self.changes

    def saved(self) -> None:
        """Take note that the commit is durable."""
        with self.tracker.lock:
            for pending in self.pendings:
                node = pending.node
                node.declared = node.declared or pending.written
                node.gone = pending.gone
                if pending.saved is not None or node.shape != "sequence":  # a list may have waited
                    node.saved = pending.saved
                for key, digest in pending.seen.items():
                    self.tracker.seen(node, key, digest)

    def failed(self) -> None:
        """Mark everything again: it is not known what of it the store has."""
        with self.tracker.lock:
            for pending in self.pendings:
                self._restore(pending)
            self.tracker.deleted = self.deleted + self.tracker.deleted

    def _restore(self, pending: Pending) -> None:
        node = pending.node
        node.pending = None
        self.tracker.dirty_nodes[node] = None
        if node.shape == "sequence":
            kept = 0 if node.saved is None or pending.whole else pending.stable // CHUNK
            length, hashes = node.saved or (0, ())
            node.saved = (min(length, kept * CHUNK), hashes[:kept]) if kept else None
            node.whole = node.whole or not kept
            node.high = min(node.high, kept * CHUNK)
            return
        node.whole = node.whole or pending.whole or node.saved is not None
        node.saved = None
        for key in pending.seen:
            self.tracker.seen(node, key, None)
        node.give_back(pending.keys, pending.drops, pending.touched)

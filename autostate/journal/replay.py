"""Applying changes to rebuild a state, with values decoded or left as bytes.

The same rules work on two forms of values. `DecodedReplay` rebuilds the values that the program
will hold. `RawReplay` leaves each value as its bytes: that is fast, and a float or an int of any
size is written as it was read.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct

from autostate.codec import Unknown, decode_key, refuse_collisions
from autostate.depth import reads_deep
from autostate.errors import CorruptStateError
from autostate.journal.commit import KINDS, SEQUENCES, UNREADABLE, Change, NodeState, references
from autostate.memory import encode

V = TypeVar("V")

LINE = 65_536  # about how many bytes a change may have: a fraction of a millisecond of work

_STR = frozenset({str})
_SCALARS = frozenset({str, int, float, bool, type(None)})


class Replay(Generic[V]):
    """The nodes that a run of changes makes."""

    def __init__(self, decode: Callable[[bytes], Change[V]]) -> None:
        self.nodes: dict[int, NodeState] = {}
        self._gone: set[int] = set()
        self._decode = decode

    def apply(self, line: bytes) -> None:
        """Apply one change.

        Raises:
            CorruptStateError: The change does not fit the state before it.
            msgspec.MsgspecError: The line is no change.
        """
        self._apply(self._decode(line), line)

    def _apply(self, change: Change[V], line: bytes = b"") -> None:
        node = self.nodes.get(change.id)
        if change.delete:
            self.nodes.pop(change.id, None)
            self._gone.add(change.id)
            return
        if node is None:
            if change.kind is None and change.id in self._gone:
                return
            node = self.nodes[change.id] = self._begun(change)
        elif change.kind not in (None, node.kind):
            raise CorruptStateError(f"node {change.id} is a {node.kind}, not a {change.kind:.60}")
        if change.defaults is not None:
            node.defaults = self._defaults(change.defaults)
        if change.more_defaults is not None:
            node.defaults += self._defaults(change.more_defaults)
        if change.metadata is not msgspec.UNSET:
            node.metadata = change.metadata
        if node.kind in SEQUENCES:
            self._edit_sequence(node, change, line)
        else:
            self._edit(node, change)

    def _edit(self, node: NodeState, change: Change[V]) -> None:
        """Change the content of a mapping or a set."""
        if change.assign is not None:
            node.base, node.steps = self._empty(), []
            self._put(node, change.assign)
        if change.drop is not None:
            self._drop(node, change.drop)
        if change.put is not None:
            self._put(node, change.put)

    def _begun(self, change: Change[V]) -> NodeState:
        """Make the node of its first change."""
        if change.kind is None:
            raise CorruptStateError(f"a change of node {change.id}, which nothing has begun")
        if change.kind not in KINDS and change.kind != UNREADABLE:
            raise CorruptStateError(f"node {change.id} is of the unknown kind {change.kind:.60}")
        empty: object = [] if change.kind in SEQUENCES else self._empty()
        return NodeState(change.kind, change.name, base=empty)

    @abstractmethod
    def _empty(self) -> dict[Hashable, V] | _Entries:
        """Make the empty content of a mapping or a set."""

    def _defaults(self, keys: list[V]) -> list[Hashable]:
        return [*keys]

    @abstractmethod
    def _drop(self, node: NodeState, keys: list[V]) -> None: ...

    @abstractmethod
    def _put(self, node: NodeState, content: dict[str, V] | list[V]) -> None: ...

    def _edit_sequence(self, node: NodeState, change: Change[V], line: bytes) -> None:
        """Change the items of a sequence."""
        _edit_sequence(node, change)


def _edit_sequence(
    node: NodeState,
    change: Change[Any],
    assigned: array[int] | None = None,
    added: array[int] | None = None,
) -> None:
    """Change the items of a sequence, and their hashes if there are any."""
    if change.assign is not None:
        node.base, node.first = list(change.assign), change.at or 0
        node.hashes = assigned
    items: list[Any] = node.base
    node.moved = node.moved or change.insert or change.cut is not None
    columns: list[Any] = [items] if node.hashes is None else [items, node.hashes]
    if change.trim is not None:
        low, high = change.trim
        if not node.first <= low <= high <= node.first + len(items):
            raise CorruptStateError(f"node {change.id} has no items {low} to {high}")
        for column in columns:
            del column[high - node.first :]
            del column[: low - node.first]
        node.first = low
    if change.cut is not None:
        for column in columns:
            _cut(column, node.first, change.id, change.cut)
    if change.items is not None:
        at = (change.at or 0) - node.first
        longest = 0 if change.insert else len(change.items)
        if not -longest <= at <= len(items):
            raise CorruptStateError(f"node {change.id} lacks items before item {change.at}")
        node.first += min(at, 0)
        for column, new in zip(columns, (change.items, added), strict=False):
            column[max(at, 0) : max(at + longest, 0)] = new
    elif change.insert:
        raise CorruptStateError(f"a change of node {change.id} inserts no items")


def _cut(column: Any, first: int, node_id: int, ranges: list[tuple[int, int]]) -> None:
    """Take items out, in one pass however many ranges there are."""
    done, kept = 0, column[:0]
    for low, high in ranges:
        start, stop = low - first, high - first
        if not done <= start <= stop <= len(column):
            raise CorruptStateError(f"node {node_id} has no items {low} to {high} to take out")
        kept += column[done:start]
        done = stop
    column[:done] = kept


_decoded: Final = reads_deep(msgspec.json.Decoder(Change[Any]).decode)


class _Items(Struct):
    """The items of a change of a sequence, each as its JSON."""

    assign: list[Raw] | None = None
    items: list[Raw] | None = None


_items: Final = reads_deep(msgspec.json.Decoder(_Items).decode)


class Convert(Protocol):
    """Replaces decoded values in place by those that the program will hold."""

    def __call__(self, state: NodeState, content: Any, at: int = 0) -> None:
        """Replace some of the values of a node.

        Args:
            state: The node; `owner` is for this function to use.
            content: Some of its entries, a dict, or some of its items, a list.
            at: The number of the first item.
        """


class DecodedReplay(Replay[Any]):
    """A replay whose values are decoded, in as few C calls as there are changes.

    Args:
        convert: If given, called with values that were just decoded.
    """

    def __init__(self, convert: Convert | None = None) -> None:
        super().__init__(_decoded)
        self._convert = convert

    def _empty(self) -> dict[Hashable, Any]:
        return {}

    def _begun(self, change: Change[Any]) -> NodeState:
        node = super()._begun(change)
        node.unbuilt = self._convert is None
        return node

    def _defaults(self, keys: list[Any]) -> list[Hashable]:
        return keys if _STR.issuperset(map(type, keys)) else [*map(decode_key, keys)]

    def _drop(self, node: NodeState, keys: list[Any]) -> None:
        if not node.base and _STR.issuperset(map(type, keys)):
            node.steps.append(keys)
            return
        for key in map(decode_key, keys):
            node.content.pop(key, None)

    def _put(self, node: NodeState, content: dict[str, Any] | list[Any]) -> None:
        if isinstance(content, dict):
            if self._convert is not None:
                self._convert(node, content)
            if node.base:
                node.base.update(content)
            else:
                node.steps.append(content)
        elif node.kind == "set":
            types = set(map(type, content))
            if types <= _STR and not node.base:
                node.steps.append((*content,))
                return
            keys = content if types <= _SCALARS else [*map(decode_key, content)]
            node.unbuilt = node.unbuilt or keys is not content
            refuse_collisions(keys)
            self._update(node, dict.fromkeys(keys))
        else:
            keys = [key for key, _ in content]
            if not _SCALARS.issuperset(map(type, keys)):
                keys = [*map(decode_key, keys)]
            refuse_collisions(keys)
            entries = dict(zip(keys, [value for _, value in content], strict=True))
            if self._convert is not None and Unknown not in map(type, entries):
                self._convert(node, entries)
            else:  # the key may be another one when its class is known
                node.unbuilt = True
            self._update(node, entries)

    def _update(self, node: NodeState, entries: dict[Hashable, Any]) -> None:
        """Put entries; check all keys for collisions whenever their number has doubled."""
        before = len(node.content)
        node.content.update(entries)
        if len(node.content).bit_length() != before.bit_length():
            refuse_collisions(node.content)

    def _edit_sequence(self, node: NodeState, change: Change[Any], line: bytes) -> None:
        """Change the items of a sequence; with `convert`, convert the new ones, and hash them."""
        if self._convert is None or (change.assign is None and change.items is None):
            _edit_sequence(node, change)
            return
        # From their JSON, as it is at hand: to encode the items again would take twice as long.
        assigned, added = map(_hashes, msgspec.structs.astuple(_items(line)))
        for items in (change.assign, change.items):
            if isinstance(items, list):
                self._convert(node, items, change.at or 0)
        if node.hashes is None:
            node.hashes = array("q")
        _edit_sequence(node, change, assigned, added)


def _hashes(items: list[Raw] | None) -> array[int] | None:
    return None if items is None else array("q", map(hash, map(bytes, items)))


class _Entries:
    """A dict in parts: one dict of a million entries stops every thread while it is resized."""

    LIMIT = 32_768

    def __init__(self) -> None:
        self.parts: list[dict[Hashable, Raw]] = [{}]
        self.keys: dict[Hashable, Raw] = {}  # the JSON of those keys that are no strings

    def __contains__(self, key: Hashable) -> bool:
        return any(key in part for part in self.parts)

    def items(self) -> Iterator[tuple[Hashable, Raw]]:
        return chain.from_iterable(map(dict.items, self.parts))

    def update(self, new: dict[Any, Raw]) -> None:
        """Put entries, as dict.update does; `new` is emptied."""
        *older, last = self.parts
        for part in older:
            for key in part.keys() & new.keys():
                part[key] = new.pop(key)
        last.update(new)
        if len(last) > self.LIMIT:
            self.parts.append({})

    def discard(self, keys: set[Hashable]) -> None:
        for part in self.parts:
            for key in part.keys() & keys:
                del part[key]
        for key in self.keys.keys() & keys:
            del self.keys[key]


class RawReplay(Replay[Raw]):
    """A replay whose values stay bytes, and which can be written out as changes again."""

    def __init__(self) -> None:
        super().__init__(_raw)

    def apply_all(self, lines: Iterable[bytes]) -> None:
        """Apply a few changes in one call of C; see `apply`."""
        for change in _all_raw(b"[%b]" % b",".join(lines)):
            self._apply(change)

    def line(self, node_id: int) -> bytes:
        """Write a node as one change, which makes it anew."""
        node = self.nodes[node_id]
        content = node.base if node.kind in SEQUENCES else node.base.items()
        return encode(_change(node_id, node, 0, [*content]))

    def lines(self, node_id: int, limit: int = LINE) -> Iterator[bytes]:
        """Write a node as changes of about `limit` bytes; the first one makes it anew."""
        node = self.nodes[node_id]
        items = iter(node.base if node.kind in SEQUENCES else node.base.items())
        at = 0
        while (chunk := list(islice(items, 512))) or not at:
            yield from _encoded(node_id, node, at, chunk, limit)
            at += len(chunk) or 1

    def roots(self, name: str | None = None) -> list[int]:
        """Give the roots, or the one of this name."""
        nodes = self.nodes.items()
        return [key for key, node in nodes if node.name is not None and name in (None, node.name)]

    def reached(self, begin: list[int], seen: set[int], late: set[int]) -> Iterator[bytes]:
        """Write all nodes that some nodes reach as changes, nearer ones first.

        Args:
            begin: The nodes to begin with.
            seen: Gets the nodes that were reached.
            late: References from changes that the replay does not hold. More may be added while
                the lines are made, because commits continue during a compaction.
        """
        todo = deque(begin)
        while todo or late:
            if not todo:
                todo.extend(late)
                late.clear()
            node_id = todo.popleft()
            if node_id in seen or node_id not in self.nodes:
                continue
            seen.add(node_id)
            for line in self.lines(node_id):
                todo.extend(references(line) - seen)
                yield line

    def release(self) -> None:
        """Free all values, bit by bit: to free millions at once stops every thread."""
        for node in self.nodes.values():
            pieces = node.base if node.kind in SEQUENCES else node.base.parts
            step = _Entries.LIMIT if node.kind in SEQUENCES else 1
            while pieces:
                del pieces[-step:]
                time.sleep(0)

    def _empty(self) -> _Entries:
        return _Entries()

    def _drop(self, node: NodeState, keys: list[Raw]) -> None:
        node.base.discard(set(map(_key, keys)))

    def _put(self, node: NodeState, content: dict[str, Raw] | list[Raw]) -> None:
        entries: _Entries = node.base
        if isinstance(content, dict):
            entries.update(content)
        elif node.kind == "set":
            # Of equal members (1 and True) the first one stays.
            members = ((_key(member), member) for member in content)
            entries.update({key: raw for key, raw in members if key not in entries})
        else:
            entries.update(dict(_pair(entries, pair) for pair in content))


def _encoded(
    node_id: int, node: NodeState, at: int, chunk: list[Any], limit: int
) -> Iterator[bytes]:
    """Write some items or entries as one change, or as several if it is too long."""
    line = encode(_change(node_id, node, at, chunk))
    if len(line) <= limit or len(chunk) < 2:
        yield line
        return
    half = len(chunk) // 2
    yield from _encoded(node_id, node, at, chunk[:half], limit)
    yield from _encoded(node_id, node, at + half, chunk[half:], limit)


def _change(node_id: int, node: NodeState, at: int, chunk: list[Any]) -> Change[Raw]:
    """Make the change that puts the items, or entries, from the one with this index on."""
    content = _content(node, chunk)
    if at == 0:
        defaults: Any = node.defaults or None
        metadata = msgspec.UNSET if node.metadata is None else node.metadata
        first = node.first or None
        return Change(node_id, node.kind, node.name, metadata, defaults, assign=content, at=first)
    if node.kind in SEQUENCES:
        return Change(node_id, at=node.first + at, items=chunk)
    return Change(node_id, put=content)


def _content(node: NodeState, chunk: list[Any]) -> Any:
    """Give items or entries in the form of a change."""
    if node.kind in SEQUENCES:
        return chunk
    if node.kind == "set":
        return [member for _, member in chunk]
    keys = node.base.keys
    return [(keys.get(key, key), value) for key, value in chunk] if keys else dict(chunk)


def merged(lines: Iterable[bytes]) -> list[bytes]:
    """Apply changes; return one line for each node."""
    replayed = RawReplay()
    replayed.apply_all(lines)
    return [*map(replayed.line, replayed.nodes)]


_raw: Final = reads_deep(msgspec.json.Decoder(Change[Raw]).decode)
_all_raw: Final = reads_deep(msgspec.json.Decoder(list[Change[Raw]]).decode)
_value: Final = reads_deep(msgspec.json.Decoder(Any).decode)
_parts: Final = reads_deep(msgspec.json.Decoder(tuple[Raw, Raw]).decode)


def _key(raw: Raw) -> Hashable:
    return decode_key(_value(raw))


def _pair(entries: _Entries, pair: Raw) -> tuple[Hashable, Raw]:
    """Decode the key of an entry, and keep its JSON unless it is a string."""
    raw, value = _parts(pair)
    key = _key(raw)
    if type(key) is not str or not bytes(raw).startswith(b'"'):  # or UTF-8 cannot hold it
        entries.keys.setdefault(key, raw)
    return key, value

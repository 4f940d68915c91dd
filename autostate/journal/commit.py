"""Commits: lists of changes, and the state that they make.

A change is one JSON object about one node. Most changes give the content after the change. A change
that takes items out of the middle of a sequence, or inserts some there, renumbers the items behind
them; so no change is ever applied twice: a snapshot holds exactly the commits before those that
its head names.

The same rules work on two forms of values. `DecodedReplay` rebuilds the values that the program
will hold. `RawReplay` leaves each value as its bytes: that is fast, and a float or an int of any
size is written as it was read.
"""

from __future__ import annotations

import re
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator
from itertools import chain, islice
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from autostate.codec import decode_key, refuse_collisions
from autostate.depth import reads_deep
from autostate.errors import CorruptStateError
from autostate.memory import encode

V = TypeVar("V")

SEQUENCES = frozenset({"list", "deque"})
KINDS = SEQUENCES | {
    *("dict", "counter", "ordereddict", "defaultdict", "set"),
    *("proxy", "object", "shared_object", "loop"),
}
UNREADABLE = "unreadable"
"""The kind of a root whose records could not be read: only its name is known."""

LINE = 65_536  # about how many bytes a change may have: a fraction of a millisecond of work

_STR = frozenset({str})
_SCALARS = frozenset({str, int, float, bool, type(None)})
_REFERENCE = re.compile(rb'\{"\$ref":(\d+)\}')


class Change(msgspec.Struct, Generic[V], omit_defaults=True, forbid_unknown_fields=True):
    """One change of one node; the fields are applied in this order.

    The items of a sequence are numbered; `at` is the number of the first item in `items`. An item
    keeps its number while others come and go at both ends: numbers may become negative. If items
    are taken out or inserted, the numbers of the items behind them change.

    Attributes:
        id: The node.
        kind: The kind of the node; in its first change.
        name: The name of a root; in its first change.
        metadata: The description that is needed to make an empty one, a deque's `maxlen` for
            example.
        defaults: The defaults that this root was given. No later process fills them in again, so
            that deleted ones stay deleted. Of an object only deleted fields.
        more_defaults: The defaults that it was given since: they are added to `defaults`.
        assign: All content.
        drop: Keys, or members, to remove.
        put: Entries: an object, or pairs where a key is no `str`; members of a set.
        trim: Of a sequence: the range of numbers whose items stay, the second not included.
        cut: Of a sequence: ascending ranges of numbers, the second not included, whose items are
            taken out. All numbers are those before the change.
        at, items: Items that replace those with the same numbers, or are added at either end.
        insert: Whether `items` are inserted: the items from `at` on move up.
        delete: Whether the node is removed.
    """

    id: int
    kind: str | None = None
    name: str | None = None
    metadata: V | msgspec.UnsetType = msgspec.UNSET
    defaults: list[V] | None = None
    more_defaults: list[V] | None = None
    assign: dict[str, V] | list[V] | None = None
    drop: list[V] | None = None
    put: dict[str, V] | list[V] | None = None
    trim: tuple[int, int] | None = None
    cut: list[tuple[int, int]] | None = None
    at: int | None = None
    items: list[V] | None = None
    insert: bool = False
    delete: bool = False


class NodeState(Struct):
    """A node as it was saved.

    Attributes:
        kind: The kind of the node: see `KINDS`.
        name: The name of a root; None for a nested node.
        metadata: The description that is needed to make an empty one; None: there is none.
        defaults: The defaults that no process fills in any more: see `Change`.
        first: Of a sequence: the number of its first item.
        steps: The changes of a mapping without content yet: dicts of entries to put, lists of keys
            to drop. So a million entries go into a container, and not into a dict before.
    """

    kind: str
    name: str | None
    metadata: Any = None
    defaults: list[Hashable] = field(default_factory=list)
    first: int = 0
    steps: list[dict[str, Any] | list[str]] = field(default_factory=list)
    _content: Any = None

    @property
    def content(self) -> Any:
        """The items of a sequence, the entries of a dict, the members of a set (as keys of None).

        Keys and members are decoded; values are decoded JSON, as `convert` left them.
        """
        for step in self.steps:
            if isinstance(step, dict):
                self._content.update(step)
            else:
                for key in step:
                    self._content.pop(key, None)
        self.steps = []
        return self._content

    @content.setter
    def content(self, content: Any) -> None:
        self.steps, self._content = [], content


def references(change: bytes) -> set[int]:
    """Find the nodes to which the values of a change refer.

    The bytes of a reference cannot be anything else: quotes in a string are escaped, and a user's
    own dict of that shape is tagged.
    """
    return set(map(int, _REFERENCE.findall(change)))


def touched(change: bytes) -> set[int]:
    """Find the node of a change, and the nodes to which the change refers."""
    return references(change) | {_about(change).id}


class _About(msgspec.Struct):
    id: int


_about: Final = reads_deep(msgspec.json.Decoder(_About).decode)


class Replay(Generic[V]):
    """The nodes that a run of changes makes."""

    def __init__(self, decode: Callable[[bytes], Change[V]]) -> None:
        self.nodes: dict[int, NodeState] = {}
        self._gone: set[int] = set()
        self._decode = decode

    def apply(self, line: bytes) -> int:
        """Apply one change and return the id of its node.

        Raises:
            CorruptStateError: The change does not fit the state before it.
            msgspec.MsgspecError: The line is no change.
        """
        change = self._decode(line)
        if change.delete:
            self.nodes.pop(change.id, None)
            self._gone.add(change.id)
        elif (node := self._node(change)) is not None:
            self._edit(node, change)
        return change.id

    def _node(self, change: Change[V]) -> NodeState | None:
        """Return the node of a change, a new one for its first change; None if it was deleted."""
        node = self.nodes.get(change.id)
        if node is not None:
            if change.kind not in (None, node.kind):
                raise CorruptStateError(
                    f"node {change.id} is a {node.kind}, not a {change.kind:.60}"
                )
            return node
        if change.kind is None:
            if change.id in self._gone:
                return None
            raise CorruptStateError(f"a change of node {change.id}, which nothing has begun")
        if change.kind not in KINDS and change.kind != UNREADABLE:
            raise CorruptStateError(f"node {change.id} is of the unknown kind {change.kind:.60}")
        node = self.nodes[change.id] = NodeState(change.kind, change.name)
        node.content = self._empty(change.kind)
        return node

    def _edit(self, node: NodeState, change: Change[V]) -> None:
        if change.defaults is not None:
            node.defaults = self._defaults(change.defaults)
        if change.more_defaults is not None:
            node.defaults += self._defaults(change.more_defaults)
        if change.metadata is not msgspec.UNSET:
            node.metadata = change.metadata
        if node.kind in SEQUENCES:
            for items in (change.assign, change.items):
                if isinstance(items, list):
                    self._items(node, items)
            _edit_sequence(node, change)
            return
        if change.assign is not None:
            node.content = self._empty(node.kind)
            self._put(node, change.assign)
        if change.drop is not None:
            self._drop(node, change.drop)
        if change.put is not None:
            self._put(node, change.put)

    @abstractmethod
    def _empty(self, kind: str) -> Any: ...

    @abstractmethod
    def _defaults(self, keys: list[V]) -> list[Any]: ...

    @abstractmethod
    def _drop(self, node: NodeState, keys: list[V]) -> None: ...

    @abstractmethod
    def _put(self, node: NodeState, content: dict[str, V] | list[V]) -> None: ...

    def _items(self, node: NodeState, items: list[V]) -> None:
        """Prepare items of a sequence before they are put."""


def _edit_sequence(node: NodeState, change: Change[Any]) -> None:
    if change.assign is not None:
        node.content, node.first = list(change.assign), change.at or 0
    items: list[Any] = node.content
    if change.trim is not None:
        low, high = change.trim
        if not node.first <= low <= high <= node.first + len(items):
            raise CorruptStateError(f"node {change.id} has no items {low} to {high}")
        del items[high - node.first :]
        del items[: low - node.first]
        node.first = low
    if change.cut is not None:
        _cut(node, change.id, change.cut)
    if change.items is not None:
        at = (change.at or 0) - node.first
        longest = 0 if change.insert else len(change.items)
        if not -longest <= at <= len(items):
            raise CorruptStateError(f"node {change.id} lacks items before item {change.at}")
        node.first += min(at, 0)
        items[max(at, 0) : max(at + longest, 0)] = change.items
    elif change.insert:
        raise CorruptStateError(f"a change of node {change.id} inserts no items")


def _cut(node: NodeState, node_id: int, ranges: list[tuple[int, int]]) -> None:
    """Take items out, in one pass however many ranges there are."""
    items: list[Any] = node.content
    done, kept = 0, []
    for low, high in ranges:
        start, stop = low - node.first, high - node.first
        if not done <= start <= stop <= len(items):
            raise CorruptStateError(f"node {node_id} has no items {low} to {high} to take out")
        kept += items[done:start]
        done = stop
    items[:done] = kept


Convert = Callable[[str, Any], None]


class DecodedReplay(Replay[Any]):
    """A replay whose values are decoded, in as few C calls as there are changes.

    Args:
        convert: If given, called with a node's kind and some of its entries (a dict) or items (a
            list), just decoded. It may replace values in place by those that the program will hold.
    """

    def __init__(self, convert: Convert | None = None) -> None:
        super().__init__(reads_deep(msgspec.json.Decoder(Change[Any]).decode))
        self._convert = convert

    def _empty(self, kind: str) -> Any:
        return [] if kind in SEQUENCES else {}

    def _defaults(self, keys: list[Any]) -> list[Any]:
        return [decode_key(key) for key in keys]

    def _drop(self, node: NodeState, keys: list[Any]) -> None:
        if not node._content and _STR.issuperset(map(type, keys)):
            node.steps.append(keys)
            return
        for key in map(decode_key, keys):
            node.content.pop(key, None)

    def _put(self, node: NodeState, content: dict[str, Any] | list[Any]) -> None:
        if isinstance(content, dict):
            if self._convert is not None:
                self._convert(node.kind, content)
            if node._content:
                node.content.update(content)
            else:
                node.steps.append(content)
        elif node.kind == "set":
            are_scalars = _SCALARS.issuperset(map(type, content))
            keys = content if are_scalars else [*map(decode_key, content)]
            refuse_collisions(keys)
            self._update(node, dict.fromkeys(keys))
        else:
            keys = [decode_key(key) for key, _ in content]
            refuse_collisions(keys)
            self._update(node, dict(zip(keys, (value for _, value in content), strict=True)))

    def _update(self, node: NodeState, entries: dict[Any, Any]) -> None:
        """Put entries; check all keys for collisions whenever their number has doubled."""
        before = len(node.content)
        node.content.update(entries)
        if len(node.content).bit_length() != before.bit_length():
            refuse_collisions(node.content)

    def _items(self, node: NodeState, items: list[Any]) -> None:
        if self._convert is not None:
            self._convert(node.kind, items)


class _Entries:
    """A dict in parts: one dict of a million entries stops every thread while it is resized."""

    LIMIT = 32_768

    def __init__(self) -> None:
        self.parts: list[dict[Hashable, Raw]] = [{}]
        self.keys: dict[Hashable, Raw] = {}  # the JSON of those keys that are no strings

    def __contains__(self, key: Hashable) -> bool:
        return any(key in part for part in self.parts)

    def items(self) -> Iterator[tuple[Hashable, Raw]]:
        return chain.from_iterable(part.items() for part in self.parts)

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
        super().__init__(reads_deep(msgspec.json.Decoder(Change[Raw]).decode))

    def lines(self, node_id: int, limit: int = LINE) -> Iterator[bytes]:
        """Write a node as changes of about `limit` bytes; the first one makes it anew."""
        node = self.nodes[node_id]
        items = iter(node.content if node.kind in SEQUENCES else node.content.items())
        at = 0
        while chunk := list(islice(items, 512 if limit < sys.maxsize else None)):
            yield from self._encode(node_id, node, at, chunk, limit)
            at += len(chunk)
        if not at:
            yield from self._encode(node_id, node, 0, [], limit)

    def release(self) -> None:
        """Free all values, bit by bit: to free millions at once stops every thread."""
        for node in self.nodes.values():
            pieces = node.content if node.kind in SEQUENCES else node.content.parts
            step = _Entries.LIMIT if node.kind in SEQUENCES else 1
            while pieces:
                del pieces[-step:]
                time.sleep(0)

    def _encode(
        self, node_id: int, node: NodeState, at: int, chunk: list[Any], limit: int
    ) -> Iterator[bytes]:
        content = self._content(node, chunk)
        change = Change[Raw](node_id)
        if at == 0:
            defaults: Any = node.defaults or None
            metadata = msgspec.UNSET if node.metadata is None else node.metadata
            change = Change(node_id, node.kind, node.name, metadata, defaults, None, content)
            change.at = node.first or None
        elif node.kind in SEQUENCES:
            change = Change(node_id, at=node.first + at, items=chunk)
        else:
            change = Change(node_id, put=content)
        line = encode(change)
        if len(line) <= limit or len(chunk) < 2:
            yield line
            return
        half = len(chunk) // 2
        yield from self._encode(node_id, node, at, chunk[:half], limit)
        yield from self._encode(node_id, node, at + half, chunk[half:], limit)

    def _content(self, node: NodeState, chunk: list[Any]) -> Any:
        if node.kind in SEQUENCES:
            return chunk
        if node.kind == "set":
            return [member for _, member in chunk]
        keys = node.content.keys
        if not keys:
            return dict(chunk)
        return [(keys.get(key, key), value) for key, value in chunk]

    def _empty(self, kind: str) -> Any:
        return [] if kind in SEQUENCES else _Entries()

    def _defaults(self, keys: list[Raw]) -> list[Any]:
        return [*keys]

    def _drop(self, node: NodeState, keys: list[Raw]) -> None:
        node.content.discard(set(map(_key, keys)))

    def _put(self, node: NodeState, content: dict[str, Raw] | list[Raw]) -> None:
        entries: _Entries = node.content
        if isinstance(content, dict):
            entries.update(content)
        elif node.kind == "set":
            # Of equal members (1 and True) the first one stays.
            members = ((_key(member), member) for member in content)
            entries.update({key: raw for key, raw in members if key not in entries})
        else:
            entries.update(dict(_pair(entries, pair) for pair in content))


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

"""What changed of objects whose fields hold scalars: one part of a capture for all of them.

A `NodeCapture` takes some 25 µs for its node, however little of the node has changed. There may be
very many objects, each of them a node; and the event loop is held while they are captured. Scalars
need none of what a `NodeCapture` does: no writer can change them, nothing in them is shared, and
JSON holds them as they are. So the names and values of all dirty fields are listed here at the cut,
and encoded afterwards in a few calls of C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import compress, islice
from operator import add
from sys import getsizeof
from typing import Any, Final

from autostate import codec
from autostate.codec.signatures import Json
from autostate.memory import encode, encode_each
from autostate.tracking.node import LARGE, KeyedEntries, Node

_BATCH: Final = 256  # objects that are encoded between two pauses
_LARGE: Final = 16_384  # bytes of fields above which a few copies in a batch are too many
_LONG: Final = 4000  # bytes of a value that may be an int with too many digits
_STR: Final = frozenset({str})


class FlatCapture:
    """The part of a capture for objects whose dirty fields hold scalars.

    All is in flat lists: a container for each object would let the garbage collector run in the
    cut, again and again.
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._descriptions: list[Json | object] = []  # None: the store has the object already
        self._counts: list[int] = []  # how many fields of each object
        self._names: list[str] = []
        self._values: list[Any] = []
        self._hashes: dict[Node, dict[str, int]] = {}  # of the objects that are new

    def take(self, node: Node) -> bool:
        """Take over the marks of an object; the lock is held.

        Returns:
            Whether this was done: else the object needs a `NodeCapture`.
        """
        entries, mirror = node.entries, node.obj
        if entries.touched or entries.drops or entries.bad or entries.saved_defaults:
            return False
        assert node.kind.describe is not None
        try:
            description: Json | object = node.kind.describe(mirror)
        except codec.Unsupported:
            return False
        if not node.declared and entries.saved is None and entries.defaults <= mirror.keys():
            names = [*mirror.keys()]
        elif entries.saved is None or entries.all_dirty or description != entries.metadata:
            return False
        else:
            names, description = [*entries.keys], None
        if len(mirror) > LARGE:
            return False
        values = [*map(mirror.get, names)]
        if sum(map(getsizeof, values)) > _LARGE:
            return False
        if not (codec.is_flat(values) and _STR.issuperset(map(type, names))):
            return False
        if not "".join(names).isascii():
            return False
        self._list(node, description, names, values)
        assert isinstance(entries, KeyedEntries)
        entries.all_dirty, entries.length, entries.key_type = False, len(mirror), str
        entries.keys.clear()
        return True

    def _list(
        self, node: Node, description: Json | object, names: list[str], values: list[Any]
    ) -> None:
        count, fields = len(self._nodes), len(self._names)
        try:
            self._names += names
            self._values += values
            self._counts.append(len(names))
            self._descriptions.append(description)
            self._nodes.append(node)
        except BaseException:  # no memory, or Ctrl-C: the lists have to fit together
            del self._names[fields:], self._values[fields:]
            del self._counts[count:], self._descriptions[count:], self._nodes[count:]
            raise

    def encode(self, pause: Callable[[], None] | None) -> Iterator[tuple[bytes, int]]:
        """Encode all; yield the changes, each with the number of fields in it."""
        prefixes = {name: encode(name) + b":" for name in set(self._names)}
        described: dict[int, bytes] = {}  # by the `id` of the description, which is held here
        names, values, at = iter(self._names), iter(self._values), 0
        while counts := self._counts[at : at + _BATCH]:
            some = [*islice(names, sum(counts))]
            raws = _encoded([*islice(values, len(some))])
            hashes = zip(some, map(hash, raws), strict=True)
            fields = map(add, map(prefixes.__getitem__, some), raws)
            nodes = self._nodes[at : at + _BATCH]
            state_names = _encoded([node.name for node in nodes])
            for count, node, state_name in zip(counts, nodes, state_names, strict=True):
                description = self._descriptions[at]
                digests = dict(islice(hashes, count))
                content = [*islice(fields, count)]
                at += 1
                if description is None:
                    content = _changed(node, digests, content)
                    if content:
                        yield b'{"id":%d,"put":{%b}}' % (node.id, b",".join(content)), len(content)
                    continue
                self._hashes[node] = digests
                known = described.get(id(description))
                if known is None:
                    known = b',"metadata":%b,"assign":{' % encode(description)
                    described[id(description)] = known
                head = b'{"id":%d,"kind":"object","name":%b' % (node.id, state_name)
                yield head + known + b",".join(content) + b"}}", len(content)
            if pause is not None:
                pause()

    def saved(self) -> Iterator[Node]:
        """Note that all is durable; yield the nodes. The lock is held."""
        for node, description in zip(self._nodes, self._descriptions, strict=True):
            if description is not None:
                node.declared, node.entries.metadata = True, description
                node.entries.saved = self._hashes[node]
            yield node

    def failed(self) -> Iterator[Node]:
        """Mark all again, and yield the nodes: it is not known what the store has."""
        names = iter(self._names)
        for node, count in zip(self._nodes, self._counts, strict=True):
            entries = node.entries
            assert isinstance(entries, KeyedEntries)
            entries.all_dirty, entries.saved = True, None
            entries.restore(dict.fromkeys(islice(names, count)), {}, {})
            yield node


def _changed(node: Node, hashes: dict[str, int], content: list[bytes]) -> list[bytes]:
    """Leave out the fields that the store has like this already, and note the other ones."""
    saved = node.entries.saved
    if saved is None:  # another thread has marked everything
        return content
    which = [saved.get(name) != digest for name, digest in hashes.items()]
    saved.update(hashes)
    return [*compress(content, which)]


def _encoded(values: list[Any]) -> list[bytes]:
    """Encode scalars; those that JSON cannot hold are tagged."""
    try:
        raws = [*encode_each(values)]
    except ValueError:  # a lone surrogate, or an int with too many digits
        return [*map(codec.dump, values)]
    if max(map(len, raws), default=0) < _LONG:
        return raws
    pairs = zip(raws, values, strict=True)
    return [raw if len(raw) < _LONG else codec.dump(value) for raw, value in pairs]

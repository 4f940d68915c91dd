"""Builds the values in the entries of one node that is rehydrated.

Most values are tracked containers already when they arrive here: see `decoded_conversion.py`. The
others are JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any, Final, Protocol

from autostate import codec
from autostate.codec.signatures import Stored
from autostate.errors import SignatureError, UnknownTypeError
from autostate.signing import BadSignatureError
from autostate.tracking.barrier import Barrier, make
from autostate.tracking.cell import Cell
from autostate.tracking.decoded_conversion import FLAT, Dict, List, converted_types
from autostate.tracking.items import ItemRef, SequenceEntries
from autostate.tracking.kind import KINDS
from autostate.tracking.node import Node
from autostate.tracking.watched import Watched

_STR: Final = frozenset({str})


class Referred(Protocol):
    """The nodes and roots to which values refer: see `rehydration.Rehydration`.

    Attributes:
        resigned: Nodes with pickled values that an older key has signed.
    """

    resigned: set[Node]

    def refer(self, node_id: int, where: Node, *, complete: bool) -> Node:
        """Return a node that is referred to, rebuilt if it was not yet."""

    def root(self, name: str) -> Any:
        """Find the state object to which a pickled value refers."""


class Builder:
    """Builds containers and objects for `codec.decode`, and makes them known to tracking.

    Attributes:
        node: The node to which the built containers belong.
    """

    __slots__ = ("_is_direct", "_key", "_referred", "_refs", "_watched", "node")

    def __init__(self, referred: Referred, node: Node) -> None:
        self._referred = referred
        self.node = node
        entries = node.entries
        self._refs = entries.refs if isinstance(entries, SequenceEntries) else {}
        self._key: Any = None  # the entry that is being built
        self._watched = False  # whether it holds an object that can change unseen
        self._is_direct = False  # references are not passed to a class

    # -- entries ----------------------------------------------------------------------------------

    def content(self, json: Stored, first: int) -> Any:
        """Build the content of a mapping, set or sequence, whose first item has that number."""
        shape, built = self.node.kind.shape, converted_types()
        if shape == "sequence":
            return [
                item if type(item) in built else self._item(item, number)
                for number, item in enumerate(json, first)
            ]
        if not _STR.issuperset(map(type, json)):
            json = dict(zip(self.keys(json), json.values(), strict=True))
        if shape == "set":
            return json
        return {k: v if type(v) in built else self.decode(k, v) for k, v in json.items()}

    def keys(self, keys: Collection[Hashable]) -> Collection[Hashable]:
        """Decode keys or members again if their classes were unknown before."""
        if FLAT.issuperset(map(type, keys)):
            return keys
        return [key if type(key) in FLAT else codec.resolve_key(key, self) for key in keys]

    def _item(self, json: Stored, number: int) -> Any:
        """Build an item of a sequence, and its entry."""
        ref = ItemRef(number, id(json))
        item = self.decode(ref, json)
        ref.ident = id(item)
        if not issubclass(type(item), Barrier) or item._node_ is not self.node:
            self._refs[id(item)] = ref
        return item

    def decode(self, key: Any, json: Stored) -> Any:
        """Build a value, and watch its entry if the value can change unseen."""
        self._key, self._watched = key, False
        value = self.value(json)
        if self._watched:
            watched = self.node.tracker.part(Watched)
            watched.again(self.node, key, hash(codec.dump(json)))
        return value

    # -- parts of an entry, for `codec.decode` ----------------------------------------------------

    def value(self, json: Stored) -> Any:
        """Decode like `codec.decode`; dicts and lists, which are frequent, are handled here."""
        made: Any
        if type(json) is dict and not codec.is_tagged(json):
            if not FLAT.issuperset(map(type, json.values())):
                json = {k: v if type(v) in FLAT else self.value(v) for k, v in json.items()}
            made = Dict(json)
            made.__class__ = KINDS["dict"].nested
        elif type(json) is list:
            if not FLAT.issuperset(map(type, json)):
                json = [v if type(v) in FLAT else self.value(v) for v in json]
            made = List(json)
            made.__class__ = KINDS["list"].nested
        elif type(json) is dict:
            self._is_direct = "$ref" in json
            return codec.decode(json, self)
        else:  # a scalar, which may be decoded already
            return json
        made._node_ = self.node
        made._key_ = self._key
        return made

    def __call__(self, kind: str, content: Any) -> Any:
        """Build one container or object."""
        if kind == "ref":
            known = self._referred.refer(content, self.node, complete=not self._is_direct)
            known.referrers.setdefault((self.node.id, self._key))
            self._watched = self._watched or type(known.obj) is Cell
            return known.kind.show(known.obj)
        if kind == "object":
            self._watched = True
            return content
        if kind == "pickled":
            self._watched = True
            return self._pickled(content)
        if kind == "unknown":
            if self.node.tracker.on_unknown() == "raise":
                raise UnknownTypeError(content[0])
            return codec.Unknown(*content)
        return make(KINDS[kind], content, self.node, self._key)

    def _pickled(self, json: Stored) -> Any:
        """Load a pickled value if its signature is valid; no code of it runs before the check."""
        from autostate.codec import pickled

        path = f"{self.node.path}{self.node.entries.step(self._key)}"

        def verify(data: bytes, signature: str) -> None:
            signer = self.node.tracker.signer
            try:
                if signer is None:
                    raise BadSignatureError("here is no key to verify a pickled value")
                if not signer.verify(data, signature, self.node.place_of(self._key)):
                    self._referred.resigned.add(self.node)
            except BadSignatureError as problem:
                raise SignatureError(f"{path}: {problem}") from None

        return pickled.load(json, path, verify, self._referred.root)

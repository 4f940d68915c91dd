"""How a container inside an entry is saved: inline, or by reference to a node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from autostate import codec
from autostate.codec import Replaced, Unsupported
from autostate.signing import NoKeyError
from autostate.tracking.barrier import Barrier, size
from autostate.tracking.cell import Cell
from autostate.tracking.graph import Graph
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import LARGE, Node, is_one_entry
from autostate.tracking.search import holds

INLINE: Final = LARGE
"""Entries of all containers inline in one entry; above that the outermost becomes a node."""


class ToBeNode(Exception):  # noqa: N818 - not an error
    """A container, or an object, inside an entry has to become a node.

    It was found there a second time; or the entry, with everything inline in it, would be so large
    that each write would cost much more than the changed part.
    """

    def __init__(self, container: Any) -> None:
        self.container = container


class ReferenceResolver:
    """Resolves the containers inside one entry: nodes by reference, others inline.

    Args:
        graph: The graph of the tracker.
        node: The node to which the entry belongs.
        key: The entry.
        replaced: Takes the values that cannot be saved, which are replaced: see `codec.unsaved`.
            None: such a value is an error.
        divide: Make a container a node if the entry is large.
        originals: If copies are encoded: what they are copies of, by their `id`s.

    Attributes:
        seen: Containers and objects that are saved inline, by identity.
        top: The container that becomes a node if the entry is large: the outermost one with other
            than one entry. None if that container is part of an object.
    """

    __slots__ = (
        "_graph",
        "_in_payload",
        "_left",
        "_originals",
        "_seeks_top",
        "key",
        "node",
        "replaced",
        "seen",
        "top",
    )

    def __init__(
        self,
        graph: Graph,
        node: Node,
        key: Any,
        *,
        replaced: Replaced | None = None,
        divide: bool = False,
        originals: Mapping[int, Any] = MappingProxyType({}),
    ) -> None:
        self._graph = graph
        self._originals = originals
        self.node = node
        self.key = key
        self.replaced = replaced
        self.seen: dict[int, Any] = {}
        self.top: Any = None
        self._seeks_top = divide
        self._left = INLINE  # entries that may still be inline
        self._in_payload = False  # inside the result of a registered `encode`

    def strict(self) -> ReferenceResolver:
        """Return a resolver for the result of a registered `encode`: it replaces nothing.

        Plain containers in such a result may be new at each call: they are no part of the state.
        """
        resolver = ReferenceResolver(self._graph, self.node, self.key)
        resolver.seen, resolver._in_payload = self.seen, True
        return resolver

    def __call__(self, container: Any) -> dict[str, int] | None:
        """Return a reference to a node; None for a container or an object that is saved inline."""
        tracker = self.node.tracker
        container = self._originals.get(id(container), container)
        if not issubclass(type(container), Barrier):
            return self._without_barrier(container)
        if container._node_ is not self.node or not is_one_entry(container._key_, self.key):
            self._graph.claim(container, self.node, self.key)
        owner: Node | None = container._node_
        assert owner is not None
        if owner.tracker is not tracker:
            raise Unsupported("a state object of another store cannot be part of this one")
        if owner.obj is container:
            return self._refer(owner)
        self._note_inline(container)
        return None

    def _without_barrier(self, value: Any) -> dict[str, int] | None:
        node = self.node.tracker.shared.get(id(value))
        if node is None:
            if not (self._in_payload and type(value) in PLAIN):
                self._note_inline(value)
            return None
        if node is self.node and type(value) not in PLAIN and id(value) not in self.seen:
            self.seen[id(value)] = value  # the object of the node itself
            return None
        if self._is_inside(node):
            raise Unsupported(
                "an object that holds itself, or is held by one that it holds, cannot be saved"
            )
        return self._refer(node)

    def _is_inside(self, owner: Node) -> bool:
        """Tell whether the object of a node holds the entry, directly or through other objects.

        None of these objects could be rebuilt: each one would have to be complete before the
        others. If there is a container among them, or an object that can be made without its
        fields, the circle begins there.
        """
        seen = {self.node}
        left = [self.node]
        while left:
            node = left.pop()
            if not _has_to_be_complete(node):
                continue
            if node is owner:
                return True
            for referrer_id, _ in list(node.referrers):
                referrer = node.tracker.nodes.get(referrer_id)
                if referrer is None or referrer in seen or not _has_to_be_complete(referrer):
                    continue
                if holds([referrer.obj["value"]], referrer, node):  # it may have done once
                    seen.add(referrer)
                    left.append(referrer)
        return False

    def _note_inline(self, value: Any) -> None:
        """Note a value that is saved inline; at a second place it has to become a node."""
        if id(value) in self.seen:
            raise ToBeNode(value)
        self.seen[id(value)] = value
        entries = size(value) if issubclass(type(value), Barrier) else 0
        self._left -= entries + 1
        if self._seeks_top and entries != 1:  # the outermost one that has anything to divide
            self._seeks_top = False
            self.top = value if entries else None
        elif self._left < 0 and self.top is not None:
            raise ToBeNode(self.top)

    def _refer(self, owner: Node) -> dict[str, int]:
        if not owner.declared and owner.kind.describe is not None:
            owner.kind.describe(owner.obj)  # it has to be one that can be saved
        owner.referrers.setdefault((self.node.id, self.key))
        self._graph.revive(owner)
        return {"$ref": owner.id}

    def sign(self, data: bytes) -> str:
        """Sign a pickled value."""
        signer = self.node.tracker.signer
        if signer is None:
            raise Unsupported("a pickled value has to be signed, and here is no key to sign it")
        try:
            return signer.sign(data, self.node.place_of(self.key))
        except NoKeyError as problem:
            raise Unsupported(str(problem)) from None

    def name_of(self, container: Any) -> str | None:
        """Name a state object to which a pickled value refers."""
        from autostate.codec.pickled import name_of

        node: Node | None = container._node_
        if node is not None and node.tracker is not self.node.tracker:
            raise Unsupported("a pickled value cannot refer to a state object of another store")
        return name_of(container)


def _has_to_be_complete(node: Node) -> bool:
    """Tell whether the content of a node is an object that cannot be made without its fields."""
    if type(node.obj) is not Cell or not node.obj:
        return False
    fields = getattr(codec.entry_for(type(node.obj["value"])), "fields", None)
    return fields is None or not fields.begins_blank

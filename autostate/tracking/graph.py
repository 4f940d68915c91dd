"""The graph of nodes: to which node and entry each container belongs.

A plain container that is found in the state is converted, or its entry is watched
(`conversion.py`). A persisted container that is found in another entry than its own has moved, or
is at two places; a container at two places becomes a node. An inline container that was taken out
of the state is *detached*: it becomes plain.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from typing import Any

from autostate import codec
from autostate.collector import track
from autostate.tracking.barrier import VARIANTS, Barrier, arm, disarm, kind_of, size
from autostate.tracking.conversion import is_held, is_resolved, references, replace
from autostate.tracking.items import ItemRef, SequenceEntries
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import LARGE, Marks, Node, is_one_entry
from autostate.tracking.raw import item_of, items_of
from autostate.tracking.saved_items import copies_of
from autostate.tracking.search import (
    ATOMS,
    holds_atoms,
    inline,
    is_inline,
    is_object,
    nodes_inside,
    slots_of,
)
from autostate.tracking.watched import Watched


def _copies_of(items: Any, slot: int) -> int:
    item = item_of(items, slot)
    return copies_of(item) if issubclass(type(item), Barrier) else 0


class Graph:
    """The nodes of one tracker and their containers. In all calls the lock is held."""

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._watched = tracker.part(Watched)
        self._converting: set[int] = set()
        self._looked_at: tuple[Node, Any, frozenset[int]] | None = None
        self._found: set[int] = set()  # containers that were just claimed, by `id`

    def forget(self, *, all_resolved: bool = False) -> None:
        """Forget earlier findings: another thread may have held the lock meanwhile."""
        if all_resolved:
            self._found.clear()
        self._looked_at = None

    # -- belonging ----------------------------------------------------------------------------

    def claim(self, container: Any, node: Node, entry: Any) -> None:
        """Note that a persisted container was found in an entry.

        The container belongs there already, or has moved there, or is at two places. In the last
        case it becomes a node, so that both places hold the same object after rehydration.
        """
        self._looked_at = None
        owner: Node | None = container._node_
        if owner is None or self._is_left(owner):
            container._node_ = None
            arm(container)
            self._found.add(id(container))
            self._tracker.mark_unresolved(container)  # before those in it: outer ones come first
            self._move(container, node, entry)
        elif owner.tracker is not self._tracker or (
            owner is node and is_one_entry(container._key_, entry)
        ):
            return
        elif owner.obj is container:
            owner.referrers.setdefault((node.id, entry))
            if owner.unreachable:
                self.revive(owner)
        elif id(container) in self._inline_in(
            owner, container._key_
        ):  # still there, so that it is at both
            self._tracker.touch(owner, container._key_)
            self.promote(container).referrers.setdefault((node.id, entry))
        else:
            self._move(container, node, entry)
            self._watched.add(node, entry)  # plain containers in it move along

    def _is_left(self, owner: Node) -> bool:
        """Tell whether a container belonged to a state whose store is closed: it is plain."""
        return owner.tracker.closed and owner.tracker is not self._tracker

    def _move(self, container: Any, node: Node, entry: Any) -> None:
        """Let a container belong to another entry, with the containers inside it."""
        referrer, former = container._node_, container._key_
        container._node_, container._key_ = node, entry
        track(container)
        for other in nodes_inside([container], node):
            other.referrers.setdefault((node.id, entry))
        if referrer is not None:
            # What is still in the former entry does not move along: that entry would not be
            # searched again.
            stayed = self._inline_in(referrer, former)
            for inner in inline(container, node):
                if inner._node_ is referrer and inner._key_ == former and id(inner) not in stayed:
                    inner._node_, inner._key_ = node, entry
                    track(inner)
        again = True  # below a claimed container there may be others
        while again:
            again = False
            for inner in [*inline(container, node)]:
                if self._is_strange(inner, node, entry):
                    self.claim(inner, node, entry)
                    again = True

    def _is_strange(self, container: Any, node: Node, entry: Any) -> bool:
        """Tell whether a container belongs to another entry, or to none."""
        owner: Node | None = container._node_
        if owner is None or self._is_left(owner):
            return True
        return owner.tracker is self._tracker and (
            owner is not node or not is_one_entry(container._key_, entry)
        )

    def _inline_in(self, node: Node, key: Any) -> frozenset[int]:
        return frozenset(id(inner) for inner in inline(node.entries.values(key), node))

    def detach(self, container: Any) -> bool:
        """Detach a written inline container if it was taken out of its entry.

        Returns:
            Whether it was taken out: it is plain from then on.
        """
        if id(container) in self._found:  # a search for each of many would take quadratic time
            self._found.discard(id(container))
            return False
        node: Node = container._node_
        key = container._key_
        known = self._looked_at
        if known is None or known[0] is not node or known[1] != key:
            known = self._looked_at = (node, key, self._inline_in(node, key))
        if id(container) in known[2]:
            return False
        for inner in [*inline(container, node), container]:
            if inner._node_ is node and inner._key_ == key and id(inner) not in known[2]:
                inner._node_ = None
                disarm(inner)
        return True

    # -- conversion -------------------------------------------------------------------------------

    def convert_inside(self, container: Any, node: Node, entry: Any) -> bool:
        """Convert all containers in an inline container; False if something has to be watched."""
        complete = True
        for slot in slots_of(container):
            complete = self.convert(container, slot, node, entry) and complete
        return complete

    def convert(self, parent: Any, slot: Any, node: Node, entry: Any) -> bool:
        """Convert one value and all inside it.

        Args:
            parent: The container that holds the value: armed, or plain itself.
            slot: Its key or index there.
            node: The node to which it will belong.
            entry: The entry of the node in which it lives.

        Returns:
            False if the value, or something inside it, has to be watched.
        """
        value = item_of(parent, slot)
        cls = type(value)
        if cls in ATOMS:
            return True
        if issubclass(cls, Barrier):
            self.claim(value, node, entry)
            return True
        kind = PLAIN.get(cls)
        if kind is None:
            return not self._has_to_be_watched(value, node, entry)
        if id(value) in self._tracker.shared:
            return False  # it is at several places: see sharing.py
        complete, ident = True, id(value)
        met = self._converting
        if not holds_atoms(value):
            if ident in met:
                return False  # it holds itself, or is at several places: looked into once
            outermost = not met
            met.add(ident)
            try:
                complete = self.convert_inside(value, node, entry)
            finally:
                if outermost:
                    met.clear()
        del value  # a variable is a reference, and `is_held` counts
        if is_held(parent, slot):
            return False
        made = replace(parent, slot, kind, node, entry)
        if made is None:
            return False
        if size(made) > LARGE:
            self.promote(made)
        met.discard(ident)
        return complete

    def convert_deep(self, parent: Any, slot: Any, node: Node, entry: Any) -> bool:
        """Convert one value and all inside it, also in containers that are converted already."""
        complete = self.convert(parent, slot, node, entry)
        for container in inline([item_of(parent, slot)], node):
            if container._node_ is None:  # it was detached, and came back past the barrier
                self.claim(container, node, entry)
            if is_inline(container):
                owner, key = container._node_, container._key_
                complete = self.convert_inside(container, owner, key) and complete
        return complete

    def convert_or_watch(self, node: Node, slot: Any, *, again: bool = False) -> None:
        """Convert the value in a slot of a node, or watch its entry.

        Args:
            node: The node.
            slot: A key or position.
            again: The value may have been there before: search converted containers, too.
        """
        entry = node.entries.at(slot)
        try:
            complete = (self.convert_deep if again else self.convert)(node.obj, slot, node, entry)
        except RecursionError:  # nested too deeply: that is reported when it is encoded
            complete = False
        if not complete:
            entry = node.entries.at(slot)  # it may be another object now
            (self._watched.add if again else self._watched.again)(node, entry)
        elif type(entry) is ItemRef and next(inline([item_of(node.obj, slot)], node), None) is None:
            node.entries.forget(entry)

    def look_inside(self, node: Node, slots: Iterable[Any], *, again: bool = False) -> None:
        """Convert or watch the values in slots of a node: see `convert_or_watch`."""
        for slot in slots:
            with contextlib.suppress(LookupError):  # removed since the slots were listed
                if again and is_resolved(item_of(node.obj, slot), node, slot):
                    continue
                self.convert_or_watch(node, slot, again=again)
        if node.kind.shape == "sequence":
            self.promote_repeated(node, slots)

    def _has_to_be_watched(self, value: Any, node: Node, entry: Any) -> bool:
        """Tell whether a value, or a part of it, can change unseen; nothing in it is replaced."""
        watched = False
        seen: dict[int, Any] = {}
        left = [value]
        while left:
            one = left.pop()
            cls = type(one)
            if cls in ATOMS or codec.is_atom(cls) or id(one) in seen:
                continue
            if issubclass(cls, Barrier):
                self.claim(one, node, entry)
                continue
            seen[id(one)] = one
            watched = watched or cls in PLAIN or is_object(cls)
            if cls not in PLAIN and self._tracker.shared.get(id(one), node) is node:
                left += codec.parts_of(one)
        return watched

    # -- nodes --------------------------------------------------------------------------------

    def promote(self, container: Any) -> Node:
        """Make a nested container a node."""
        referrer, entry = container._node_, container._key_
        node = self.new_node(container, referrer, entry)
        container._node_, container._key_ = node, None
        track(container)
        self.take_over(node, referrer, entry)
        self.look_inside(node, slots_of(container), again=True)
        self._tracker.touch(referrer, entry)
        self.include(node)
        return node

    def promote_repeated(self, node: Node, slots: Iterable[int]) -> None:
        """Make nodes of items that lie at two positions of one sequence: they have one entry.

        If the item is a tuple or an object, the containers inside it become nodes.
        """
        items = node.obj
        # Plain containers and objects are watched: the cut finds those at two positions.
        held = {
            id(item_of(items, slot))
            for slot in slots
            if slot < size(items)
            and type(item_of(items, slot)) not in ATOMS
            and type(item_of(items, slot)) not in PLAIN
            and references(items, slot) > 1 + _copies_of(items, slot)
            and not is_object(type(item_of(items, slot)))
        }
        if not held:
            return
        found = Counter(id(item) for item in items_of(items) if id(item) in held)
        twice = {id(item): item for item in items_of(items) if found[id(item)] > 1}
        promoted = set()
        for item in twice.values():
            inside = [item] if is_inline(item) else list(inline([item], node))
            inside = [container for container in inside if is_inline(container)]
            for container in inside:
                if is_inline(container):
                    self.promote(container)
            if inside:
                promoted.add(id(item))
        self.touch_everywhere(node, promoted)

    def touch_everywhere(self, node: Node, idents: Container[int]) -> None:
        """Mark items of a sequence at all their positions: an `ItemRef` has only one.

        From now on these items refer to a node, and their stored form does not.
        """
        entries = node.entries
        assert isinstance(entries, SequenceEntries)
        for slot, item in enumerate(items_of(node.obj)):
            if id(item) in idents:
                entries.mark(slot)
        self._tracker.dirty_nodes[node] = None

    def take_over(self, node: Node, referrer: Node, entry: Any) -> None:
        """Let the containers inside a new node belong to the node, no longer to its former entry.

        A container that is then at two places, inside the node or in the rest of the entry, becomes
        a node too. Found only while it is encoded, it could be part of an encoded entry already.
        """
        self._looked_at = None
        moved: dict[int, Any] = {}
        twice = []
        for slot in slots_of(node.obj):
            key = node.entries.at(slot)
            for other in nodes_inside([item_of(node.obj, slot)], node):
                other.referrers.setdefault((node.id, key))
            for inner in inline([item_of(node.obj, slot)], node):
                if id(inner) in moved:
                    twice.append(inner)
                elif inner._node_ is referrer and inner._key_ == entry:
                    inner._node_, inner._key_ = node, key
                    track(inner)
                    moved[id(inner)] = inner
        values = referrer.entries.values(entry)
        rest = [inner for inner in inline(values, referrer) if id(inner) in moved]
        for inner in [*twice, *rest]:
            if is_inline(inner):
                self.promote(inner)
        for inner in rest:  # the entry refers to it too, not only the new node
            inner._node_.referrers.setdefault((referrer.id, entry))

    def new_node(self, container: Any, referrer: Node, entry: Any) -> Node:
        """Make a node for a container that was found in an entry."""
        tracker = self._tracker
        node = Node(tracker, tracker.new_id(), kind_of(container), container)
        node.referrers[referrer.id, entry] = None
        node.entries.all_dirty = True
        tracker.nodes[node.id] = node
        return node

    def include(self, node: Node) -> None:
        """Save a node with the capture that is being encoded, or with the next."""
        capture = self._tracker.capture
        if capture is not None and capture.began:
            capture.take([node])
        else:
            self._tracker.dirty_nodes[node] = None

    def revive(self, node: Node) -> None:
        """Save a referenced node whose stored content is missing or unknown.

        The nodes that it refers to are saved with it: found only while it is encoded, they could
        have been written to since the cut.
        """
        left = [node]
        while left:
            one = left.pop()
            if self._revive(one):
                left += self._referred_to(one)

    def _revive(self, node: Node) -> bool:
        tracker = self._tracker
        if tracker.capture is not None and node in tracker.capture.nodes:
            return False
        unknown = not node.declared and node.capture is None and node not in tracker.dirty_nodes
        if not (unknown or node.unreachable):
            return False
        if node.unreachable and type(node.obj) in VARIANTS:  # else see `sharing.py`
            tracker.mark_unresolved(node.obj)
        node.unreachable = False
        node.entries.all_dirty = True
        self.include(node)
        return True

    def _referred_to(self, node: Node) -> Iterator[Node]:
        for slot in slots_of(node.obj):
            key = node.entries.at(slot)
            for other in nodes_inside([item_of(node.obj, slot)], node):
                other.referrers.setdefault((node.id, key))
                yield other

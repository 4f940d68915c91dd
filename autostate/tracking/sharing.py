"""Plain containers, and objects, at several places of the state come back as one object.

A plain container at two places has two references, so that it looks held by somebody and is
watched, not converted; objects without a barrier are always watched. Every cut searches the watched
entries for containers and objects that occur twice. Each of them becomes a node that is compared as
a whole. The container is converted when all references to it come from its places. A container that
holds itself is treated the same way. An object is not converted: the container of its node is a
`Cell` that holds the object.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from autostate import codec
from autostate.tracking.barrier import Barrier, kind_of, make
from autostate.tracking.cell import Cell
from autostate.tracking.conversion import references
from autostate.tracking.graph import Graph
from autostate.tracking.items import ItemRef
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import Marks, Node, is_one_entry
from autostate.tracking.raw import has, item_of, items_of
from autostate.tracking.search import is_inline, is_object, slots_of
from autostate.tracking.watched import Watched

Place = tuple[Any, Any, Node, Any]
"""A container, the key or index of a value there, and the node and entry to which it belongs."""


class Found(Struct):
    """A container or object in the state, held by a list so that references can be counted.

    Attributes:
        holder: A list of the container.
        places: The places where it was found.
    """

    holder: list[Any]
    places: list[Place] = field(default_factory=list)


class Sharing:
    """The plain containers of one tracker that are nodes, by `id`."""

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._graph = tracker.part(Graph)
        self._watched = tracker.part(Watched)

    def loaded(self, node: Node) -> None:
        """Note an object that was rebuilt with its node."""
        self._watched.begin()
        self._tracker.shared[id(node.obj["value"])] = node

    def forget(self, of: Callable[[Node], bool]) -> None:
        """Forget the nodes that fulfil a condition."""
        self._tracker.shared = {
            key: node for key, node in self._tracker.shared.items() if not of(node)
        }

    def resolve(self, watched: Iterable[tuple[Node, Any]]) -> None:
        """Find values at several places of the watched entries; convert those that became free."""
        found = self._search(watched)
        parents = Counter(id(place[0]) for one in found.values() for place in one.places)
        self._tracker.shared = {
            key: node for key, node in self._tracker.shared.items() if key in found
        }
        items: defaultdict[Node, set[int]] = defaultdict(set)
        for key, one in found.items():
            if len(one.places) > 1 and key not in self._tracker.shared:
                self._promote(one)
                for _, _, other, entry in one.places:
                    if type(entry) is ItemRef:
                        items[other].add(entry.ident)
        for other, idents in items.items():
            self._graph.touch_everywhere(other, idents)
        # Plain containers and objects have no barrier: each is compared as a whole in every cut.
        for key, node in list(self._tracker.shared.items()):
            if self._convert(node, found[key], parents[key]):
                del self._tracker.shared[key]
            else:
                self._graph.look_inside(node, slots_of(node.obj), again=True)
            self._tracker.touch_all(node)
        self._watched.forget(lambda node: type(node.obj) in PLAIN)

    def _search(self, watched: Iterable[tuple[Node, Any]]) -> dict[int, Found]:
        """Find the plain containers in the watched entries.

        A container that becomes a node meanwhile is not searched any more, and has watched entries
        of its own: then the search begins again.
        """
        loose = self._watched.loose
        while True:
            search = _Search(self._graph, self._tracker.shared)
            for node, entry, slot in self._slots(watched):
                search.look(node.obj, slot, node, entry)
            for node in list(self._tracker.shared.values()):
                # a root that was not asked for yet may hold it, even if nothing else does
                if type(node.obj) is Cell and self._tracker.may_be_referred_to([node]):
                    search.look(node.obj, "value", node, "value")
            entries = [(node, entry) for node, some in loose.items() for entry in some]
            if set(entries) <= set(watched):
                return search.found
            watched = entries

    def _slots(self, watched: Iterable[tuple[Node, Any]]) -> Iterator[tuple[Node, Any, Any]]:
        """Yield the slots of watched entries: an item can be at several positions."""
        places: dict[Node, dict[int, Any]] = {}
        for node, entry in watched:
            if type(node.obj) in PLAIN:
                continue  # it is visited where it is
            if node.kind.shape == "sequence":
                places.setdefault(node, {})[entry.ident] = entry
            elif has(node.obj, entry):
                yield node, entry, entry
        for node, entries in places.items():
            ids = map(id, items_of(node.obj))
            for slot, ident in enumerate(list(ids)):
                if ident in entries:
                    yield node, entries[ident], slot

    def _promote(self, found: Found) -> None:
        _, _, referrer, entry = found.places[0]
        self._make_node(found.holder[0], referrer, entry)
        for _, _, other, key in found.places:
            self._tracker.touch(other, key)

    def _make_node(self, value: Any, referrer: Node, entry: Any) -> Node:
        container = value if type(value) in PLAIN else Cell(value=value)
        node = self._graph.new_node(container, referrer, entry)
        self._tracker.shared[id(value)] = node
        self._graph.take_over(node, referrer, entry)
        return node

    def promote(self, value: Any, referrer: Node, entry: Any) -> None:
        """Make a node of a value that was found twice while an entry was encoded."""
        self._graph.include(self._make_node(value, referrer, entry))
        self._watched.add(referrer, entry)  # so that every cut searches it

    def _convert(self, node: Node, found: Found, more: int) -> bool:
        """Put the persisted variant at all places; False if somebody else holds the plain one.

        Args:
            node: Its node.
            found: Its places.
            more: The number of places in `found` whose holder is the container itself.
        """
        places = found.places
        if type(node.obj) is Cell or any(type(parent) is _Parts for parent, _, _, _ in places):
            return False
        # `found.holder` and the node have one reference each; a container in a field is referenced
        # by the object and by its mirror; one that holds itself, by itself.
        holders = sum(kind_of(parent).holds for parent, _, _, _ in places)
        if references(found.holder, 0) != holders + more + 2:
            return False
        kind = kind_of(node.obj)
        new = make(kind, node.obj, node, None)
        old, node.obj = node.obj, new
        swapped = [place for place in places if _swap(place, old, new)]
        del old
        # Several places cannot be swapped in one step, as `conversion.replace` does: so it is
        # counted once more, and undone if another thread took a reference meanwhile.
        if references(found.holder, 0) != 1 + more:
            node.obj = found.holder[0]
            for place in swapped:
                _swap(place, new, node.obj)
            return False
        if new != found.holder[0]:  # changed after it was copied
            kind.refill(new, found.holder[0])
        for parent, slot, other, entry in places:
            now = other.entries.at(slot) if parent is other.obj else entry  # another item by now
            self._tracker.touch(other, now)
            node.referrers.setdefault((other.id, now))
        self._graph.look_inside(node, slots_of(node.obj), again=True)
        return True


def _is_root(value: Any) -> bool:
    """Tell whether an object is a state object: a proxy, or one of a `@persisted` class."""
    return hasattr(type(value), "_self_used") or codec.root_of(value) is not None


class _Parts(list[Any]):
    """The values in a tuple or an object."""


def _swap(place: Place, old: Any, new: Any) -> bool:
    parent, slot, _, _ = place
    try:
        if item_of(parent, slot) is not old:
            return False
    except LookupError:
        return False
    kind_of(parent).builtin.__setitem__(parent, slot, new)
    return True


class _Search:
    """Visits everything in the watched entries, each container once.

    Attributes:
        found: The plain containers that were found, by `id`.
    """

    def __init__(self, graph: Graph, shared: dict[int, Node]) -> None:
        self._graph = graph
        self._shared = shared
        self._inline: set[int] = set()
        self.found: dict[int, Found] = {}

    def look(self, parent: Any, slot: Any, node: Node, entry: Any) -> None:
        """Visit the value at one place, which belongs to `entry` of `node`."""
        # A variable is a reference, but does no harm here: `found` holds each plain container of
        # the path anyway, and these are counted only when the search has ended.
        value = item_of(parent, slot)
        cls = type(value)
        if cls in PLAIN:
            if self._is_new(value, (parent, slot, node, entry)):
                self._inside(value, self._shared.get(id(value), node), entry)
        elif is_object(cls) and not _is_root(value):
            if self._is_new(value, (_Parts(), slot, node, entry)):
                shared = self._shared.get(id(value))
                where = (node, entry) if shared is None else (shared, "value")
                self._parts(value, *where)
        elif not issubclass(cls, Barrier) and not codec.is_atom(cls):
            self._parts(value, node, entry)
        elif is_inline(value):
            if value._node_ is not node or not is_one_entry(value._key_, entry):
                # Found only while it is encoded, it could be part of an encoded entry already.
                self._graph.claim(value, node, entry)
            # it is no inline container any more if it is at two places
            if is_inline(value) and id(value) not in self._inline:
                self._inline.add(id(value))
                self._inside(value, node, entry)

    def _is_new(self, value: Any, place: Place) -> bool:
        """Note a place of a value; tell whether the value was found for the first time."""
        known = self.found.get(id(value))
        if known is None:
            self.found[id(value)] = Found([value], [place])
            return True
        known.places.append(place)
        return False

    def _parts(self, value: Any, node: Node, entry: Any) -> None:
        """Visit the values in a tuple or an object: nothing can be replaced there."""
        parts = _Parts(codec.parts_of(value))
        for index in range(len(parts)):
            self.look(parts, index, node, entry)

    def _inside(self, container: Any, node: Node, entry: Any) -> None:
        for slot in slots_of(container):
            key = node.entries.at(slot) if node.obj is container else entry
            self.look(container, slot, node, key)

"""A node: a container with entries of its own in the store, and what is dirty about it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from operator import countOf
from typing import TYPE_CHECKING, Any, Final

from autostate.codec.bound import is_container
from autostate.tracking.kept import Kept
from autostate.tracking.raw import item_of, items_of

if TYPE_CHECKING:
    from autostate.tracking.barrier import Kind
    from autostate.tracking.node_capture import NodeCapture
    from autostate.tracking.tracker import Tracker

LARGE = 256
"""Entries above which a container is *keyed*, and above which a nested one becomes a node.

Smaller containers are compared with the hashes of their saved entries, so that a write at full
speed costs only the changed entries; comparing 256 entries takes about 0.1 ms.
"""


_NO_ITEMS: Final = Kept()


class ItemRef:
    """The entry of a sequence: one element, which may change its position.

    Attributes:
        number: The last known position of the element, counted from `Node.first`.
        ident: The `id` of the element.
    """

    __slots__ = ("ident", "number")

    def __init__(self, number: int, ident: int) -> None:
        self.number = number
        self.ident = ident


class Node:
    """One container with entries of its own.

    Attributes:
        id: The number under which the store knows it.
        kind: "dict", "set", "counter", "list" …: the name of a `barrier.Kind`.
        shape: How its entries are addressed: "mapping", "set" or "sequence".
        name: The name of a root; None for a nested node.
        referrers: For a nested node: ids of nodes, and their entries, that have referred to it.
        keys: Keys or members that were assigned or added, oldest first, each with True if it was
            not there at the last cut. Of a sequence: the positions that replaced items had at the
            last cut.
        touched: Entries in which something changed: keys, or `ItemRef`s (sequence). The value is
            the container that changed, if it was the whole entry and held only scalars at its last
            resolution, else None.
        log: The same dict as `keys` while the container is of the recording variant, else None.
        drops: Keys or members that were removed since the last capture, each with True if it was
            there at that capture.
        key_type: The type of all keys or members, if it is one of `barrier.INTERCHANGEABLE`; None
            if they are of several types, of another type, or of an unknown type.
        compare: Whether hashes are kept although the container is large: something has bypassed
            its methods, and may do so again.
        all_dirty: Whether any entry may be dirty.
        first: Of a sequence: the number of the first item in the counting of `ItemRef`. It changes
            when items come or go at the left end, so that most elements keep their numbers.
        kept: Of a sequence: which items were there at the last cut, and where they are now.
        saved: The hashes of the saved entries: see `capture.py`. None if they are unknown.
        bad: Entries that could not be saved, with the error.
        defaults: Keys or members that were given as defaults, by any process. No default fills
            them in again, so that a deleted key stays deleted. Of an object: only fields that its
            constructor makes in this process, and deleted fields.
        saved_defaults: The stored part of `defaults`.
        declared: Whether the store has the node.
        weight: Bytes of an encoded entry, on the average of the last capture.
        capture: The node's part of the capture that is being encoded.
        unreachable: Whether no root reaches the node: nothing of it is saved.
        places: Of a sequence, by the elements' `id`: the entries of elements that are no inline
            containers of the sequence, but hold some or may change.
        metadata: The stored description (`Kind.describe`).
    """

    __slots__ = (
        "__weakref__",
        "all_dirty",
        "bad",
        "capture",
        "compare",
        "declared",
        "defaults",
        "drops",
        "first",
        "id",
        "kept",
        "key_type",
        "keys",
        "kind",
        "log",
        "metadata",
        "name",
        "obj",
        "places",
        "referrers",
        "saved",
        "saved_defaults",
        "shape",
        "touched",
        "tracker",
        "unreachable",
        "weight",
    )

    def __init__(
        self, tracker: Tracker, node_id: int, kind: Kind, obj: Any, name: str | None = None
    ) -> None:
        self.tracker: Tracker = tracker
        self.id: int = node_id
        self.kind: str = kind.name
        self.shape: str = kind.shape
        self.obj: Any = obj
        self.name: str | None = name
        self.referrers: dict[tuple[int, Any], None] = {}
        self.unreachable = False
        self.places: dict[int, ItemRef] = {}
        self.metadata: Any = None
        self.keys: dict[Any, bool | None] = {}
        self.touched: dict[Any, Any] = {}
        self.log: dict[Any, bool | None] | None = None
        self.drops: dict[Any, bool] = {}
        self.key_type: type | None = None
        self.compare: bool = False
        self.all_dirty: bool = False
        self.first: int = 0
        self.kept: Kept = Kept() if kind.shape == "sequence" else _NO_ITEMS
        self.saved: Any = None
        self.weight: int = 64
        self.bad: dict[Any, Any] = {}
        self.defaults: frozenset[Hashable] = frozenset()
        self.saved_defaults: frozenset[Hashable] = frozenset()
        self.declared: bool = False
        self.capture: NodeCapture | None = None

    @property
    def path(self) -> str:
        """The path of the node, as code would write it."""
        steps: list[str] = []
        node, seen = self, {self}
        while node.name is None:
            referrers = [
                (self.tracker.nodes.get(referrer_id), key) for referrer_id, key in node.referrers
            ]
            known = [
                (referrer, key)
                for referrer, key in referrers
                if referrer is not None and referrer not in seen
            ]
            if not known:
                return f"node {node.id}{''.join(reversed(steps))}"
            node, key = known[0]
            seen.add(node)
            steps.append(node.step(key))
        return f"{node.name}{''.join(reversed(steps))}"

    def step(self, key: Any) -> str:
        """Return one entry as a part of a path."""
        if self.shape == "set":
            return ""
        if self.kind == "object":
            return f".{key}"
        if type(key) is ItemRef:
            key = self.locate([key]).get(key, "…")
            return f"[{key}]"
        if type(key) is str:
            return f'["{key}"]'
        try:
            return f"[{key!r}]"
        except RecursionError:
            return f"[a {type(key).__name__}]"

    def place_of(self, key: Any) -> str:
        """Name an entry as long as it is stored; all items of a sequence share one name."""
        return f"{self.id}/{key}" if type(key) is str else f"{self.id}"

    def place(self, slot: int) -> ItemRef:
        """Return the entry of an element of a sequence, by its position."""
        element = item_of(self.obj, slot)
        known = self.places.get(id(element))
        if known is None and is_container(element) and element._node_ is self:
            known = element._key_
        if type(known) is ItemRef and known.ident == id(element):
            known.number = self.first + slot
            return known
        made = self.places[id(element)] = ItemRef(self.first + slot, id(element))
        return made

    def locate(self, places: Iterable[ItemRef]) -> dict[ItemRef, int]:
        """Find the present positions of elements of a sequence; leave out elements that are gone.

        An element is first searched at its last known position, then at positions shifted as those
        of other elements; one search through the whole sequence finds the rest.
        """
        obj, first = self.obj, self.first
        found: dict[ItemRef, int] = {}
        slots: dict[int, int] | None = None
        drift = 0
        for place in places:
            for slot in (place.number - first, place.number - first + drift):
                if _is_at(obj, slot, place.ident):
                    found[place] = slot
                    break
            else:
                if slots is None:
                    slots = {id(item): slot for slot, item in enumerate(items_of(obj))}
                if place.ident in slots:
                    found[place] = slots[place.ident]
                    drift = found[place] - (place.number - first)
            if place in found:
                place.number = first + found[place]
        return found

    def mark_item(self, slot: int) -> None:
        """Mark one item of a sequence, unless it came since the last cut anyway."""
        index = self.kept.index_at(slot)
        if index is not None:
            self.keys[index] = None

    def growth(self) -> int:
        """Return by how much recorded writes made a mapping or set longer since the last cut."""
        return countOf(self.keys.copy().values(), True) - countOf(self.drops.values(), True)

    def take_keys(self) -> dict[Any, bool | None]:
        """Take over the dirty keys, with the lock held.

        A thread that records without the lock writes to `log`, and then checks that `log` is still
        the same. So the log is closed first and copied afterwards: a thread whose key was not
        copied finds the log closed.
        """
        self.log = None
        taken, self.keys = self.keys, {}
        return dict(taken)

    def restore(self, keys: Iterable[Any], drops: Iterable[Any], touched: Iterable[Any]) -> None:
        """Mark again entries that a capture had taken over, as older than the present marks.

        They do not count for `growth`: the length at the last cut includes them already.
        """
        self.touched = dict.fromkeys(touched) | self.touched
        recording = self.log is not None
        newer = self.take_keys()
        older: dict[Any, bool | None] = dict.fromkeys(k for k in keys if k not in self.drops)
        self.keys = older | newer
        self.drops = dict.fromkeys(drops, False) | self.drops
        if recording:
            self.log = self.keys


def _is_at(items: Any, slot: int, ident: int) -> bool:
    try:
        return slot >= 0 and id(item_of(items, slot)) == ident
    except IndexError:
        return False

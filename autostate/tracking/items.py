"""The entries of a list or deque: its items, which may change their positions."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import repeat
from operator import attrgetter, eq, sub
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from autostate.codec.bound import is_container
from autostate.tracking.kept import Kept
from autostate.tracking.node import LARGE, Entries
from autostate.tracking.raw import item_of, items_at, items_of

if TYPE_CHECKING:
    from autostate.tracking.node import Node


_number: Final = attrgetter("number")
_ident: Final = attrgetter("ident")


class ItemRef(Struct, eq=False, gc=False):
    """The entry of a sequence: one item, which may change its position.

    It holds two ints, so that the garbage collector need not look at it. Millions of them are made
    when a list is rehydrated.

    Attributes:
        number: The last known position of the item, counted from `SequenceEntries.first`.
        ident: The `id` of the item.
    """

    number: int
    ident: int


class SequenceEntries(Entries, shape="sequence"):
    """The items of a list or deque.

    Attributes:
        begun: Whether the program has given the first content.
        first: The number of the first item in the counting of `ItemRef`. It changes when items come
            or go at the left end, so that most items keep their numbers.
        kept: Which items were there at the last cut, and where they are now.
        refs: By the items' `id`: the entries of items that are no inline containers of the
            sequence, but hold some or may change.
    """

    __slots__ = ("begun", "first", "kept", "refs")

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.begun: bool = False
        self.first: int = 0
        self.kept: Kept = Kept()
        self.refs: dict[int, ItemRef] = {}

    def step(self, key: Any) -> str:
        """Return one entry, or a position, as a part of a path."""
        position = self.locate([key]).get(key, "…") if type(key) is ItemRef else key
        return f"[{position}]"

    def at(self, slot: int) -> ItemRef:
        """Return the entry of an item, by its position."""
        node = self.node
        item = item_of(node.obj, slot)
        known = self.refs.get(id(item))
        if known is None and is_container(item) and item._node_ is node:
            known = item._key_
        if type(known) is ItemRef and known.ident == id(item):
            known.number = self.first + slot
            return known
        made = self.refs[id(item)] = ItemRef(self.first + slot, id(item))
        return made

    def slots(self, key: Any) -> list[int]:
        """List the positions of an item."""
        return list(self.locate([key]).values()) if type(key) is ItemRef else []

    def locate(self, keys: Iterable[ItemRef]) -> dict[ItemRef, int]:
        """Find the present positions of items; leave out items that are gone.

        An item is first searched at its last known position, then at positions shifted as those
        of other items; one search through the whole sequence finds the rest.
        """
        obj, first = self.node.obj, self.first
        keys = [*keys]
        unmoved = self.unmoved(keys)
        if unmoved is not None:
            return dict(zip(keys, unmoved, strict=True))
        found: dict[ItemRef, int] = {}
        slots: dict[int, int] | None = None
        drift = 0
        for ref in keys:
            for slot in (ref.number - first, ref.number - first + drift):
                if _is_at(obj, slot, ref.ident):
                    found[ref] = slot
                    break
            else:
                if slots is None:
                    slots = {id(item): slot for slot, item in enumerate(items_of(obj))}
                if ref.ident in slots:
                    found[ref] = slots[ref.ident]
                    drift = found[ref] - (ref.number - first)
            if ref in found:
                ref.number = first + found[ref]
        return found

    def unmoved(self, keys: list[ItemRef]) -> list[int] | None:
        """Return the positions of items; None unless all are at their last known positions."""
        slots = [*map(sub, map(_number, keys), repeat(self.first))]
        with suppress(IndexError):
            if min(slots, default=0) >= 0:
                idents = map(id, items_at(self.node.obj, slots))
                return slots if all(map(eq, idents, map(_ident, keys))) else None
        return None

    def forget(self, key: Any) -> None:
        """Forget the entry of an item that has no container inside any more."""
        if type(key) is ItemRef:
            self.refs.pop(key.ident, None)

    def forget_gone(self, length: int) -> None:
        """Forget the entries of items that are gone, if these are more than those there."""
        if len(self.refs) > 2 * length + LARGE:
            refs = self.refs
            self.refs = {id(i): refs[id(i)] for i in items_of(self.node.obj) if id(i) in refs}

    def mark(self, slot: int) -> None:
        """Mark one item, unless it came since the last cut anyway."""
        index = self.kept.index_at(slot)
        if index is not None:
            self.keys[index] = None


def _is_at(items: Any, slot: int, ident: int) -> bool:
    try:  # a negative index would count from the right
        return slot >= 0 and id(item_of(items, slot)) == ident
    except IndexError:
        return False

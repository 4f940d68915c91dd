"""The items of a sequence as they were saved last: what was written past the barrier differs.

`heapq`, or `list.reverse(queue)`, writes past the methods of any subclass, so that a full compare
has to look at all items. To encode them for their hashes takes a hundred times as long as to
compare their identities with those of a shallow copy. The copy keeps the items alive: so the same
object is the same item. An atom never changes, each write to a persisted container is marked, and
everything else is watched.

The copy must not make a plain container look held by somebody, or it would never be converted: in
the place of such an item is its `ItemRef`, which follows the item. A persisted container has one
more reference in a copy, which `copies_of` counts.

What does not work: `copy == items` takes a thirtieth of the time, and calls `__eq__`: it takes
1 for True, and runs code of the program.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import compress, count, islice, repeat
from operator import attrgetter, eq, is_, is_not, not_
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from autostate.tracking.barrier import VARIANTS, size
from autostate.tracking.items import ItemRef, SequenceEntries
from autostate.tracking.kept import gaps
from autostate.tracking.kind import PLAIN
from autostate.tracking.raw import items_of, iterate, node_of
from autostate.tracking.search import ATOMS

if TYPE_CHECKING:
    from autostate.tracking.kept import Segment
    from autostate.tracking.node import Node

_ident_of: Final = attrgetter("_key_.ident")

_SPLICES: Final = 32
"""Ranges of a copy that are replaced one by one; with more of them the copy is made anew."""


class Saved(Struct):
    """The saved state of a sequence.

    Attributes:
        first: The number of the first item.
        hashes: The hash of each encoded item, or UNKNOWN.
        sure: Whether the store certainly holds these items and no others.
        items: The items, with an `ItemRef` in the place of a plain container; None if they are not
            known, or few.
    """

    first: int
    hashes: array[int]
    sure: bool = True
    items: list[Any] | None = None

    @property
    def end(self) -> int:
        """The number after the last item."""
        return self.first + len(self.hashes)


def copied(node: Node, items: list[Any]) -> list[Any] | None:
    """Make some items parts of a copy; None if that is not possible.

    Args:
        node: The node that has the items.
        items: A list that nothing else uses.
    """
    if PLAIN.keys().isdisjoint(map(type, items)):
        return items
    assert isinstance(node.entries, SequenceEntries)
    refs = node.entries.refs
    for at, item in enumerate(items):
        if type(item) in PLAIN:
            ref = refs.get(id(item))
            if ref is None:
                return None
            items[at] = ref
    return items


def spliced(
    copy: list[Any], segments: list[Segment], length: int, fresh: Iterable[list[Any]]
) -> list[Any]:
    """Bring a copy up to date: where items stayed, it is not read.

    Args:
        copy: The copy.
        segments: The items that stayed.
        length: The number of all items that there are.
        fresh: The others: those of each gap between segments, and of the gaps at the ends.
    """
    if len(segments) > _SPLICES:
        news = iter(fresh)
        made = next(news)
        for (start, stop, _), new in zip(segments, news, strict=True):
            made += copy[start:stop]
            made += new
        return made
    changes = zip(gaps(segments, len(copy), length), fresh, strict=True)
    for (old, _), new in reversed([*changes]):
        if old or new:
            copy[old.start : old.stop] = new
    return copy


def is_followed(node: Node) -> bool:
    """Tell whether the items of a node can be compared with a copy of the saved ones."""
    entries = node.entries
    if not isinstance(entries, SequenceEntries) or entries.all_dirty or entries.bad:
        return False
    saved: Saved | None = entries.saved
    return saved is not None and saved.items is not None and type(node.obj) in VARIANTS


def is_as_marked(node: Node) -> bool:
    """Tell whether the marks of a node say all that differs from the copy; the lock is held."""
    entries = node.entries
    assert isinstance(entries, SequenceEntries)
    copy: list[Any] = entries.saved.items
    length, segments = size(node.obj), entries.kept.segments
    if segments and (segments[-1].stop > len(copy) or segments[-1].end > length):
        return False
    if node not in node.tracker.dirty_nodes and (len(copy) != length or len(segments) > 1):
        return False
    for segment in segments:
        if all(map(is_, *_pair(copy, node.obj, segment))):
            continue
        start, stop, at = segment
        before, now = copy[start:stop], items_of(node.obj)[at : segment.end]
        different = compress(count(), map(is_not, before, now))
        if not all(start + i in entries.keys or _is_item(before[i], now[i]) for i in different):
            return False
    return True


def _pair(copy: list[Any], obj: Any, segment: Segment) -> tuple[Iterator[Any], Iterator[Any]]:
    """Iterate over items as they were, and as they are; no list is made."""
    start, stop, at = segment
    known: Any = iter(copy)
    now: Any = iterate(obj)
    if start:
        known.__setstate__(start)  # the index of the next item: none is skipped one by one
    if at and isinstance(obj, list):
        now.__setstate__(at)
    elif at:
        now = islice(now, at, None)
    return (known if stop == len(copy) else islice(known, stop - start)), now


def _is_item(known: Any, item: Any) -> bool:
    return type(known) is ItemRef and known.ident == id(item)


def unresolved_slots(node: Node) -> list[int]:
    """List the positions of items that may have to be converted or watched."""
    items = items_of(node.obj)
    slots: list[int] = [*range(len(items))]
    for types, resolved in ((ATOMS, _always), (VARIANTS, _are_inline)):
        which = [*map(types.__contains__, map(type, items))]
        if True in which and resolved(node, [*compress(items, which)]):
            rest = [*map(not_, which)]
            items, slots = [*compress(items, rest)], [*compress(slots, rest)]
    return slots


def _always(*_: Any) -> bool:
    return True


def _are_inline(node: Node, containers: list[Any]) -> bool:
    """Tell whether persisted containers are inline items of a node, each at one position."""
    idents = [*map(id, containers)]
    with contextlib.suppress(AttributeError):  # one of them is a node, and has no `ItemRef`
        return (
            all(map(is_, map(node_of, containers), repeat(node)))
            and all(map(eq, map(_ident_of, containers), idents))
            and len({*idents}) == len(idents)
        )
    return False


def copies_of(container: Any) -> int:
    """Count the references to a persisted container from the copy in which it is."""
    node: Node | None = container._node_
    if node is None or not isinstance(node.entries, SequenceEntries):
        return 0
    ref, entries = container._key_, node.entries
    saved: Saved | None = entries.saved
    if saved is None or saved.items is None or type(ref) is not ItemRef:
        return 0
    index = entries.kept.index_at(ref.number - entries.first)
    return int(index is not None and index < len(saved.items) and saved.items[index] is container)

"""Converting many plain containers at once.

The first save of a large state converts every container in it; Python code for each of them took
most of the time of the save. Here some hundred dicts or lists are replaced by a few calls of C,
level by level: the values of a node first, then the containers inside these. A special case (a
container that somebody holds, a large one, one of another type) is left to `Graph.convert`.

No other thread runs between the steps of a replacement: one call of C makes them all, the collector
is off, and the interpreter switches threads only in code of Python. So a container is replaced only
if it is still there and nobody else holds it, and the copy has its content. No step may be one of
which Python tells audit hooks, which are such code: an assignment to `__class__`, `id()`.
"""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, compress, repeat, starmap
from operator import and_, call, eq, is_, not_
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from autostate.collector import aging, untracking
from autostate.tracking import refcount
from autostate.tracking.barrier import INTERCHANGEABLE, VARIANT_SETS, VARIANTS, kind_of, size
from autostate.tracking.graph import Graph
from autostate.tracking.items import ItemRef, SequenceEntries
from autostate.tracking.kind import KINDS, PLAIN, Kind
from autostate.tracking.node import LARGE
from autostate.tracking.raw import drain, item_of, key_of, node_of
from autostate.tracking.refcount import IN_A_BATCH
from autostate.tracking.search import ATOMS
from autostate.tracking.watched import Watched

if TYPE_CHECKING:
    from autostate.tracking.node import Node

_LEVELS: Final = 8
"""Levels of containers that are converted here. A chain of thousands could be converted, too, but
its encoding, which makes one of its containers after another a node, would take minutes."""


_FILL: Final[dict[type, Callable[..., Any]]] = {dict: dict.update, list: list.extend}
"""By plain type: what copies the content into an empty container."""

_READ: Final[dict[type, Callable[..., Any]]] = {
    list: list.__getitem__,
    deque: deque.__getitem__,  # in the middle of a million items it takes some microseconds
}
"""By the type of a parent: how a value is read, if it is no mapping."""


class Group(Struct):
    """Values of one type, and where they are.

    Attributes:
        kind: The kind of their parents.
        parents: The persisted containers that hold them.
        slots: Their keys or positions there.
        keys: The entries of the node to which they belong.
        values: The values; nothing else in this module refers to them.
        level: The number of containers around the values, inside the entry.
    """

    kind: Kind
    parents: list[Any]
    slots: list[Any]
    keys: list[Any]
    values: list[Any]
    level: int = 0

    def only(self, which: list[bool]) -> Group:
        """Make a group of some of the values."""
        parents, slots = [*compress(self.parents, which)], [*compress(self.slots, which)]
        keys, values = [*compress(self.keys, which)], [*compress(self.values, which)]
        return Group(self.kind, parents, slots, keys, values, self.level)


def convert_new(node: Node, slots: list[Any]) -> None:
    """Convert at once what a new state object holds; what somebody holds is left to the cut.

    The program may read a container in the next statement and keep it: from then on it would stay
    plain, and what is written to it would have no known writer.

    Args:
        node: The node of the object; the lock is held.
        slots: The slots that were filled: of many, none is converted.
    """
    if node.obj._node_ is not node or len(slots) > LARGE:  # another thread may have deleted it
        return
    batch = Batch(node)
    batch.convert([slot for slot in slots if type(item_of(node.obj, slot)) in PLAIN])
    graph = node.tracker.part(Graph)
    for container, slot, key in batch.left:
        if container is node.obj and node.kind.shape != "mapping":
            continue  # the cut gives the items their entries
        complete = False
        with contextlib.suppress(RecursionError):  # it is reported when it is encoded
            complete = graph.convert(container, slot, node, key)
        # The cut finds that what is around it is converted, and looks no further.
        if container._node_ is not node:
            node.tracker.mark_unresolved(container)
        elif not complete:
            node.tracker.part(Watched).again(node, key)


class Batch:
    """The conversion of some values of one node, and of everything inside them.

    Args:
        node: The node; the lock of its tracker is held.

    Attributes:
        left: What is left to `Graph.convert`: the container, the slot there, and the entry.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._groups: list[Group] = []
        self.left: list[tuple[Any, Any, Any]] = []

    def convert(self, slots: list[Any]) -> None:
        """Convert the plain dicts and lists in some slots of the node that nobody holds."""
        node, parent = self._node, self._node.obj
        kind, entries = kind_of(parent), node.entries
        if kind.shape == "sequence" and slots and max(slots) >= size(parent):
            slots = [slot for slot in slots if slot < size(parent)]  # items were removed meanwhile
        group = Group(kind, [parent] * len(slots), slots, slots, [])
        # Comparing a key of another type may run code of the program.
        if not _is_readable(kind) or not INTERCHANGEABLE.issuperset(map(type, slots)):
            self._leave(group)
            return
        group.values = [*map(_READ.get(kind.builtin, dict.get), group.parents, slots)]
        if isinstance(entries, SequenceEntries):
            if not entries.refs.keys().isdisjoint(map(id, group.values)):
                self._leave(group)  # an item was watched, and has an entry
                return
            group.keys = [ItemRef(entries.first + slot, 0) for slot in slots]
        self._divide(group)
        del group  # it refers to each container
        self._convert_all()

    def convert_inside(self, containers: list[Any], keys: list[Any]) -> None:
        """Convert what is inside some inline dicts and lists of the node, of these entries."""
        types = [*map(type, containers)]
        for name in ("dict", "list"):
            which = [*map(VARIANT_SETS[name].__contains__, types)]
            found = [*compress(containers, which)]
            if found:
                self._look_inside(KINDS[name], found, [*compress(keys, which)], 1)
        self._convert_all()

    def _convert_all(self) -> None:
        while self._groups:
            self._convert(self._groups.pop())

    def _leave(self, group: Group) -> None:
        self.left += zip(group.parents, group.slots, group.keys, strict=True)

    def _divide(self, group: Group) -> None:
        """Divide values by type; leave out those that are complete."""
        types = [*map(type, group.values)]
        for cls in {*types} - ATOMS:
            one = group.only([*map(is_, types, repeat(cls))])
            if cls in _FILL and group.level < _LEVELS:
                self._groups.append(one)
                continue
            if cls in VARIANTS:
                ours = map(is_, map(node_of, one.values), repeat(self._node))
                here = map(is_, map(key_of, one.values), one.keys)
                one = one.only([*map(not_, map(and_, ours, here))])
            self._leave(one)

    def _convert(self, group: Group) -> None:
        """Convert plain containers of one type, except those that are held, or large."""
        values = group.values
        if {*map(refcount.count, values)} != {IN_A_BATCH} or max(map(len, values)) > LARGE:
            alone = map(eq, map(refcount.count, values), repeat(IN_A_BATCH))
            fits = [*map(and_, alone, map(LARGE.__ge__, map(len, values)))]
            self._leave(group.only([*map(not_, fits)]))
            group = group.only(fits)
        if not group.values:
            return
        kind = PLAIN[type(group.values[0])]
        del values
        news = self._replace(group, kind)
        if not news:
            self._leave(group)
            return
        group.values = []  # they are freed, and what is in them counts
        self._look_inside(kind, news, group.keys, group.level + 1)

    def _replace(self, group: Group, kind: Kind) -> list[Any]:
        """Replace containers by persisted ones; return these, or none if somebody holds any.

        Args:
            group: The containers.
            kind: Their kind.
        """
        olds, parents, slots, keys = group.values, group.parents, group.slots, group.keys
        read = _READ.get(group.kind.builtin, dict.get)
        put = group.kind.builtin.__setitem__
        news = [*map(kind.builtin.__new__, repeat(kind.nested, len(olds)))]
        drain(map(setattr, news, repeat("_node_"), repeat(self._node)))
        drain(map(setattr, news, repeat("_key_"), keys))
        done: list[bool] = []
        tracked_before: list[bool] = []
        there = map(is_, map(read, parents, slots), olds)
        alone = map(eq, map(refcount.count, olds), repeat(IN_A_BATCH))
        # Done for all, or for none: `compress` asks for the condition first.
        puts = chain.from_iterable(compress([map(put, parents, slots, news)], done))
        steps = (
            (done.extend, map(all, [map(and_, there, alone)])),
            (tracked_before.extend, map(gc.is_tracked, olds)),
            (drain, map(_FILL[kind.builtin], news, olds)),
            (drain, puts),
            *((function,) for function in aging(len(olds))),
        )
        collecting = gc.isenabled()
        try:
            gc.disable()  # a collection may run finalizers, which are code of the program
            drain(starmap(call, steps))
        finally:
            if collecting:
                gc.enable()
        if not done[0]:
            return []
        if type(keys[0]) is ItemRef and parents[0] is self._node.obj:
            drain(map(setattr, keys, repeat("ident"), map(id, news)))
        if kind.builtin is dict and self._node.name is not None:
            self._untrack([*compress(news, map(not_, tracked_before))])
        return news

    @staticmethod
    def _untrack(dicts: list[Any]) -> None:
        """Let the garbage collector forget copies of dicts that it did not track."""
        function = untracking(len(dicts))
        if function is not None:
            drain(map(function, dicts))

    def _look_inside(self, kind: Kind, parents: list[Any], keys: list[Any], level: int) -> None:
        """List what is to be converted inside persisted dicts, or lists."""
        is_dict = kind.builtin is dict

        def values() -> Iterator[Any]:
            return chain.from_iterable(map(dict.values, parents) if is_dict else parents)

        if ATOMS.issuperset(map(type, values())):
            return
        lengths = [*map(len, parents)]
        slots = [*chain.from_iterable(parents if is_dict else map(range, lengths))]
        holders = [*chain.from_iterable(map(repeat, parents, lengths))]
        entries = [*chain.from_iterable(map(repeat, keys, lengths))]
        group = Group(kind, holders, slots, entries, [*values()], level)
        group = group.only([cls not in ATOMS for cls in map(type, group.values)])
        if INTERCHANGEABLE.issuperset(map(type, group.slots)):
            self._divide(group)
        else:
            self._leave(group)


def _is_readable(kind: Kind) -> bool:
    """Tell whether the values of a kind are read and replaced by one call of C each."""
    return not kind.swap and kind.shape != "set"

"""The containers that were written since the last cut: re-armed and resolved, in slices or at once.

To *resolve* a written container is to convert or watch the values that it holds, to let containers
that were put into it belong to it, and to detach it if it was itself taken out of the state.
`prepare` resolves in slices, so that little is left for the cut. Resolving is invisible, and needs
no common moment. The cut needs one: it re-arms all containers before it reads any (`barrier.py`).
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import chain, compress, repeat
from operator import is_, not_, or_, sub
from typing import Any, Final

from autostate.process.interrupts import is_passing
from autostate.tracking import refcount
from autostate.tracking.barrier import (
    INTERCHANGEABLE,
    VARIANT_SETS,
    VARIANTS,
    held_keys,
    size,
)
from autostate.tracking.flat import are_flat, is_flat
from autostate.tracking.graph import Graph
from autostate.tracking.items import ItemRef, SequenceEntries
from autostate.tracking.late_calls import LateCalls
from autostate.tracking.live_conversion import Batch
from autostate.tracking.node import LARGE, KeyedEntries, Marks, Node
from autostate.tracking.parts import free
from autostate.tracking.raw import FEW, by_node, item_of, items_at, items_of, key_of, node_of
from autostate.tracking.refcount import IN_A_BATCH
from autostate.tracking.resting import Resting
from autostate.tracking.saved_items import copies_of, is_as_marked, is_followed, unresolved_slots
from autostate.tracking.search import ATOMS, entries_inside, slots_of
from autostate.tracking.tally import Tally
from autostate.tracking.watched import Watched

logger = logging.getLogger("autostate")

SLICE: Final = 500
"""Containers or entries that `prepare` handles with the lock held: less than a millisecond."""


_ROUNDS: Final = 8
"""How often `prepare` begins again with containers that were written meanwhile."""


class Written:
    """The containers of one tracker that were written.

    Attributes:
        containers: Those that are still disarmed or recording.
        held: Inline ones that somebody held at the cut, so that a late call can reach them.
        late_calls: The containers that a late call can reach.
        tally: What they amount to, as far as they are read: see `count`.
    """

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._graph = tracker.part(Graph)
        self._watched = tracker.part(Watched)
        self._resting = tracker.part(Resting)
        self.late_calls = tracker.part(LateCalls)
        self.containers: list[Any] = []
        self.held: list[Any] = []
        self.tally = Tally()
        self._swept = False
        self._resolved: set[Node] = set()  # by the present `prepare`, with all their values

    def mark(self, container: Any, *, all_dirty: bool) -> None:
        """Mark a written container; `all_dirty`: any entry of it may have changed."""
        node: Node = container._node_
        if node.obj is container:
            node.entries.all_dirty = node.entries.all_dirty or all_dirty
            self._tracker.dirty_nodes[node] = None
        else:  # its entry is marked if the container is still in it
            self._tracker.mark_unresolved(container)

    def count(self) -> Tally:
        """Read what was written since the last call, in slices; return the sums over all."""
        tally = self.tally
        while tally.count < len(self.containers):
            with self._tracker.lock:
                tally.read(self.containers)
        return tally

    def forget_unbound(self) -> None:
        """Forget containers that belong to no store any more."""
        self.forget(lambda node: node is None)

    def forget(self, of: Callable[[Node | None], bool]) -> None:
        """Forget the containers whose node fulfils a condition."""
        self.containers = [c for c in self.containers if not of(c._node_)]
        self.tally.shorten(0)  # read again
        self._tracker.unresolved = {
            i: c for i, c in self._tracker.unresolved.items() if not of(c._node_)
        }
        self.late_calls.forget(of)
        self.held = [c for c in self.held if not of(c._node_)]

    def prepare(self, pause: Callable[[], None], *, full_compare: bool = False) -> None:
        """Resolve written containers in slices, which leaves less work for the cut.

        Args:
            pause: Called between slices, without the lock.
            full_compare: The cut will be a full compare: convert in all nodes.
        """
        self._resolved = set()
        for _ in range(_ROUNDS):  # writers may never come to an end
            for _ in range(0, len(self.containers), SLICE):
                with self._tracker.lock:
                    self.collect(SLICE)
                if self.containers:
                    pause()
            with self._tracker.lock:
                containers = list(self._tracker.unresolved.values())
            if containers:
                self._resolve_each(containers, pause)
            elif len(self.containers) <= SLICE:
                break
        if full_compare:
            self._look_into_all(pause)
            self._swept = True
        self._resolved = set()

    def resolve_all(self) -> None:
        """Resolve all containers that are left; the lock is held."""
        while self._tracker.unresolved:
            self._resolve_each(list(self._tracker.unresolved.values()), None)
        self._graph.forget(all_resolved=True)

    def _resolve_each(self, containers: list[Any], pause: Callable[[], None] | None) -> None:
        """Resolve containers, in slices; without a pause the caller holds the lock all the time."""
        for start in range(0, len(containers), SLICE):
            with self._tracker.lock:
                self._graph.forget()
                self._resolve_together(containers[start : start + SLICE])
            if pause is not None:
                pause()
        unresolved = self._tracker.unresolved
        containers = [*compress(containers, map(unresolved.__contains__, map(id, containers)))]
        done = 0
        containers.reverse()  # outer ones first: a large one becomes a node, with many entries
        while containers:
            container = containers.pop()
            with self._tracker.lock:
                listed = self._tracker.unresolved.pop(id(container), None) is not None
                if not listed or container._node_ is None:
                    continue  # resolved or detached during a pause
                self._graph.forget()
                slots: list[Any] = []
                with self._isolated(container):
                    slots = self._slots_to_resolve(container)
                    if pause is not None and _is_marked_as_a_whole(container):
                        self._resolved.add(container._node_)
            for start in range(0, max(len(slots), 1), SLICE):
                with self._tracker.lock:
                    self._graph.forget()
                    if container._node_ is not None:  # it may be detached meanwhile
                        with self._isolated(container):
                            self._resolve(container, slots[start : start + SLICE])
                if pause is None:
                    continue
                done += min(SLICE, len(slots) - start) + 1
                if done >= SLICE:
                    done = 0
                    pause()
            free(slots)

    def _resolve_together(self, containers: list[Any]) -> None:
        """Resolve those of some containers that are still in their entries."""
        node: Node | None = containers[0]._node_
        if node is None or node.obj is containers[0]:
            return
        unresolved, keys = self._tracker.unresolved, [*map(key_of, containers)]
        types = [*map(type, containers)]
        kinds = VARIANT_SETS["dict"] | VARIANT_SETS["list"]
        if not kinds.issuperset(types):
            which = [*map(kinds.__contains__, types)]
            containers, keys = [*compress(containers, which)], [*compress(keys, which)]
        values = _values(node, keys)
        if values is None:
            return
        here = [*map(is_, values, containers)]
        if False in here and node.kind.shape == "mapping":  # some are inside of the values
            inner = [*map(not_, here)]
            wanted = {*map(id, compress(containers, inner))}
            found = entries_inside(node, [*compress(keys, inner)], wanted)
            inside = map(is_, map(found.get, map(id, containers), repeat(found)), keys)
            here = [*map(or_, here, inside)]
        ours = map(is_, map(node_of, containers), repeat(node))
        listed = map(unresolved.__contains__, map(id, containers))
        small = map(LARGE.__ge__, map(len, containers))
        which = [*map(all, zip(here, ours, listed, small, strict=True))]
        containers, keys = [*compress(containers, which)], [*compress(keys, which)]
        for container in containers:
            del unresolved[id(container)]
        node.entries.touched.update(dict.fromkeys(keys))
        self._tracker.dirty_nodes[node] = None
        batch = Batch(node)
        batch.convert_inside(containers, keys)
        for inner, slot, key in batch.left:
            with self._isolated(inner):
                self._convert(inner, slot, node, key)

    def _look_into_all(self, pause: Callable[[], None] | None) -> None:
        """Convert or watch the values in all nodes that can be compared, in slices.

        Large mappings that are marked as a whole, and that `prepare` has just resolved, are left
        out: else each of their values would be looked at twice.
        """
        with self._tracker.lock:
            nodes = self._to_compare(self._unsettled())
            nodes = [node for node in nodes if node not in self._resolved]
        for node in nodes:
            with self._tracker.lock:
                # the cut looks at the items that differ
                known = is_followed(node) or is_flat(node.obj)
                slots = [] if known else slots_of(node.obj)
                slots = self._watched.not_pictured(node, slots)
            for start in range(0, len(slots), SLICE):
                with self._tracker.lock:
                    if not self._tracker.closed and self._tracker.nodes.get(node.id) is node:
                        self._graph.look_inside(node, slots[start : start + SLICE], again=True)
                if pause is not None:
                    pause()

    def collect(self, most: int | None = None) -> None:
        """Re-arm all written containers, and only then mark their entries.

        The code is written for speed, because the event loop is held during a cut.

        Args:
            most: The largest number of containers. Only a cut needs all of them at one moment.
        """
        at = 0 if most is None else -most
        written = self.containers[at:]
        del self.containers[at:]
        self.tally.shorten(len(self.containers))
        # First loop: no container is read before all are armed, or the cut would mix several
        # moments. A thread that writes from here on waits for the lock.
        classes = [*map(type, written)]
        for container, variants in zip(written, map(VARIANTS.__getitem__, classes), strict=True):
            container.__class__ = variants.armed
        container = None  # a variable is a reference, and what follows counts
        for some, kinds in by_node(written, classes):
            if not self._touch_all(some):
                self._touch_each(some, kinds)

    def _touch_each(self, written: list[Any], classes: list[type]) -> None:
        """Mark the entries of written containers, one by one; `classes` are their former ones."""
        last: Node | None = None
        unresolved = self._tracker.unresolved
        references, get = refcount.count, dict.get
        for index, cls in enumerate(classes):
            found = references(written[index])  # before a variable holds it
            one: Any = written[index]
            node: Node | None = one._node_
            if node is None:
                continue  # it was detached
            held = found > _INLINE and found - copies_of(one) - _is_marked(one, node) > _INLINE
            if held or node.obj is one:
                self._look_at(one, cls is VARIANTS[cls].disarmed)
                continue
            if node is not last:
                self._tracker.dirty_nodes[node] = None
                last = node
            key = one._key_
            try:
                in_place = node.kind.shape == "mapping" and get(node.obj, key) is one
            except Exception as error:  # of a `__hash__` or `__eq__` of the user's
                if is_passing(error):
                    raise
                in_place = False
            if in_place:
                node.entries.touched[key] = None
            if not in_place or not is_flat(one):
                unresolved[id(one)] = one  # it may have been taken out

    def _touch_all(self, written: list[Any]) -> bool:
        """Mark the entries of written containers in a few calls of C.

        Returns:
            False if nothing was done: they are not all of one mapping, each the whole value of its
            entry, and held by nobody.
        """
        node = written[0]._node_ if written else None
        if node is None or not all(map(is_, map(node_of, written), repeat(node))):
            return False
        keys = [*map(key_of, written)]
        values = _values(node, keys)
        if values is None or not all(map(is_, values, written)):
            return False
        touched = node.entries.touched
        # A container that is written again after it was collected is held there.
        again = [*map(is_, map(touched.get, keys), written)] if touched else [False]
        counts = map(refcount.count, written)
        if node.kind.shape == "sequence":
            counts = map(sub, counts, map(copies_of, written))
        if {*(map(sub, counts, again) if True in again else counts)} != {IN_A_BATCH}:
            return False
        self._tracker.dirty_nodes[node] = None
        if not are_flat(written):
            self._tracker.unresolved.update(zip(map(id, written), written, strict=True))
            return True
        others: list[Any] = []
        if touched:
            others = [*filter(touched.__contains__, compress(keys, map(not_, again)))]
        touched.update(zip(keys, written, strict=True))
        touched.update(dict.fromkeys(others))  # something else was marked there, too
        return True

    def _look_at(self, container: Any, disarmed: bool) -> None:
        """Mark a node, or an inline container that somebody holds: a late call can reach it."""
        node: Node = container._node_
        self.mark(container, all_dirty=disarmed)
        if not is_flat(container):
            self._tracker.mark_unresolved(container)
        self.late_calls.add(container, disarmed=disarmed)
        if node.obj is not container:
            self.held.append(container)  # the cut has to encode its entry at once

    def _slots_to_resolve(self, container: Any) -> list[Any]:
        node: Node = container._node_
        entries = node.entries
        if node.obj is not container or entries.all_dirty:
            return slots_of(container)
        if isinstance(entries, SequenceEntries):
            kept = entries.kept
            slots = set(chain.from_iterable(kept.fresh(size(container))))
            replaced = map(kept.position_of, entries.keys)
            slots.update(slot for slot in replaced if slot is not None)
            # a deque has to look for an item in its middle
            searches = isinstance(container, deque) and len(slots) > FEW
            items = items_of(container) if searches else container
            return sorted(slot for slot in slots if type(item_of(items, slot)) not in ATOMS)
        if node.kind.shape == "set":
            return []
        return list(held_keys(container, list(entries.keys)))

    @contextlib.contextmanager
    def _isolated(self, container: Any) -> Generator[None]:
        """Let an exception in the user's own code (the `__eq__` of a key) cost one node only.

        The node reports the error when it is encoded.
        """
        node: Node = container._node_
        try:
            yield
        except BaseException as error:
            self._tracker.touch_all(node)
            self._resolved.discard(node)
            if is_passing(error):
                self._tracker.mark_unresolved(container)
                raise
            logger.debug("%s could not be looked at", node.path, exc_info=True)

    def _resolve(self, container: Any, slots: list[Any]) -> None:
        """Convert or watch the values that a written container holds."""
        node: Node = container._node_
        is_node = node.obj is container
        if not is_node:
            if self._graph.detach(container):
                return
            self._tracker.touch(node, container._key_)
        if not is_node and size(container) > LARGE:
            self._graph.promote(container)
            return
        if not is_node:
            for slot in slots:
                self._convert(container, slot, node, container._key_)
            return
        batch = Batch(node)
        batch.convert(slots)
        self._graph.look_inside(node, [slot for at, slot, _ in batch.left if at is container])
        for inner, slot, key in batch.left:
            if inner is not container:
                self._convert(inner, slot, node, key)

    def _convert(self, container: Any, slot: Any, node: Node, key: Any) -> None:
        """Convert a value in an inline container, or watch the entry of that."""
        if container._node_ is not node:
            return  # it has become a node, with entries of its own, that is listed
        try:
            complete = self._graph.convert(container, slot, node, key)
        except LookupError:
            return  # removed since the slots were listed
        except RecursionError:
            complete = False
        # a value in it refers to it, so that it became a node
        if container._node_ is not node:
            self._tracker.mark_unresolved(container)
        elif not complete:
            self._watched.again(node, key)

    def _to_compare(self, nodes: list[Node]) -> list[Node]:
        """List the nodes whose hashes are kept, and those with entries that could not be saved."""
        return [
            n
            for n in nodes
            if n.declared
            and not n.unreachable
            and (
                n.entries.saved is not None
                or n.kind.shape == "sequence"
                or n.entries.all_dirty  # it could not be read the last time
                or (n.entries.bad and size(n.obj) <= LARGE)
            )
        ]

    def _unsettled(self) -> list[Node]:
        """List the nodes without the settled ones, of which there may be very many."""
        settled, references = self._tracker.settled, self._tracker.nodes.valuerefs()
        return [n for ref in references if (n := ref()) is not None and n not in settled]

    def full_compare(self) -> None:
        """Mark all nodes that can be compared, and all entries that could not be saved."""
        if not self._swept:
            self._look_into_all(None)
        self._swept = False
        for node in self._resting.differing():
            self._graph.look_inside(node, slots_of(node.obj), again=True)
        nodes = self._unsettled()
        compared = self._to_compare(nodes)
        self._resting.note([node for node in compared if node.kind.has_fields])
        for node in compared:  # all of the state, while the event loop is held: no calls
            if node.kind.shape == "sequence" and is_followed(node):
                if is_as_marked(node):
                    continue
                self._graph.look_inside(node, unresolved_slots(node), again=True)
            node.entries.all_dirty = True
            self._tracker.dirty_nodes[node] = None
        for node in nodes:
            for key in node.entries.bad:
                self._tracker.touch(node, key)
        for node in nodes:
            if node.declared and node.entries.saved is None and _is_bypassed(node):
                self._tracker.touch_all(node)
                self._graph.look_inside(node, slots_of(node.obj), again=True)


def _is_bypassed(node: Node) -> bool:
    """Tell whether entries came or went without a mark; their hashes are kept from now on."""
    entries = node.entries
    if not isinstance(entries, KeyedEntries) or entries.length is None:
        return False
    if node.kind.builtin.__len__(node.obj) - entries.growth() == entries.length:
        return False
    entries.compare = True
    return True


def _values(node: Node, keys: list[Any]) -> Iterator[Any] | None:
    """Read the values of entries; None if that may call code of the program, or an item moved."""
    entries = node.entries
    if node.kind.shape == "mapping":
        readable = INTERCHANGEABLE.issuperset(map(type, keys))
        return map(dict.get, repeat(node.obj), keys) if readable else None
    if not isinstance(entries, SequenceEntries) or {*map(type, keys)} != {ItemRef}:
        return None
    slots = entries.unmoved(keys)
    return None if slots is None else items_at(node.obj, slots)


def _is_marked_as_a_whole(container: Any) -> bool:
    """Tell whether only its marks let a full compare look into a mapping: no hashes are kept."""
    node: Node = container._node_
    entries = node.entries
    if node.obj is not container or node.kind.shape != "mapping":
        return False
    return entries.all_dirty and entries.saved is None and not entries.bad


def _is_marked(container: Any, node: Node) -> bool:
    """Tell whether an inline container is among the marks of its node, which hold it then."""
    try:
        return node.entries.touched.get(container._key_) is container
    except Exception as error:  # of a `__hash__` or `__eq__` of the user's
        if is_passing(error):
            raise
        return False


_INLINE: Final = 2 + refcount.MEASURING
"""References to an inline container that nobody holds: its parent's, that of the list in `collect`,
and that of the stack, onto which it is read from the list."""

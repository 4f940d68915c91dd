"""The tracker of one store: which containers are dirty, the cut, and `atomic()`.

A cut works in four steps under the lock, while every writer that it concerns waits:

1. *Collect*: re-arm all containers that were written (`barrier.py` says why all of them first).
2. *Resolve*: convert the plain containers that they now hold; those that somebody else still
   references become watched. `prepare` does most of this beforehand, in slices, so that little
   is left for the cut itself: conversion is invisible and needs no common moment.
3. *Add* entries that may have changed without a mark: watched entries, and at a full compare all
   contents that can be compared.
4. *Take*: shallow copies of the dirty entries (`capture.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from operator import is_
from typing import TYPE_CHECKING, Any

from autostate.errors import CodecError, CorruptStateError
from autostate.process.interrupts import is_owned, uninterrupted
from autostate.tracking import conversion, savepoint
from autostate.tracking.barrier import (
    EVERYTHING,
    VARIANTS,
    Barrier,
    Cell,
    arm,
    changed,
    disarm,
    is_keyed,
    kind_of,
    put,
    size,
    variants_of,
)
from autostate.tracking.capture import Capture
from autostate.tracking.graph import Graph
from autostate.tracking.kind import KINDS, PLAIN
from autostate.tracking.node import LARGE, KeyedEntries, Node
from autostate.tracking.node_capture import NodeCapture, common_type
from autostate.tracking.raw import has, item_of
from autostate.tracking.rehydration import Rehydration, State
from autostate.tracking.savepoint import (
    HOLD_CHECK,
    LONGEST_HOLD,
    AtomicBlock,
    Savepoint,
    innermost,
)
from autostate.tracking.scan import Scan
from autostate.tracking.sharing import Sharing
from autostate.tracking.source import DirtySource
from autostate.tracking.undo import UndoLog
from autostate.tracking.watch import Watch
from autostate.tracking.written import Written, is_flat
from autostate.warned import shows_warnings

if TYPE_CHECKING:
    import asyncio

    from autostate.signing import Signer


logger: logging.Logger = logging.getLogger("autostate")


class Tracker:
    """What is dirty in the state objects of one store.

    Args:
        wake: Called when something becomes dirty, and when an `atomic()` block ends that had
            refused a cut. It may run under a lock and inside a signal handler: it must not block.
        signer: Signs pickled values, and verifies them; None: there are none.
        on_unknown: Returns how to treat a stored value whose type the program does not know:
            "raise" or "keep".

    Attributes:
        capture: The capture that is being encoded; None: there is none.
        unsaved: The capture that is not yet known to be durable, and has not failed.
        loops: The event loops on whose threads the state was written.
        sources: The sources of changes without a mark: see `DirtySource`.
        ending: Whether the save is the last one: an error then costs one node only, and is not
            retried.
        gate: Called before each write while this process does not own the state. It claims the
            state, or raises, so that nothing is changed. None: the process owns the state.
    """

    def __init__(
        self,
        *,
        wake: Callable[[], None],
        signer: Signer | None = None,
        on_unknown: Callable[[], str] = lambda: "raise",
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.wake = wake
        self.signer = signer
        self.on_unknown = on_unknown
        self.closed: bool = False
        self.gate: Callable[[], None] | None = None
        self._changed_past_gate = False
        self.ending: bool = False
        self.writing: tuple[Any, Any, int] | None = None
        self.savepoints: dict[Savepoint, None] = {}
        self._may_begin = True
        self._undo_log = UndoLog()
        self._warned_of_orphaned = False
        self.nodes: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()
        self.roots: dict[str, Node] = {}
        self.deleted: list[int] = []
        self.dirty_nodes: dict[Node, None] = {}
        self.written: Written = Written(self)
        self.graph: Graph = Graph(self)
        self.watch: Watch = Watch(self)
        self.sharing: Sharing = Sharing(self)
        self.sources: list[DirtySource] = []
        self.scan: Scan = Scan(self.register)
        self.converting: set[int] = set()
        self.loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self.capture: Capture | None = None
        self.unsaved: Capture | None = None
        self._refused = False
        self._marks = 0
        self._next_id = 1
        self._rehydration = Rehydration(self, {})

    # -- what the flush thread asks ----------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether anything was marked, or is seen to have changed, since the last cut."""
        if self.marked:
            return True
        with self.lock:
            if self.writing is not None:
                self.finish_write()
            written = self.written
            return bool(written.containers or written.unresolved or self.dirty_nodes) or bool(
                self._differing()
            )

    @property
    def marked(self) -> bool:
        """Whether anything was marked since the last cut."""
        written = self.written
        return bool(written.containers or written.unresolved or self.dirty_nodes or self.deleted)

    def register(self, source: DirtySource) -> None:
        """Ask a source in every cut from now on."""
        if source not in self.sources:
            self.sources.append(source)

    def _differing(self) -> int:
        return sum(source.differing() for source in self.sources)

    @property
    def needs_polling(self) -> bool:
        """Whether something can change without a mark: objects, watched entries, late calls."""
        return bool(self.written.suspects) or any(s.needs_polling() for s in self.sources)

    @property
    def activity(self) -> int:
        """A number that grows with writes; if it is the same twice, writing pauses."""
        recorded = 0
        for container in self.written.containers.copy():
            node: Node | None = container._node_
            if node is not None and node.obj is container:
                recorded += len(node.entries.keys)
        with self.lock:
            return self._marks + recorded + self._differing()

    def estimate(self) -> int:
        """Estimate the bytes that a flush would write.

        A keyed mapping whose entries are all dirty becomes disarmed, to be saved as a whole: its
        writes run at full speed again.
        """
        with self.lock:
            total = 0
            for container in self.written.containers:
                node: Node | None = container._node_
                if node is None:
                    continue
                if node.obj is not container:
                    total += (size(container) + 1) * 16
                elif type(container) is variants_of(type(container)).disarmed:
                    total += size(container) * node.entries.weight
                else:
                    keys, drops = node.entries.keys, node.entries.drops
                    total += (len(keys) + len(drops)) * node.entries.weight
                    if len(keys) >= size(container) > LARGE and node.kind.shape == "mapping":
                        changed(container)
            touched = sum(len(node.entries.touched) for node in self.dirty_nodes)
            return total + touched * 64

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return a running event loop on whose thread the state is written."""
        return next((loop for loop in list(self.loops) if loop.is_running()), None)

    # -- marks --------------------------------------------------------------------------------

    def wrote(self, container: Any, *, all_dirty: bool) -> None:
        """List a container that was armed until now; the lock is held."""
        if self.closed:
            return
        clean = not self.marked
        if self.savepoints:
            self._undo_log.written(container)
            self.written.mark(container, all_dirty=all_dirty)
            self.written.unresolved[id(container)] = container
        else:
            self.written.containers.append(container)
        self._marks += 1
        asyncio_events = sys.modules.get("asyncio.events")
        if asyncio_events is not None:
            running = asyncio_events._get_running_loop()
            if running is not None:
                self.loops.add(running)
        if clean:
            self.wake()

    def finish_write(self) -> None:
        """Mark a write that ended before its mark; the lock is held.

        Ctrl-C ended the write; or an error of the builtin did; or there was nothing to write. In
        the last two cases the container has its former length. Call it again if Ctrl-C interrupts
        it.
        """
        assert self.writing is not None
        container, key, length = self.writing
        node: Node | None = container._node_
        if node is None or self.closed:
            self.writing = None
            return
        recorded = is_keyed(container) and node.kind.shape != "sequence"
        if recorded and type(container) is variants_of(type(container)).armed:
            if key is not EVERYTHING:
                with contextlib.suppress(Exception):  # not a valid key: nothing was written
                    if has(container, key):
                        put(container, key, new=size(container) > length)
            elif size(container) != length or node.kind.name == "ordereddict":
                changed(container)
            self.writing = None
            return
        node.log = None
        arm(container)
        self.written.mark(container, all_dirty=True)
        self.written.unresolved[id(container)] = container
        self.wake()
        self.writing = None

    def pass_gate(self) -> None:
        """Call the gate, if there is one, for a write that does not use the barrier.

        Raises:
            StateInUseError: This process may not write; the gate may raise other errors, too.
        """
        if self.gate is not None:
            with self.lock:
                if self.gate is not None:
                    self.gate()

    def set_gate(self, gate: Callable[[], None] | None) -> None:
        """Call a gate before each write from now on; None: call none. The lock is held.

        Written containers are armed again, so that the next write calls the gate.
        """
        self.gate = gate
        if gate is not None:
            try:
                if self.writing is not None:
                    self.finish_write()
                self.written.collect()
            except Exception:
                self._mark_what_is_unsure()
        self.scan.guard(on=gate is not None)

    @shows_warnings
    def forked(self, gate: Callable[[], None]) -> None:
        """Continue in the child of a fork: each write calls the gate first.

        The lock may be held, and a capture under way, in a thread that does not exist here.
        """
        self.lock = threading.RLock()
        self._may_begin = True
        if self.unsaved is not None:
            with contextlib.suppress(Exception):  # left half-way by that thread: all is marked
                self.unsaved.failed()
        self._undo_blocks_of_other_threads()
        try:
            self._take_as_saved()  # the parent saves it, or this process when it claims the state
        except Exception:
            self._mark_what_is_unsure()
        self.set_gate(gate)

    def _take_as_saved(self) -> None:
        """Treat all dirty entries as saved, so that only later changes count as changes."""
        capture = self.cut()
        if capture is None:
            return
        try:
            capture.encode(None)
        except BaseException:
            capture.failed()
            raise
        capture.saved()

    def _undo_blocks_of_other_threads(self) -> None:
        """Undo the blocks that no frame of this process will end, but not those around the fork."""
        for point in reversed(list(self.savepoints)):
            if threading.get_ident() not in point.threads:
                point.outcome = False
                try:
                    self._end(point)
                except Exception:  # that thread was in the midst of a write
                    self.savepoints.pop(point, None)
                    self._mark_what_is_unsure()

    @shows_warnings
    def changed_past_the_gate(self) -> bool:
        """Tell whether something was changed past the barrier while there is a gate.

        New state objects, filled-in defaults, and a class that has another name or version in this
        process are not changes that the program has made.
        """
        with self.lock:
            if self._changed_past_gate or self.closed:
                return self._changed_past_gate
            self._changed_past_gate = self._mark_unseen()
            return self._changed_past_gate

    def _mark_unseen(self) -> bool:
        """Mark the nodes that no write has marked and that differ from the saved ones.

        Returns:
            Whether there are such nodes.
        """
        known = set(self.dirty_nodes)
        known.update(node for node in self.nodes.values() if not node.declared)
        capture = self.cut(full_compare=True)
        if capture is None:
            return False
        marked = [one for one in capture.node_captures if one.node in known]
        capture.node_captures = unseen = [
            one for one in capture.node_captures if one.node not in known
        ]
        changed, only_classes = unseen, False
        try:
            changes = [json.loads(change) for change in capture.encode(None)]
            ids = {change["id"] for change in changes}  # a class alone is still to be saved, too
            only_classes = all(change.keys() <= {"id", "metadata"} for change in changes)
            changed = [one for one in unseen if one.node.id in ids]
            capture.node_captures = [one for one in unseen if one.node.id not in ids]
            capture.saved()
        finally:
            capture.node_captures = marked + changed
            capture.failed()
        return bool(changed) and not only_classes

    def mark_unresolved(self, container: Any) -> None:
        """List a container to be resolved before the next cut."""
        self.written.unresolved[id(container)] = container

    def touch(self, node: Node, key: Any) -> None:
        """Mark one entry of a node."""
        node.entries.touched[key] = None
        self.dirty_nodes[node] = None

    # -- the cut ------------------------------------------------------------------------------

    def prepare(self, pause: Callable[[], None], *, full_compare: bool = False) -> None:
        """Resolve written containers in slices, which leaves less work for the cut.

        Args:
            pause: Called between slices, without the lock.
            full_compare: The cut will be a full compare: convert in all nodes.
        """
        try:
            with self.lock:
                for source in self.sources:
                    source.collect()
            self.written.prepare(pause, full_compare=full_compare)
        except BaseException:
            self._mark_what_is_unsure()
            raise

    def cut(
        self, *, full_compare: bool = False, paused: int | None = None, ending: bool = False
    ) -> Capture | None:
        """Take the dirty entries, as of this moment, without the writes of open blocks.

        Args:
            full_compare: Compare also contents that may have been changed past the barrier.
            paused: A thread that is held during the cut; blocks that were begun there may be open.
            ending: There will be no other cut: undo open blocks.

        Returns:
            The capture; None while blocks are open elsewhere: `wake` is called when one ends.
        """
        if savepoint.untold:
            savepoint.tell_of_dropped()
        with self.lock:
            if self.savepoints:
                self._end_left_blocks()
            if ending:
                self._undo_open_blocks()
            forward: list[Callable[[], None]] = []
            try:
                return self._cut_without_open_blocks(paused, forward, full_compare=full_compare)
            except BaseException:
                _call_backwards(forward)  # again: Ctrl-C may have struck in the midst of it
                self._mark_what_is_unsure()
                raise

    def _cut_without_open_blocks(
        self, paused: int | None, forward: list[Callable[[], None]], *, full_compare: bool
    ) -> Capture | None:
        try:
            self._refused = bool(self.savepoints) and not self._step_back(paused, forward)
            return None if self._refused else self._take(full_compare=full_compare)
        finally:
            _call_backwards(forward)

    def _mark_what_is_unsure(self) -> None:
        """Mark everything after a cut that failed half-way, for want of memory for example.

        Marks may be lost, and some disarmed containers may not be listed.
        """
        with self.lock:
            capture, self.capture = self.capture, None
            if capture is not None:
                capture.failed()
            for node in [node for node in self.nodes.values() if not node.unreachable]:
                for container in [*conversion.inline([node.obj], node), node.obj]:
                    if type(container) in VARIANTS and container._node_ is not None:
                        arm(container)
                        self.mark_unresolved(container)
                node.log, node.entries.all_dirty = None, True
                self.dirty_nodes[node] = None
            self.wake()

    def _take(self, *, full_compare: bool) -> Capture:
        if self.writing is not None:
            self.finish_write()
        capture = self.capture = self.unsaved = Capture(self)
        if self.closed:
            return capture
        self.graph.forget()
        if self.written.suspects:
            self.written.late_calls()
        self.written.collect()
        for source in self.sources:
            source.collect()
        if self.written.unresolved:
            self.written.resolve_all()
        if full_compare:
            self.written.full_compare()
        for source in self.sources:
            source.complete()
        self.graph.forget()
        nodes, self.dirty_nodes = self.dirty_nodes, {}
        capture.deleted, self.deleted = self.deleted, []
        roots = self.roots  # most states consist of these alone
        are_roots = all(roots.get(node.name or "") is node for node in nodes)
        capture.take(nodes if are_roots else self.graph.in_use(nodes))
        self.written.retrace(capture.nodes)
        self._encode_exposed()
        return capture

    def _encode_exposed(self) -> None:
        """Encode at once the entries that a writer could change past the barrier meanwhile."""
        held, self.written.held = self.written.held, []
        inline = (c for c in held if c._node_ is not None and c._node_.obj is not c)
        entries = {(c._node_, c._key_): None for c in inline}
        if not entries and not self.sources:
            return
        done: set[tuple[Node, Any]] = set()
        # A value that is found to be shared while it is encoded becomes a node, with entries of its
        # own; a node that is found to be referred to again is taken into the capture.
        while left := [at for at in entries | self._exposed() if at not in done]:
            taken = [(node, key) for node, key in left if node.capture is not None]
            if not taken:
                break
            done.update(taken)
            for node, key in taken:
                if node.capture is not None:
                    node.capture.encode_now(key)

    def _exposed(self) -> dict[tuple[Node, Any], None]:
        return dict.fromkeys(at for source in self.sources for at in source.exposed())

    def captured(self, capture: Capture) -> None:
        """Note that a capture is encoded."""
        if self.capture is capture:
            self.capture = None
            for source in self.sources:
                source.end()

    def new_id(self) -> int:
        """Return a number that no node has had."""
        node_id = self._next_id
        self._next_id += 1
        return node_id

    def collected(self, ids: Iterable[int]) -> None:
        """Note that compaction left out nodes that nothing referenced."""
        with self.lock:
            for node_id in ids:
                node = self.nodes.get(node_id)
                if node is not None and node.name is None:
                    node.entries.forget_saved()

    # -- roots --------------------------------------------------------------------------------

    def load(self, states: Mapping[int, State], next_id: int) -> None:
        """Take the recovered state from which roots are rehydrated."""
        with self.lock:
            self._rehydration = Rehydration(self, dict(states))
            self._next_id = max(self._next_id, next_id)

    def root(self, name: str) -> Any | None:
        """Return the live object of that name, if it exists (another root may refer to it)."""
        node = self.roots.get(name)
        return None if node is None else node.obj

    @property
    def names(self) -> list[str]:
        """List the names of all roots, live or only stored, in order."""
        with self.lock:
            return sorted({*self.roots, *self._rehydration.names})

    def may_be_referred_to(self, nodes: Iterable[Node]) -> bool:
        """Tell whether a root that is only stored may refer to one of these nodes."""
        return self._rehydration.may_refer_to(nodes)

    def kind(self, name: str) -> str | None:
        """Return the kind of a root, live or stored; None if there is none of that name."""
        node = self.roots.get(name)
        return node.kind.name if node is not None else self._rehydration.kind(name)

    @shows_warnings
    def attach(self, container: Any, name: str, kind: str) -> bool:
        """Bind an empty container to a name and rehydrate it.

        Returns:
            Whether there was anything to resume.
        """
        with self.lock:
            stored = self._rehydration.attach(container, name)
            if stored is not None:
                return True
            node = Node(self, self.new_id(), KINDS[kind], container, name)
            node.entries.all_dirty = True
            complete = KINDS[kind].complete
            try:
                container._node_ = node
                self.nodes[node.id] = self.roots[name] = node
                self.written.unresolved[id(container)] = container
                self.dirty_nodes[node] = None
                container._key_ = None
                arm(container)
                if complete is not None:
                    complete(container)()
            except BaseException:  # else the half-made root would be found as a live one
                uninterrupted(lambda: self._take_back(node))
                raise
            self.wake()
            return False

    def _take_back(self, node: Node) -> None:
        """Forget a root that could not be made."""
        self.roots.pop(node.name or "", None)
        self.nodes.pop(node.id, None)
        self.dirty_nodes.pop(node, None)
        if node.obj._node_ is node:
            node.kind.release(node.obj)
        node.obj._node_ = None
        self.written.forget_unbound()

    def offer(self, container: Any, defaults: Mapping[Any, Any]) -> None:
        """Fill in the defaults that the stored state never had (dict, set and counter)."""
        with self.lock:
            node: Node = container._node_
            kind, entries = node.kind, node.entries
            new = [k for k in defaults if not has(container, k) and k not in entries.defaults]
            if entries.all_dirty and not size(container):
                kind.fill(container, defaults)
            elif new:
                self.dirty_nodes[node] = None
                self.written.unresolved[id(container)] = container
                try:
                    kind.fill(container, {key: defaults[key] for key in new})
                finally:
                    entries.all_dirty = entries.all_dirty or size(container) <= LARGE
                    entries.keys.update(dict.fromkeys([k for k in new if has(container, k)], True))
                self.wake()
            if not entries.defaults.issuperset(defaults):
                self.dirty_nodes[node] = None
                # After filling in: else defaults would count as offered after an interruption.
                entries.defaults |= frozenset(defaults)
                self.wake()

    def begin(self, container: Any, default: list[Any]) -> None:
        """Fill a list that was never saved."""
        with self.lock:
            node: Node = container._node_
            if node.entries.all_dirty and not node.declared and not size(container):
                node.kind.fill(container, default)

    def baseline(self, node: Node) -> None:
        """Keep the hashes of a rehydrated node, to find later changes."""
        entries = node.entries
        if not isinstance(entries, KeyedEntries):
            return
        if size(node.obj) > LARGE:
            entries.key_type = common_type(set(map(type, node.kind.builtin.__iter__(node.obj))))
        else:
            node.entries.all_dirty = True
            share = NodeCapture.shapes[node.kind.shape](Capture(self), node)
            for _ in share.encode():
                pass
            node.entries.saved = None if node.entries.bad else share.saved
            node.entries.bad = {}

    @shows_warnings
    def detach(self, name: str) -> Node | None:
        """Remove a root from the state; its object becomes plain."""
        with self.lock:
            node = self.roots.get(name)
            if node is not None:
                if node.capture is not None:  # save it as it was at the cut, then remove it
                    with contextlib.suppress(Exception):  # of the user's own code: reported later
                        node.capture.encode_rest()
                del self.roots[name]
                self.nodes.pop(node.id, None)
            node_id = node.id if node is not None else self._rehydration.forget(name)
            if node_id is not None:
                self.deleted.append(node_id)
                self.wake()
            if node is not None:
                self._release(node)
            return node

    def _release(self, node: Node) -> None:
        rest = [node.obj]
        if node.kind.shape == "mapping":
            for value in dict.values(node.obj):
                known = VARIANTS.get(type(value))
                if known is None or value._node_ is not node:
                    rest.append(value)
                else:
                    value._node_ = None
                    value.__class__ = known.disarmed
                    if not is_flat(value):
                        rest.append(value)
        node.kind.release(node.obj)
        for container in [*conversion.inline(rest, node), node.obj]:
            if type(container) not in PLAIN and container._node_ is node:  # else see `sharing.py`
                container._node_ = None
                disarm(container)
        node.entries.all_dirty, node.entries.keys, node.entries.drops = False, {}, {}
        self.dirty_nodes.pop(node, None)
        self.written.forget_unbound()
        self.watch.forget(lambda other: other is node)

    @shows_warnings
    def mark_all(self) -> None:
        """Mark everything, also roots that were not asked for yet: the store has lost it."""
        with self.lock:
            for name in self._rehydration.names:
                try:
                    self._rehydration.attach(None, name)
                except CodecError as error:
                    logger.critical("%s; the store has lost it", error)
            for node in list(self.nodes.values()):
                node.entries.forget_saved()
                self.dirty_nodes[node] = None
            self.wake()

    def close(self) -> None:
        """Untrack all objects: they become plain, and run at full speed."""
        with self.lock:
            self.closed = True
            for node in list(self.nodes.values()):
                self._release(node)
            self.roots.clear()

    # -- atomic -------------------------------------------------------------------------------

    def atomic(self) -> AtomicBlock:
        """Make a block whose writes are saved together, and undone if it raises."""
        return AtomicBlock(lambda: [self])

    def begin_block(self, point: Savepoint) -> None:
        """Begin a block. A block inside no other waits for a cut that waits for blocks."""
        if not (point.outer is not None or self._may_begin or _runs_loop()):
            self._give_way()
        with self.lock:
            self._end_left_blocks()
            self.written.collect()
            self.scan.collect()
            self.written.resolve_all()
            point.instances = self.scan.contents()
            point.plain = self._copies()
            self.savepoints[point] = None

    def _copies(self) -> list[tuple[Any, Any]]:
        """Copy the contents of the plain containers in the state.

        Blocks that are open at the same time share the copies of unchanged contents.

        A container that is put into the state later is not copied: its writer holds it at that
        moment, and may write to it later. To restore the content that it had then would undo these
        writes. The reference to the container would also prevent its conversion, so that all later
        writes to it would have this problem.
        """
        last = next(reversed(self.savepoints), None)
        pairs = () if last is None else last.plain
        known = {id(plain): content for plain, content in pairs if type(plain) in (list, dict, set)}
        copies = []
        for plain in self._plain():
            content = known.get(id(plain))
            if content is None or not _is_same(plain, content):
                content = kind_of(plain).copy(plain)
            copies.append((plain, content))
        return copies

    def _give_way(self) -> None:
        """Wait until blocks may begin, for `LONGEST_HOLD` at the most.

        What does not work: an Event, which is written in Python; Ctrl-C in it raises RuntimeError.
        """
        end = time.monotonic() + LONGEST_HOLD
        while not self._may_begin and time.monotonic() < end:
            time.sleep(HOLD_CHECK)

    def end_block(self, point: Savepoint) -> None:
        """End a block as its outcome says. Call it again if Ctrl-C interrupts it.

        If this thread is in the middle of another operation, as when the garbage collector closes
        a generator, the next cut or block ends this one.
        """
        if not is_owned(self.lock):
            with self.lock:
                self._end(point)

    def _end(self, point: Savepoint) -> None:
        if point not in self.savepoints:
            return
        if self.writing is not None:
            self.finish_write()
        if point.outcome:
            outer = point.outer
            self._undo_log.hand_over(point, outer if outer and outer.is_open else None)
        else:
            self._undo_log.undo(point)
            for plain, content in point.plain:
                kind_of(plain).refill(plain, content)
            for root, fields in point.instances:
                if root._node_ is not None and not root.busy:
                    root.take(root.read())
                    root.put_back(fields)
        point.holder = None
        del self.savepoints[point]
        if self._refused:
            self._refused = bool(self.savepoints)
            self.wake()

    def _end_left_blocks(self) -> None:
        """End blocks whose frames are gone, or whose end was put off."""
        for point in reversed(list(self.savepoints)):
            if point.is_abandoned():
                point.outcome = False
            if not point.is_open:
                self._end(point)

    def _undo_open_blocks(self) -> None:
        """Undo blocks that do not end: while they are open nothing could be saved."""
        if self.savepoints:
            logger.warning(
                "%s of atomic() did not end before the last save: what was written in it is not "
                "saved, everything else is",
                "a block" if len(self.savepoints) == 1 else f"{len(self.savepoints)} blocks",
            )
        for point in reversed(list(self.savepoints)):
            point.outcome = False
            self._end(point)

    def note_write(self, container: Any, key: Any, *, removes: bool = False) -> None:
        """Note the content before a write, for the undo of open blocks; the lock is held."""
        writer = innermost(self)
        if writer is None:
            writer = self._orphaned()
        if writer is not None:
            writer.threads.add(threading.get_ident())
        self._undo_log.note(container, key, writer, removes=removes)

    def note_use(self) -> None:
        """Note that an object may have changed, which cannot be undone; the lock is held."""
        writer = innermost(self) or self._orphaned() if self.savepoints else None
        if writer is not None:
            writer.may_step_back = False

    def _orphaned(self) -> Savepoint | None:
        """Return the block that owns the writes of contexts that are in no block.

        If a block was begun in a context that has ended, its writes are made in other contexts.
        With several such blocks nothing tells their writes apart, so that none of them undoes a
        write.
        """
        orphaned = [point for point in self.savepoints if point.is_orphaned]
        if len(orphaned) > 1 and any(
            later.outer is not point for point, later in itertools.pairwise(orphaned)
        ):
            if not self._warned_of_orphaned:
                self._warned_of_orphaned = True
                logger.warning(
                    "several blocks of atomic() were begun in contexts that have ended, as in "
                    "FastAPI dependencies that are no coroutines; what is written now cannot be "
                    "told apart, and none of these blocks undoes it: begin them where they write"
                )
            return None
        return orphaned[-1] if orphaned else None

    @property
    def oldest_block(self) -> Savepoint | None:
        """The open block that began first."""
        return next(iter(self.savepoints), None)

    @contextmanager
    def holding_back(self) -> Generator[None]:
        """Let no block begin during the body, except in blocks and on threads of event loops."""
        self._may_begin = False
        try:
            yield
        finally:
            self._may_begin = True

    def _step_back(self, paused: int | None, forward: list[Callable[[], None]]) -> bool:
        """Undo the writes of open blocks for the moment of a cut.

        The blocks of this thread, and those of `paused`, wait during the cut: nobody sees the
        undone state. Blocks of other threads run, and would see it. Changes of objects and of
        watched values have no known writer: if there are any, they can be neither undone nor saved.

        Args:
            paused: Another thread, whose blocks wait.
            forward: As for `UndoLog.step_back`.

        Returns:
            Whether the writes were undone; else the cut has to wait.
        """
        here = {threading.get_ident(), paused}
        points = self.savepoints
        if not all(point.threads <= here and _may_step_back(point) for point in points):
            return False
        plain = set(map(id, self._plain()))
        if any(plain.difference(id(one) for one, _ in point.plain) for point in points):
            return False  # new since a block began: its writer is not known
        self._undo_log.step_back(self.savepoints, forward)
        return True

    def _plain(self) -> list[Any]:
        """List the plain containers in watched entries, which have no barrier."""
        entries = [(n, k, slot) for n, k in self.watch.entries for slot in n.entries.slots(k)]
        shared = self.sharing.nodes()
        for node in shared:
            entries += [(node, node.entries.at(s), s) for s in conversion.slots_of(node.obj)]
        found = [node.obj for node in shared if type(node.obj) is not Cell]
        for node, key, slot in entries:
            inside = [*conversion.all_inside([item_of(node.obj, slot)], node)]
            found += [one for one in inside if type(one) in PLAIN]
            for one in inside:
                if issubclass(type(one), Barrier) and one._node_ is None:
                    self.graph.claim(one, node, key)  # detached elsewhere, and now only here
        return list({id(plain): plain for plain in found}.values())

    def inside_atomic(self) -> bool:
        """Tell whether the calling thread or task is inside an `atomic()` block."""
        if not self.savepoints:
            return False
        if not is_owned(self.lock):
            with self.lock:
                self._end_left_blocks()
        return innermost(self) is not None

    def corrupt(self, name: str) -> CorruptStateError:
        """Make the error for a state that refers to a node which is not stored."""
        return CorruptStateError(
            f"{name}: the stored state refers to a part that is not stored: restore the store "
            "from a copy; or call autostate.delete(name), which keeps aside what is stored, to "
            "begin anew"
        )


def _call_backwards(steps: list[Callable[[], None]]) -> None:
    """Call each of these steps, the last one first."""
    for step in reversed(steps):
        step()


def _runs_loop() -> bool:
    """Tell whether an event loop runs in this thread; loads no asyncio for that."""
    events: Any = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def _may_step_back(point: Savepoint) -> bool:
    """Tell whether everything without a barrier is as it was when a block began."""
    if not point.may_step_back:
        return False
    for root, fields in point.instances:
        if root._node_ is not None and (
            root.busy or not root.is_same(root.read()) or not _is_same(dict(root), fields)
        ):
            return False
    return all(_is_same(kind_of(plain).copy(plain), former) for plain, former in point.plain)


def _is_same(content: Any, former: Any) -> bool:
    """Tell whether two plain containers hold the same objects, in the same order."""
    if len(content) != len(former):
        return False
    if isinstance(content, set):
        return set(map(id, content)) == set(map(id, former))
    if isinstance(content, dict) and not all(map(is_, content.values(), former.values())):
        return False
    return all(map(is_, content, former))

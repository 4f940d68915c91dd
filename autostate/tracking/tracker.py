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
import json
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import attrgetter
from os import getpid
from typing import TYPE_CHECKING, Any, Final

from autostate.collector import made_large, no_collections
from autostate.process import lifecycle
from autostate.tracking import savepoint
from autostate.tracking.barrier import (
    EVERYTHING,
    VARIANTS,
    arm,
    changed,
    is_keyed,
    put,
    size,
    variants_of,
)
from autostate.tracking.capture import Capture, Follower
from autostate.tracking.items import SequenceEntries
from autostate.tracking.node import LARGE, DirtySource, MappingEntries, Marks, Node
from autostate.tracking.raw import has
from autostate.tracking.reach import Reach
from autostate.tracking.roots import Roots
from autostate.tracking.search import inline
from autostate.tracking.watched import Watched
from autostate.warned import shows_warnings

if TYPE_CHECKING:
    import asyncio

    from autostate.signing import Signer
    from autostate.tracking.atomic import AtomicBlock
    from autostate.tracking.blocks import Blocks
    from autostate.tracking.savepoint import Savepoint


_count_of: Final = attrgetter("count")
logger: logging.Logger = logging.getLogger("autostate")


class Tracker(Roots):
    """What is dirty in the state objects of one store; takes and encodes consistent captures.

    Attributes:
        loops: The event loops on whose threads the state was written, or a block began.
        followers: Those who have to know when what they wrote has become durable.
    """

    def __init__(
        self,
        *,
        wake: Callable[[], None],
        signer: Signer | None = None,
        on_unknown: Callable[[], str] = lambda: "raise",
    ) -> None:
        super().__init__(wake=wake, signer=signer, on_unknown=on_unknown)
        self._changed_past_gate = False
        self.loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self.followers: list[Follower] = []
        self._marks = 0
        self._cuts = 0

    # -- what the flush thread asks ----------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether anything was marked, or is seen to have changed, since the last cut."""
        if self.marked:
            return True
        with self.lock:
            return any(source.differs() for source in self.sources)

    @property
    def marked(self) -> bool:
        """Whether anything was marked since the last cut."""
        if self.writing is not None:
            with self.lock:
                if self.writing is not None:
                    self.finish_write()
        return self._has_marks()

    def _has_marks(self) -> bool:
        written = self.written
        return bool(written.containers or self.unresolved or self.dirty_nodes or self.deleted)

    @shows_warnings
    def look(self) -> bool:
        """Mark what has changed without a mark, as far as that shows without a cut.

        Returns:
            Whether a cut is needed.
        """
        try:
            with self.lock:
                if self.savepoints:
                    return True
                self.written.late_calls.mark()
                hidden = [source.look() for source in self.sources]
        except BaseException:
            self._mark_what_is_unsure()
            raise
        return self.marked or any(hidden)

    @property
    def needs_polling(self) -> bool:
        """Whether something can change without a mark: objects, watched entries, late calls."""
        return bool(self.written.late_calls.suspects) or any(
            s.needs_polling() for s in self.sources
        )

    @property
    def activity(self) -> int:
        """A number that grows with marks; if it is the same twice, writing pauses."""
        tally = self.written.count()
        with self.lock:
            return self._marks + sum(len(node.entries.keys) for node in tally.nodes)

    def estimate(self) -> int:
        """Estimate the bytes that a flush would write.

        A large mapping of which nearly all entries are dirty becomes disarmed, to be saved as a
        whole: its writes run at full speed again, and the cut need not look for the entries.
        """
        tally = self.written.count()
        with self.lock:
            total = tally.size
            for node in tally.nodes:
                container, variants = node.obj, VARIANTS.get(type(node.obj))
                if variants is None or type(container) is variants.armed:
                    continue
                length = variants.length(container)
                if type(container) is variants.disarmed:
                    total += length * node.entries.weight
                    continue
                keys, drops = node.entries.keys, node.entries.drops
                total += (len(keys) + len(drops)) * node.entries.weight
                if isinstance(node.entries, SequenceEntries):
                    total += node.entries.kept.count_fresh(length) * node.entries.weight
                before = node.entries.length if isinstance(node.entries, MappingEntries) else None
                # Of one that has grown, all former entries would be written again.
                if length > LARGE and min(len(keys), before or 0) * 10 >= length * 9:
                    changed(container)
            touched = sum(len(node.entries.touched) for node in self.dirty_nodes)
            return total + touched * 64

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return a running event loop on whose thread the state is written."""
        return next((loop for loop in list(self.loops) if loop.is_running()), None)

    # -- marks --------------------------------------------------------------------------------

    def wrote(self, container: Any, *, all_dirty: bool) -> None:
        """List a container that was armed until now; the lock is held.

        Raises:
            RuntimeError: See `lifecycle.check_process`.
        """
        if self.closed:
            return
        if getpid() != lifecycle.process:  # else a call more for each container
            lifecycle.check_process()
        clean = not self._has_marks()  # only the first mark wakes the flush thread
        if self.savepoints:  # it stays armed, so that there is nothing to collect
            self._blocks.wrote(container)
            self.written.mark(container, all_dirty=all_dirty)
            self.mark_unresolved(container)
        else:
            self.written.containers.append(container)
        self._marks += 1
        self.note_loop()
        if clean:
            self.wake()

    def note_loop(self) -> None:
        """Note the event loop of this thread, if one runs: cuts fall between its callbacks."""
        events: Any = sys.modules.get("asyncio.events")  # a program without it does not load it
        if events is not None:
            running = events._get_running_loop()
            if running is not None:
                self.loops.add(running)

    def finish_write(self) -> None:
        """Mark a write that ended before its mark; the lock is held.

        Ctrl-C ended the write; or an error of the builtin did; or there was nothing to write. In
        the last two cases the container has its former length. The note is deleted last: if Ctrl-C
        interrupts this call, the next write or cut makes it again.
        """
        assert self.writing is not None
        container, key, length = self.writing
        node: Node | None = container._node_
        if node is None or self.closed:
            self.writing = None
            return
        recorded = is_keyed(container) and node.kind.shape != "sequence"
        # Armed means that the mark has not begun, so that it can be made here, for one entry.
        if recorded and type(container) is variants_of(type(container)).armed:
            if key is not EVERYTHING:
                with contextlib.suppress(Exception):  # not a valid key: nothing was written
                    if has(container, key):
                        put(container, key, new=size(container) > length)
            elif size(container) != length or node.kind.name == "ordereddict":  # it may have moved
                changed(container)
            self.writing = None
            return
        # Ctrl-C may have struck in the mark: the container is past the barrier, and not listed.
        node.log = None
        arm(container)
        self.written.mark(container, all_dirty=True)
        self.mark_unresolved(container)
        self.wake()
        self.writing = None

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
        for source in self.sources:
            source.guard(on=gate is not None)

    @shows_warnings
    def forked(self, gate: Callable[[], None]) -> None:
        """Continue in the child of a fork: each write calls the gate first.

        The lock may be held, and a capture under way, in a thread that does not exist here.
        """
        self.lock = threading.RLock()
        if self.unsaved is not None:
            with contextlib.suppress(Exception):  # left half-way by that thread: all is marked
                self.unsaved.failed()
        if self.savepoints and not self._blocks.forked():
            self._mark_what_is_unsure()
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
            capture.saved()  # what has not changed stays unmarked, so that later changes are found
        finally:
            capture.node_captures = marked + changed  # to be saved: nobody commits this capture
            capture.failed()
        return bool(changed) and not only_classes

    def atomic(self) -> AtomicBlock:
        """Make a block whose writes are saved together, and undone if it raises."""
        from autostate.tracking.atomic import AtomicBlock

        return AtomicBlock(lambda: [self])

    @property
    def _blocks(self) -> Blocks:
        """The blocks of `atomic()`: loaded only in a program that has any."""
        from autostate.tracking.blocks import Blocks

        return self.part(Blocks)

    @property
    def oldest_block(self) -> Savepoint | None:
        """The open block that began first."""
        return self._blocks.oldest

    def holding_back(self) -> AbstractContextManager[None]:
        """Let no block begin during the body, except in blocks and on threads of event loops."""
        return self._blocks.holding_back()

    def inside_atomic(self) -> bool:
        """Tell whether the calling thread or task is inside an `atomic()` block."""
        return bool(self.savepoints) and self._blocks.is_inside()

    def waits_for_itself(self) -> bool:
        """Tell whether a save would wait for the end of a unit of work that the caller is in."""
        return bool(self.savepoints) and self._blocks.waits_for_itself()

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
            from autostate.tracking.atomic import tell_of_dropped

            tell_of_dropped()
        with self.lock:
            if self.savepoints:
                blocks = self._blocks
                blocks.end_left()
                if ending:
                    blocks.undo_open()
            forward: list[Callable[[], None]] = []
            try:
                return self._cut_without_open_blocks(paused, forward, full_compare=full_compare)
            except BaseException:
                # Again: Ctrl-C may have struck in the midst of it. Each step sets values, so that a
                # repetition does no harm.
                _call_backwards(forward)
                self._mark_what_is_unsure()
                raise

    def _cut_without_open_blocks(
        self, paused: int | None, forward: list[Callable[[], None]], *, full_compare: bool
    ) -> Capture | None:
        try:
            if self.savepoints:
                blocks = self._blocks
                blocks.refused = not blocks.step_back(paused, forward)
                if blocks.refused:
                    return None
            else:
                for source in self.sources:  # not at the end of each block: another one may follow
                    source.guard(on=self.gate is not None)
            # A collection may run finalizers, which write in spite of the lock: such a write would
            # be saved, and what it has put into the state neither converted nor watched.
            with no_collections():
                capture = self._take(full_compare=full_compare)
            if capture.node_captures:
                made_large(max(map(_count_of, capture.node_captures)))
            return capture
        finally:
            # The lock is held until here, and the threads of these blocks wait: nobody has seen the
            # state without their writes.
            if forward:
                _call_backwards(forward)
                self._blocks.stepped_forward()

    def _mark_what_is_unsure(self) -> None:
        """Mark everything after a cut that failed half-way, for want of memory for example.

        Marks may be lost, and some disarmed containers may not be listed.
        """
        with self.lock:
            capture, self.capture = self.capture, None
            if capture is not None:
                capture.failed()
            self.watched.forget_pictures()
            for node in [node for node in self.nodes.values() if not node.unreachable]:
                for container in [*inline(node.obj, node), node.obj]:
                    if type(container) in VARIANTS and container._node_ is not None:
                        arm(container)
                        self.mark_unresolved(container)
                node.log, node.entries.all_dirty = None, True
                self.dirty_nodes[node] = None
            self.wake()

    def _take(self, *, full_compare: bool) -> Capture:
        if self.writing is not None:
            self.finish_write()
        # Known from the beginning: a failure half-way must find the marks that were taken over, and
        # a node that is made meanwhile belongs to this capture.
        self._cuts += 1
        capture = Capture(self, self.graph, self.watched, self._cuts)
        self.capture = self.unsaved = capture
        if self.closed:
            return capture
        # Late calls come first: `collect` notes the lengths anew.
        late_calls = self.written.late_calls
        if late_calls.suspects:
            late_calls.mark()
        # From here on each writer of a container waits. Objects have no barrier; but a thread that
        # wrote to one before it wrote to a container is seen, because they are scanned afterwards.
        self.written.collect()
        for source in self.sources:
            source.collect()
        # Objects may hold new containers, so that these are resolved after the scan; and what is
        # watched, or at several places, is known when everything is resolved.
        if self.unresolved:
            self.written.resolve_all()
        if full_compare:
            self.written.full_compare()
        for source in self.sources:
            source.complete()
        if self.written.containers:  # a finalizer of what was let go of here has written
            self.written.collect()
            self.written.resolve_all()
        nodes, self.dirty_nodes = self.dirty_nodes, {}
        capture.deleted, self.deleted = self.deleted, []
        roots = self.roots
        if all(node.name is not None and roots.get(node.name) is node for node in nodes):
            capture.take(nodes)  # most states consist of these alone
        else:
            reach = self.part(Reach)
            capture.take(reach.in_use(nodes))
            reach.forget()
        late_calls.retrace(capture.nodes)
        self._encode_exposed()
        for follower in self.followers:
            follower.taken(capture.number)
        return capture

    def _encode_exposed(self) -> None:
        """Encode at once the entries that a writer could change past the barrier meanwhile."""
        held, self.written.held = self.written.held, []
        if not held and not self.sources:
            return
        for source in self.sources:
            source.encode()
        inline = (c for c in held if c._node_ is not None and c._node_.obj is not c)
        entries = {(c._node_, c._key_): None for c in inline}
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


def _watch(tracker: Marks) -> DirtySource:
    """Make what compares watched entries: loaded with the first of them."""
    from autostate.tracking.watch import Watch

    return Watch(tracker)


Watched.source = _watch


def _call_backwards(steps: list[Callable[[], None]]) -> None:
    """Call each of these steps, the last one first."""
    for step in reversed(steps):
        step()

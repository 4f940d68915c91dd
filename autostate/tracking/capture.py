"""A capture: the dirty entries as of one moment, and their encoding afterwards, in slices.

The cut (`Tracker.cut`) leaves a `NodeCapture` at every dirty node: shallow copies of its dirty
entries (`node_capture.py`). A hash of each saved entry, some 8 bytes, is kept (`Entries.saved`): it
tells which entries changed where no write was recorded, and that an unchanged entry need not be
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter
from typing import Final, Protocol

from autostate.codec import dumps
from autostate.errors import UnsupportedTypeError
from autostate.process.interrupts import is_passing
from autostate.tracking import mappings, sequences, sets
from autostate.tracking.flat_capture import FlatCapture
from autostate.tracking.graph import Graph
from autostate.tracking.node import Marks, Node
from autostate.tracking.node_capture import UNSURE, NodeCapture
from autostate.tracking.parts import free
from autostate.tracking.resting import Resting
from autostate.tracking.search import ATOMS
from autostate.tracking.watched import Watched

__all__ = ["Capture", "mappings", "sequences", "sets"]  # the shapes, which have to be loaded


_obj_of: Final = attrgetter("obj")


class Follower(Protocol):
    """Somebody who has to know when a write of its own has become durable.

    The flush thread calls both methods. They must be quick, and must not save.
    """

    @property
    def waits(self) -> bool:
        """Whether it waits for a write to become durable.

        Then the owner is checked after the commit, where the store itself does not refuse writes of
        a fenced process.
        """
        ...

    def taken(self, number: int) -> None:
        """Note which of its writes are part of a cut. The lock is held.

        The state is as the cut takes it: without the writes of open `atomic()` blocks.

        Args:
            number: The number of the cut; each one has a higher number than those before it.
        """
        ...

    def durable(self, number: int) -> None:
        """Note that all cuts up to a number are durable, and that this process is the owner."""
        ...


class Capture:
    """The dirty entries of all state objects as of one moment.

    Attributes:
        number: The number of the cut.
        tracker, graph, watched, changes, errors, entries: See `CaptureOutput`.
        node_captures: The parts of the nodes.
        nodes: The nodes that were taken.
        began: Nodes have been taken: a node that is made from now on has to be taken, too.
        deleted: The numbers of deleted roots.
    """

    def __init__(self, tracker: Marks, graph: Graph, watched: Watched, number: int = 0) -> None:
        self.number = number
        self.tracker = tracker
        self.graph = graph
        self.watched = watched
        self.changes: list[bytes] = []
        self.errors: list[UnsupportedTypeError] = []
        self.entries = 0
        self.node_captures: list[NodeCapture] = []
        self._flat = FlatCapture()
        self.began = False
        self.nodes: set[Node] = set()
        self.deleted: list[int] = []

    def take(self, nodes: Iterable[Node]) -> None:
        """Copy the dirty entries of nodes, and take over their marks; the lock is held."""
        nodes = list(nodes)
        self.began = True
        self.nodes.update(nodes)
        self.tracker.settled.difference_update(nodes)
        is_owner = self.tracker.gate is None
        for node in nodes:
            try:
                if is_owner and node.kind.has_fields and self._flat.take(node):
                    continue
                self.node_captures.append(NodeCapture.shapes[node.kind.shape](self, node))
            except Exception as error:  # of the user's own code: `__eq__` of a key, `__iter__` …
                if is_passing(error) and not self.tracker.ending:
                    raise
                problem = f"its content could not be read ({type(error).__name__})"
                self.errors.append(UnsupportedTypeError(node.path, problem))
                node.entries.all_dirty = True

    def encode(self, pause: Callable[[], None] | None = None) -> list[bytes]:
        """Encode the captured entries.

        Args:
            pause: Called between slices of about half a millisecond, without the lock.

        Returns:
            The changes of the commit; empty if nothing has to be saved.
        """
        index = 0
        while True:
            with self.tracker.lock:
                if index == len(self.node_captures):  # it grows while nodes are promoted
                    # with the lock: from now on a promoted node belongs to the next capture
                    if self.tracker.capture is self:
                        self.tracker.capture = None
                        for source in self.tracker.sources:
                            source.end()
                    break
                part = self.node_captures[index]
            for _ in part.encode():
                if pause is not None:
                    pause()
            index += 1
            if pause is not None and index < len(self.node_captures):
                pause()
        for change, count in self._flat.encode(pause):
            self.changes.append(change)
            self.entries += count
        self.changes += [dumps({"id": node_id, "delete": True}) for node_id in self.deleted]
        return self.changes

    def saved(self) -> None:
        """Make the known content of the store that of this capture: the commit is durable."""
        saved: set[Node] = set()
        with self.tracker.lock:
            for part in self.node_captures:
                node = part.node
                node.declared = node.declared or part.written
                node.entries.saved_defaults = part.saved_defaults
                node.entries.metadata = part.metadata
                node.entries.saved = part.saved
                self.watched.saved(node, part.seen)
                for keys in part.marked:
                    free(keys)
                if node.kind.has_fields and _is_saved(node):
                    saved.add(node)
            saved.update(filter(_is_saved, self._flat.saved()))
            self.tracker.settled.update(_holding_atoms(saved))
            self.tracker.part(Resting).saved(self, saved)
            self._flat = FlatCapture()
            self.node_captures = []  # they refer to this capture, and would wait for the collector
            self._forget()

    def failed(self) -> None:
        """Mark everything again: it is not known which changes the store has."""
        # The store may have all, some or none of the changes. Each shape says what is still known.
        with self.tracker.lock:
            for part in self.node_captures:
                part.node.capture = None
                self.tracker.dirty_nodes[part.node] = None
                if part.metadata != part.node.entries.metadata:
                    part.node.entries.metadata = UNSURE  # differs from everything: saved again
                part.restore()
            self.tracker.dirty_nodes.update(dict.fromkeys(self._flat.failed()))
            self._flat = FlatCapture()
            deleted, self.deleted = self.deleted, []
            self.tracker.deleted = deleted + self.tracker.deleted
            self.node_captures = []
            self._forget()

    def _forget(self) -> None:
        """Let the tracker forget this capture."""
        tracker = self.tracker
        tracker.capture = None if tracker.capture is self else tracker.capture
        tracker.unsaved = None if tracker.unsaved is self else tracker.unsaved


def _is_saved(node: Node) -> bool:
    """Tell whether nothing of the mirror of an object is unsaved."""
    entries = node.entries
    if entries.saved is None or entries.all_dirty or entries.bad:
        return False
    return node.obj._node_ is node


def _holding_atoms(nodes: set[Node]) -> Iterable[Node]:
    """Choose the mirrors that hold atoms alone: the scan finds each change of them."""
    values = chain.from_iterable(map(dict.values, map(_obj_of, nodes)))
    if ATOMS.issuperset(map(type, values)):
        return nodes
    return [node for node in nodes if ATOMS.issuperset(map(type, dict.values(node.obj)))]

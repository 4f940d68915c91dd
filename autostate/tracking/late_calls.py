"""Late calls: a builtin's method was looked up before a cut, and is called after it.

Nothing marks such a write (`barrier.py`); but it changes the length. So the lengths of re-armed
containers are noted, and compared in the next cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from autostate.tracking import refcount
from autostate.tracking.barrier import VARIANTS, changed, is_keyed
from autostate.tracking.node import KeyedEntries, Marks, Node
from autostate.tracking.raw import item_of, maxlen_of
from autostate.tracking.saved_items import copies_of


class LateCalls:
    """The containers of one tracker that a late call can reach. In all calls the lock is held.

    A late call can reach a node, and an inline container that somebody holds.

    Attributes:
        suspects: These containers by `id`, with their traces at the last cut.
    """

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self.suspects: dict[int, tuple[Any, Any]] = {}

    def mark(self) -> None:
        """Mark the containers whose length has changed without a mark since they were re-armed."""
        suspects, self.suspects = self.suspects, {}
        for key in suspects:
            # Two are its holder in the state, and the tuple in `suspects`; a variable comes later.
            found = refcount.count(suspects[key][0]) - refcount.MEASURING - 2
            container, trace = suspects[key]
            node: Node | None = container._node_
            variants = VARIANTS[type(container)]
            if node is None or type(container) is variants.disarmed:
                continue  # all of it is compared anyway
            if type(container) is variants.recording:
                # A mapping or set is compared when it is armed: its log is complete then.
                if node.kind.shape != "sequence":
                    self.suspects[key] = (container, trace)
            elif _trace(container) != trace:
                if node.obj is container and node.kind.shape != "sequence" and is_keyed(container):
                    self._tracker.touch_all(node)
                    self._tracker.mark_unresolved(container)
                    self._bypassed(container)
                else:
                    changed(container)
            elif (
                found > copies_of(container) or node.obj is container
            ):  # else no late call can come any more
                self.suspects[key] = (container, trace)

    def add(self, container: Any, *, disarmed: bool) -> None:
        """Note the length of a container that is armed again.

        If its writes were recorded (not `disarmed`), the log has to account for the length.
        """
        node: Node = container._node_
        known = self.suspects.get(id(container))
        if disarmed or node.kind.shape == "sequence":
            self.suspects[id(container)] = (container, _trace(container))
        elif known is not None and known[1] != _trace(container):
            self._bypassed(container)

    def forget(self, of: Callable[[Node | None], bool]) -> None:
        """Forget the containers whose node fulfils a condition."""
        self.suspects = {i: one for i, one in self.suspects.items() if not of(one[0]._node_)}

    def _bypassed(self, container: Any) -> None:
        """Mark a mapping or set that has entries which were not recorded."""
        entries: KeyedEntries = container._node_.entries
        # Once this is written in full, hashes are kept: the same may happen again.
        entries.all_dirty = entries.compare = True
        self.suspects[id(container)] = (container, _trace(container))

    def retrace(self, nodes: Iterable[Node]) -> None:
        """Note the lengths of containers whose recorded entries a capture has taken over.

        The traces counted these entries. Without this, the next cut took recorded growth for a late
        call, and wrote the whole container.
        """
        for node in nodes:
            if id(node.obj) in self.suspects:
                self.suspects[id(node.obj)] = (node.obj, _trace(node.obj))


def _trace(container: Any) -> Any:
    """Return a value that every late call changes, and no recorded write.

    It is the length, less the recorded growth; for a bounded deque also the items at the ends.
    """
    node: Node = container._node_
    length = VARIANTS[type(container)].length(container)
    entries = node.entries
    if isinstance(entries, KeyedEntries):
        recorded = node.obj is container and (entries.keys or entries.drops)
        return length - entries.growth() if recorded else length
    if length and isinstance(container, deque) and maxlen_of(container) is not None:
        return length, id(item_of(container, 0)), id(item_of(container, -1))
    return length

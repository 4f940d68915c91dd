"""The undo log: the writes of open `atomic()` blocks, and how they are undone.

While a block is open, containers stay armed, and the barrier notes the content before each write.
Each container that a block has written has a log of the writes and their writers, in order: see
`entry_log.py` for mappings and sets, `sequence_log.py` for lists and deques, `field_log.py` for the
objects of `@persisted` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from autostate.tracking.barrier import kind_of
from autostate.tracking.entry_log import EntryLog
from autostate.tracking.field_log import FieldLog
from autostate.tracking.sequence_log import SequenceLog

if TYPE_CHECKING:
    from autostate.tracking.node import Node
    from autostate.tracking.savepoint import Savepoint


class UndoLog:
    """The writes of open blocks to the containers of one tracker. The lock is held."""

    def __init__(self) -> None:
        self._logs: dict[int, EntryLog | SequenceLog] = {}
        self._inline: dict[tuple[int, Any], dict[int, EntryLog]] = {}  # by the entry of a node

    def note(
        self, container: Any, key: Any, owner: Savepoint | None, *, removes: bool = False
    ) -> None:
        """Note the content before a write.

        Args:
            container: The container that is about to be written.
            key: The part that is going to change: see `barrier.before`.
            owner: The block that writes.
            removes: The entry of a mapping or set is going to be removed.
        """
        self._note_around(container, owner)
        log = self._logs.get(id(container))
        if log is None:
            if owner is None:
                return
            log = self._logs[id(container)] = _log_of(container)
            self._list_inline(log)
        log.note(key, owner, removes=removes)

    def note_same(self, container: Any, key: Any, owner: Savepoint | None) -> None:
        """Note that somebody writes what is there already, if somebody else has written it."""
        log = self._logs.get(id(container))
        if isinstance(log, EntryLog):
            log.note_same(key, owner)

    def _note_around(self, container: Any, owner: Savepoint | None) -> None:
        """Note the entries that hold a container that is written, at any depth.

        The writer writes inside of them: they are to stay if the one who made them is undone.
        """
        left, seen = [container], {id(container)}
        while left:
            inner = left.pop()
            node: Node | None = inner._node_
            if node is None:
                continue
            places: list[tuple[Node | None, Any]] = [(node, inner._key_)]
            if node.obj is inner:
                places = [(node.tracker.nodes.get(number), key) for number, key in node.referrers]
            for holder, key in places:
                if holder is None:
                    continue
                for inline in [*self._inline.get((id(holder), key), {}).values()]:
                    inline.note_inside(inner, owner)
                log = self._logs.get(id(holder.obj))
                if isinstance(log, EntryLog):
                    log.note_same(key, owner)
                if id(holder.obj) not in seen:
                    seen.add(id(holder.obj))
                    left.append(holder.obj)

    def _list_inline(self, log: EntryLog | SequenceLog) -> None:
        """List a log by the entry of the node in which its container lies."""
        node: Node = log.container._node_
        if node.obj is not log.container and isinstance(log, EntryLog):
            log.place = id(node), log.container._key_
            self._inline.setdefault(log.place, {})[id(log)] = log

    def written(self, container: Any) -> None:
        """Note that a write is done."""
        log = self._logs.get(id(container))
        if log is not None:
            log.written()

    def undo(self, owner: Savepoint) -> None:
        """Undo the writes of a block. Call it again if Ctrl-C interrupts it."""
        for key, log in reversed(self._logs.items()):
            log.undo(owner)
            self._forget_unless_open(key, log)

    def hand_over(self, owner: Savepoint, outer: Savepoint | None) -> None:
        """Let the writes of a block belong to the block around it; None: keep them for good."""
        for key, log in [*self._logs.items()]:
            log.hand_over(owner, outer)
            self._forget_unless_open(key, log)

    def _forget_unless_open(self, key: int, log: EntryLog | SequenceLog) -> None:
        if not log.has_owner():
            if isinstance(log, EntryLog) and log.place is not None:
                logs = self._inline.get(log.place, {})
                logs.pop(id(log), None)
                if not logs:
                    self._inline.pop(log.place, None)
            self._logs = {other: one for other, one in self._logs.items() if other != key}

    def step_back(self, owners: Iterable[Savepoint], forward: list[Callable[[], None]]) -> None:
        """Undo for a moment the writes of open blocks.

        Args:
            owners: The blocks, in the order in which they began.
            forward: The steps that redo the writes are appended here, each one before it is needed,
                in case of Ctrl-C. They are called from last to first, and may be repeated.
        """
        inner_first = [*owners][::-1]
        for log in [*self._logs.values()]:
            log.step_back(inner_first, forward)


def _log_of(container: Any) -> EntryLog | SequenceLog:
    kind = kind_of(container)
    if kind.has_fields:
        return FieldLog(container)
    return SequenceLog(container) if kind.shape == "sequence" else EntryLog(container)

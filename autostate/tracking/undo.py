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
    from autostate.tracking.savepoint import Savepoint


class UndoLog:
    """The writes of open blocks to the containers of one tracker. The lock is held."""

    def __init__(self) -> None:
        self._logs: dict[int, EntryLog | SequenceLog] = {}

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
        log = self._logs.get(id(container))
        if log is None:
            if owner is None:
                return
            log = self._logs[id(container)] = _log_of(container)
        log.note(key, owner, removes=removes)

    def note_same(self, container: Any, key: Any, owner: Savepoint | None) -> None:
        """Note that somebody writes what is there already, if somebody else has written it."""
        log = self._logs.get(id(container))
        if isinstance(log, EntryLog):
            log.note_same(key, owner)

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

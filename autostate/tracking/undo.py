"""The undo log: what open `atomic()` blocks have written, and how that is taken back.

While a block is open every write meets the barrier, which notes what was there before. For each
container that a block has written there is a log of who has written what, in the order of the
writes: see `entry_log.py` for mappings and sets, `sequence_log.py` for lists and deques.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from autostate.tracking.barrier import kind_of
from autostate.tracking.entry_log import EntryLog
from autostate.tracking.sequence_log import SequenceLog

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint


class UndoLog:
    """What open blocks have written to the containers of one tracker. The lock is held."""

    def __init__(self) -> None:
        self._logs: dict[int, EntryLog | SequenceLog] = {}

    def note(
        self, container: Any, key: Any, owner: Savepoint | None, *, removes: bool = False
    ) -> None:
        """Note what is there before a write.

        Args:
            container: What is about to be written.
            key: What is going to change: see `barrier.before`.
            owner: Whose block writes.
            removes: The entry of a mapping or set is going to be removed.
        """
        log = self._logs.get(id(container))
        if log is None:
            if owner is None:
                return
            is_sequence = kind_of(container).shape == "sequence"
            log = (SequenceLog if is_sequence else EntryLog)(container)
            self._logs[id(container)] = log
        log.note(key, owner, removes=removes)

    def written(self, container: Any) -> None:
        """Note that a write is done."""
        log = self._logs.get(id(container))
        if log is not None:
            log.written()

    def undo(self, owner: Savepoint) -> None:
        """Take back what a block wrote. Ctrl-C may strike: call it again."""
        for key, log in reversed(self._logs.items()):
            log.undo(owner)
            self._forget_unless_open(key, log)

    def hand_over(self, owner: Savepoint, outer: Savepoint | None) -> None:
        """Leave what a block wrote to the block around it; None: it stays."""
        for key, log in [*self._logs.items()]:
            log.hand_over(owner, outer)
            self._forget_unless_open(key, log)

    def _forget_unless_open(self, key: int, log: EntryLog | SequenceLog) -> None:
        if not log.has_owner():
            self._logs = {other: one for other, one in self._logs.items() if other != key}

    def step_back(self, owners: Iterable[Savepoint], forward: list[Callable[[], None]]) -> None:
        """Take back for a moment what open blocks wrote.

        Args:
            owners: The blocks, in the order in which they began.
            forward: Is extended by what puts it there again, each step before it is needed:
                Ctrl-C may strike. The last one comes first; they may be repeated.
        """
        inner_first = [*owners][::-1]
        for log in [*self._logs.values()]:
            log.step_back(inner_first, forward)

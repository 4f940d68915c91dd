"""The outcomes of saves: counted, logged, and sent as signals of the hub."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autostate import hub, logs
from autostate.errors import StoreUnavailableError, UnsupportedTypeError

if TYPE_CHECKING:
    from autostate.journal import CommitInfo

logger: logging.Logger = logging.getLogger("autostate")


@dataclass(frozen=True)
class Statistics:
    """The figures of all saves of a manager so far.

    Attributes:
        flushes: Commits that became durable.
        writes: Records that were written for them, compaction not counted.
        bytes: Bytes in these records.
        entries: Entries written in them.
        last_duration: Seconds that the last of them took.
        staleness: For how many seconds something has been unsaved; 0 when nothing is. The changes
            of a save under way count as unsaved until they are durable.
        unsaved_bytes: An estimate of the unsaved bytes.
        failures: Attempts to save that failed.
        failing: How many of them since the last that succeeded.
        last_error: Why the last attempt failed; None when it succeeded.
        waiting: For how many seconds a save has waited for the store to answer; 0 when none does.
        unsavable: The paths of entries that cannot be saved; all other entries are saved. A path
            stays until `flush()` or `durable()` has tried the entry again.
        compactions: Journals replaced by a snapshot.
        fenced: Whether a later process has taken over, so that nothing is saved any more.
    """

    flushes: int = 0
    writes: int = 0
    bytes: int = 0
    entries: int = 0
    last_duration: float = 0.0
    staleness: float = 0.0
    unsaved_bytes: int = 0
    failures: int = 0
    failing: int = 0
    last_error: str | None = None
    waiting: float = 0.0
    unsavable: tuple[str, ...] = ()
    compactions: int = 0
    fenced: bool = False


class Outcomes:
    """Counts and reports the outcomes of the saves of one manager.

    Args:
        sender: The sender of the hub's signals.
        describe: Describes what is unsaved.

    Attributes:
        done: The figures so far.
        failing: How many attempts failed since the last success.
        last_error: Why the last attempt failed; None if it succeeded.
        unsavable: The paths of entries that cannot be saved, as keys in their order.
    """

    def __init__(self, sender: object, describe: Callable[[], str]) -> None:
        self.done: Statistics = Statistics()
        self.failing: int = 0
        self.last_error: Exception | None = None
        self.unsavable: dict[str, None] = {}
        self._sender = sender
        self._describe = describe
        self._reported: set[str] = set()

    def succeeded(self, info: CommitInfo | None, entries: int, duration: float) -> None:
        """Count a flush, and report that saving works again.

        Args:
            info: What was written; None if there was nothing to write.
            entries: How many entries.
            duration: Seconds that the flush took.
        """
        if self.failing:
            plural = "" if self.failing == 1 else "s"
            logger.warning("saving works again after %d failure%s", self.failing, plural)
        self.failing, self.last_error = 0, None
        if info is None:
            return
        done = self.done
        self.done = dataclasses.replace(
            done,
            flushes=done.flushes + 1,
            bytes=done.bytes + info.bytes,
            writes=done.writes + info.writes,
            entries=done.entries + entries,
            last_duration=duration,
        )
        counts = {"bytes": info.bytes, "writes": info.writes, "entries": entries}
        hub.flushed.send(self._sender, duration=duration, **counts)

    def failed(self, error: BaseException, *, in_a_row: int | None = None) -> None:
        """Count an attempt that failed; log the first, second, fourth, eighth and so on.

        So the first failure is reported at once, and the log does not fill the disk.

        Args:
            error: The reason.
            in_a_row: How many flushes have failed; None: this one goes on with another attempt.
        """
        if isinstance(error, Exception):
            self.last_error = error
        self.failing += 1
        self.done = dataclasses.replace(self.done, failures=self.done.failures + 1)
        number = self.failing if in_a_row is None else in_a_row
        if number & (number - 1) == 0:
            logs.heard().log(
                logging.WARNING if in_a_row is None else logging.ERROR,
                "saving failed%s: %s; %s",
                "" if self.failing == 1 else f" {self.failing} times in a row",
                ": ".join(filter(None, (type(error).__name__, str(error)))),
                self._describe(),
                exc_info=None if isinstance(error, StoreUnavailableError) else error,
            )
        hub.flush_failed.send(self._sender, error=error, failures=self.failing)

    def compacted(self) -> None:
        """Count a compaction."""
        self.done = dataclasses.replace(self.done, compactions=self.done.compactions + 1)

    def unsupported(self, errors: Sequence[UnsupportedTypeError], *, explicit: bool) -> None:
        """Report each entry that cannot be saved once.

        Args:
            errors: The errors of a flush; at least one.
            explicit: Whether somebody has asked for the flush.

        Raises:
            UnsupportedTypeError: The first of the errors, if somebody has asked.
        """
        for error in errors:
            self.unsavable[error.path] = None
            if error.path not in self._reported:
                self._reported.add(error.path)
                logs.heard().error("a value is not saved, everything else is: %s", error)
                hub.flush_failed.send(self._sender, error=error, failures=0)
        if explicit:
            first = errors[0]
            if len(errors) > 1:
                others = ", ".join(error.path for error in errors[1:6])
                first.add_note(f"and {len(errors) - 1} more: {others}")
            raise first

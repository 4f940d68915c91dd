"""The outcomes of saves: counted, logged, and sent as signals of the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from autostate import hub, logs
from autostate.errors import StoreUnavailableError, UnsupportedTypeError, forget_locals

if TYPE_CHECKING:
    from autostate.journal import CommitInfo

logger: logging.Logger = logging.getLogger("autostate")


class Outcomes:
    """Counts and reports the outcomes of the saves of one manager.

    Args:
        sender: The sender of the hub's signals.
        describe: Describes what is unsaved.

    Attributes:
        flushes, writes, bytes, entries, last_duration, failures, compactions: See `Statistics`.
        failing: How many attempts failed since the last success.
        last_error: Why the last attempt failed; None if it succeeded.
        unsavable: The paths of entries that cannot be saved, as keys in their order.
    """

    def __init__(self, sender: object, describe: Callable[[], str]) -> None:
        self.flushes: int = 0
        self.writes: int = 0
        self.bytes: int = 0
        self.entries: int = 0
        self.last_duration: float = 0.0
        self.failures: int = 0
        self.compactions: int = 0
        self.failing: int = 0
        self.last_error: Exception | None = None
        self.unsavable: dict[str, None] = {}
        self._sender = sender
        self._describe = describe
        self._reported: set[str] = set()

    @property
    def _store(self) -> str | None:
        """The URL of the store, without secrets."""
        return getattr(self._sender, "url", None)

    def succeeded(self, info: CommitInfo | None, entries: int, duration: float) -> None:
        """Count a flush, and report that saving works again.

        Args:
            info: What was written; None if there was nothing to write.
            entries: How many entries.
            duration: Seconds that the flush took.
        """
        if self.failing:
            plural = "" if self.failing == 1 else "s"
            logger.warning(
                "saving works again after %d failure%s",
                *(self.failing, plural),
                extra=logs.attributes("saving_works", failures=self.failing, store=self._store),
            )
        self.failing, self.last_error = 0, None
        if info is None:
            return
        self.bytes += info.bytes
        self.writes += info.writes
        self.entries += entries
        self.last_duration = duration
        self.flushes += 1  # last: who sees that it is counted, in another thread, sees its figures
        counts = {"bytes": info.bytes, "writes": info.writes, "entries": entries}
        if logs.saves.isEnabledFor(logging.DEBUG):
            logs.saves.debug(
                "saved %d entries in %.1f ms: %d bytes, %d records",
                *(entries, duration * 1000, info.bytes, info.writes),
                extra=logs.attributes("saved", duration=duration, store=self._store, **counts),
            )
        hub.flushed.send(self._sender, duration=duration, **counts)

    def failed(self, error: BaseException, *, in_a_row: int | None = None) -> None:
        """Count an attempt that failed; log the first, second, fourth, eighth and so on.

        So the first failure is reported at once, and the log does not fill the disk.

        Args:
            error: The reason.
            in_a_row: How many flushes have failed; None: this one goes on with another attempt.
        """
        forget_locals(error)
        if isinstance(error, Exception):
            self.last_error = error
        self.failing += 1
        self.failures += 1
        number = self.failing if in_a_row is None else in_a_row
        if number & (number - 1) == 0:
            logs.heard().log(
                logging.WARNING if in_a_row is None else logging.ERROR,
                "saving failed%s: %s; %s",
                "" if self.failing == 1 else f" {self.failing} times in a row",
                ": ".join(filter(None, (type(error).__name__, str(error)))),
                self._describe(),
                exc_info=None if isinstance(error, StoreUnavailableError) else error,
                extra=logs.attributes(
                    "saving_failed",
                    error=type(error).__name__,
                    failures=self.failing,
                    store=self._store,
                ),
            )
        hub.flush_failed.send(self._sender, error=error, failures=self.failing)

    def compacted(self) -> None:
        """Count a compaction."""
        self.compactions += 1

    def unsupported(self, errors: Sequence[UnsupportedTypeError], *, explicit: bool) -> None:
        """Report each entry that cannot be saved once.

        Args:
            errors: The errors of a flush; at least one.
            explicit: Whether somebody has asked for the flush.

        Raises:
            UnsupportedTypeError: The first of the errors, if somebody has asked.
        """
        for error in errors:
            forget_locals(error, own=True)
            self.unsavable[error.path] = None
            if error.path not in self._reported:
                self._reported.add(error.path)
                logs.heard().error(
                    "%s not saved, everything else is: %s",
                    *(
                        "a value is" if len(errors) == 1 else "one of several values that are",
                        error,
                    ),
                    extra=logs.attributes("value_not_saved", path=error.path, store=self._store),
                )
                hub.flush_failed.send(self._sender, error=error, failures=0)
        if explicit:
            first = errors[0]
            if len(errors) > 1:
                others = ", ".join(error.path for error in errors[1:6])
                first.add_note(f"and {len(errors) - 1} more: {others}{', …' * (len(errors) > 6)}")
            raise first

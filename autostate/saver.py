"""One flush, from the cut to the word to whoever is interested; and compaction.

Nothing here knows of the thread or decides when: the flusher calls, one call at a time. A flush
is: cut, encode, commit, check of the owner. What cannot be saved now is marked again and comes
with the next flush. Bytes that may have reached the store go out again unchanged within one
flush; the journal sees to it that different bytes never follow them under the same key.

Why retries are written here and not left to stamina: its sleep is `time.sleep`. This one must end
early when somebody calls `flush()`, when a migration sets a deadline and when the process ends,
and all attempts together must fit into what is left. Backoff and jitter are a line each.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, TypeVar

from autostate import heap, hub
from autostate.errors import (
    FencedError,
    FlushError,
    StoreGoneError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from autostate.flush_policy import LOOK_INTERVAL, FlushPolicy, backoff
from autostate.flush_request import (
    LOOP_CHECK,
    FlushRequest,
    StandingLoops,
    cut_on_loop,
    running_loop,
)
from autostate.loop_bodies import Bodies

if TYPE_CHECKING:
    from autostate.journal import CommitInfo, Journal
    from autostate.tracking import Capture, Tracker

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("autostate")

PAUSE_EVERY = 0.002
"""Seconds of work between two pauses: the longest that it may hold up an event loop."""

LONGEST_HURRIED = 1.0
"""Seconds that a cut waits for the end of a loop's body when the process is about to end."""

COMPACTION_PAUSE = 60.0
"""Seconds after a compaction that failed before the next is tried."""


@dataclass(frozen=True)
class Statistics:
    """What a manager has saved so far.

    Attributes:
        flushes: Commits that became durable.
        writes: Records that were written for them, compaction not counted.
        bytes: Bytes in these records.
        entries: Entries looked at to make them.
        last_duration: Seconds that the last of them took.
        staleness: For how many seconds something has been unsaved; 0 when nothing is.
        unsaved_bytes: An estimate of how much that is.
        failures: Flushes that failed.
        failing: How many of them since the last that succeeded.
        compactions: Journals replaced by a snapshot.
        fenced: A later incarnation has taken over: nothing is saved any more.
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
    compactions: int = 0
    fenced: bool = False


class Saver:
    """Carries out flushes. Not for several threads at once.

    Args:
        tracker: What is dirty.
        journal: Where it goes.
        policy: Told what happened, asked for deadlines.
        conditional: The store refuses writes of a fenced incarnation by itself; where it does
            not, ownership is checked after writing.
        pause: Waits for so many seconds, or shorter if there is news.
        renew: Called when the store has lost everything: forgets what it had, marks everything.
        sender: The sender of the hub's signals.
        clock: Seconds that never jump.
        bodies: The resumable loops that run.

    Attributes:
        fenced: The error, once a later incarnation has taken over.
        last_error: Why the last flush failed; None if it succeeded.
        unsaved: The changes that the commit under way, or the last that failed, would save.
        saved_at: When the last commit became durable, in seconds since 1970.
        standing: The event loops whose threads wait for a flush.
    """

    def __init__(
        self,
        tracker: Tracker,
        journal: Journal,
        policy: FlushPolicy,
        *,
        conditional: bool,
        pause: Callable[[float], None],
        renew: Callable[[], None],
        sender: object = None,
        clock: Callable[[], float] = time.monotonic,
        bodies: Bodies | None = None,
    ) -> None:
        self.fenced: FencedError | None = None
        self.last_error: Exception | None = None
        self.unsaved: list[bytes] = []
        self.saved_at: float | None = None
        self.standing: StandingLoops = StandingLoops()
        self.bodies: Bodies = Bodies() if bodies is None else bodies
        self._tracker = tracker
        self._journal = journal
        self._policy = policy
        self._conditional = conditional
        self._pause = pause
        self._renew = renew
        self._sender = sender
        self._clock = clock
        self._done = Statistics()
        self._refused = False
        self.last = False
        self._reported: set[str] = set()
        self._compact_after = float("-inf")

    def flush(
        self, requests: Sequence[FlushRequest], deadline: float, *, sweep: bool = False
    ) -> None:
        """Save what is dirty now.

        Args:
            requests: Who waits for it; with nobody waiting, an open `atomic()` block puts it off.
            deadline: When to give up, by the clock.
            sweep: Compare content that could have been changed past the barrier, too.

        Raises:
            Exception: What went wrong, after it was logged; all is marked again.
        """
        if self.fenced is not None:
            raise self.fenced
        since, cpu = self._policy.first_unsaved, time.thread_time()
        capture = None
        info, waited = None, 0.0
        started = self._clock()
        try:
            capture = self._cut(requests, deadline, sweep=sweep)
            if capture is None:
                return
            changes = capture.encode(None if self.last else Breather())
            if changes:
                if not self.last:  # however long encoding took, the store has its own time
                    deadline = self._policy.deadline(self._clock(), at_least=deadline)
                info, waited = self._commit(changes, deadline)
        except StoreGoneError as error:
            logger.critical("%s, and everything is saved again", error)
            self._renew()  # marks everything; what was captured is part of it
            self.flush(requests, deadline, sweep=sweep)
            return
        except BaseException as error:
            if capture is not None:
                capture.failed()
            self._note_failure(error, since)
            raise
        capture.saved()
        # What a flush takes from the program: the processor, and the store while it writes.
        cost = time.thread_time() - cpu + waited
        self._note_success(capture, info, self._clock() - started, cost)
        changes.clear()  # the capture is a cycle, and may stay for long
        heap.give_back(info.bytes if info is not None else 0)
        if requests and self._policy.unchecked:
            self.check_owner(deadline)
        self._report_unsupported(capture.errors, explicit=bool(requests))

    def check_owner(self, deadline: float) -> None:
        """See that no later incarnation has taken over.

        Raises:
            FencedError: One has.
            FlushError: The store did not say.
        """
        try:
            self._journal.check_owner(timeout=self._share(deadline))
        except FencedError as error:
            self._fence(error)
            raise
        except Exception as error:
            self._policy.check_failed(self._clock())
            raise FlushError(
                "all is written, but the store did not say whether a later incarnation has "
                f"taken over: {error}"
            ) from error
        self._policy.checked()

    def compact(self, interlude: Callable[[], None]) -> None:
        """Replace the journal by a snapshot if it is time. Failures are logged.

        Args:
            interlude: Called between slices of about a millisecond; may flush.
        """
        if self.fenced or self._clock() < self._compact_after:
            return
        if not self._journal.needs_compaction:
            return
        timeout = self._policy.settings.flush_timeout  # for each answer: the work may go on
        try:
            left_out = self._journal.compact(pause=interlude, timeout=timeout)
        except FencedError as error:
            self._fence(error)
        except Exception as error:
            self._compact_after = self._clock() + COMPACTION_PAUSE
            expected = isinstance(error, StoreUnavailableError)
            logger.warning(
                "compaction failed; the journal grows until it works: %s",
                error,
                exc_info=None if expected else error,
            )
        else:
            self._tracker.collected(left_out)
            self._count(compactions=1)
            heap.give_back(self._journal.size)

    def statistics(self) -> Statistics:
        """Return what was done so far and how things stand."""
        return dataclasses.replace(
            self._done,
            staleness=self._policy.staleness(self._clock()),
            unsaved_bytes=self._tracker.estimate() if self._tracker.dirty else 0,
            failing=self._policy.failures,
            fenced=self.fenced is not None,
        )

    def describe_unsaved(self) -> str:
        """Say how much is unsaved, and since when."""
        age = self._policy.staleness(self._clock())
        why = "an atomic() block is open, and " if self._refused else ""
        size = max(self._tracker.estimate(), sum(map(len, self.unsaved)))
        return (
            f"{why}about {size:,} bytes are unsaved, "
            f"the oldest for {age:.1f} s; they stay in memory and are tried again"
        )

    # -- the cut ------------------------------------------------------------------------------

    def _cut(
        self, requests: Sequence[FlushRequest], deadline: float, *, sweep: bool
    ) -> Capture | None:
        """Cut. While an `atomic()` block is open: wait for its end if somebody waits for us."""
        while True:
            if not self.last:
                self._tracker.prepare(Breather(), sweep=sweep)
            capture = self._cut_once(deadline, sweep=sweep)
            self._refused = capture is None
            if capture is not None:
                self._policy.cut(self._clock())
                return capture
            if requests and self._clock() >= deadline:
                raise FlushError("an atomic() block is still open")
            self._pause(LOOK_INTERVAL)  # the end of the block ends the pause
            if not requests:
                return None

    def _cut_once(self, deadline: float, *, sweep: bool) -> Capture | None:
        """Cut between two items of the resumable loops that run, unless that takes too long."""
        bodies, tracker, began = self.bodies, self._tracker, self._clock()

        def waits() -> bool:
            patience = self._patience(deadline)
            return bodies.in_work and self._clock() - began < patience

        def cut_unless_in_work() -> Capture | EllipsisType | None:
            with tracker.lock:  # no loop begins meanwhile
                return ... if waits() else tracker.cut(sweep=sweep)

        while True:
            with bodies.asked() as meeting:
                while waits() and not meeting.reached:
                    self._pause(LOOP_CHECK)
                if meeting.reached:
                    return tracker.cut(sweep=sweep)
            capture = self._cut_between_awaits(cut_unless_in_work, deadline)
            if not isinstance(capture, EllipsisType):
                return capture

    def _patience(self, deadline: float) -> float:
        """Return the seconds for which a cut may wait for its place."""
        patience = min(self._policy.settings.max_delay, max(0.0, self._left(deadline)) / 4)
        hurried = self.last or self._policy.hurried(self._clock())
        return min(patience, LONGEST_HURRIED) if hurried else patience

    def _cut_between_awaits(self, cut: Callable[[], T], deadline: float) -> T:
        """Cut on the thread of the event loop that writes, unless it stands still."""
        loop = self._tracker.loop()
        if loop is None or loop is running_loop():
            return cut()
        patience = min(self._policy.settings.max_delay, max(0.0, self._left(deadline)) / 4)
        return cut_on_loop(loop, cut, patience, self.standing)

    # -- the commit ---------------------------------------------------------------------------

    def _commit(self, changes: list[bytes], deadline: float) -> tuple[CommitInfo, float]:
        """Commit, with retries of the same bytes; return what it took, with the seconds."""
        self.unsaved = changes
        attempt = 0
        while True:
            attempt += 1
            began = self._clock()
            try:
                info = self._journal.commit(changes, timeout=self._share(deadline))
            except StoreUnavailableError as error:
                pause = backoff(attempt, first=0.2, longest=5.0)
                if pause >= self._left(deadline):
                    raise
                logger.debug("attempt %d to save failed: %s", attempt, error)
                self._pause(pause)
            else:
                self.unsaved = []
                self.saved_at = time.time()
                return info, self._clock() - began

    def _share(self, deadline: float) -> float:
        """Return the seconds for one attempt: half of what is left, so that another may follow."""
        left = max(0.05, self._left(deadline))
        return max(left / 2, min(left, 2.0))

    def _left(self, deadline: float) -> float:
        """Return the seconds that are left; a kill may have been announced meanwhile."""
        now = self._clock()
        return min(deadline, self._policy.deadline(now, at_least=deadline)) - now

    # -- what others are told -----------------------------------------------------------------

    def _note_success(
        self, capture: Capture, info: CommitInfo | None, duration: float, cost: float
    ) -> None:
        """Count a flush, and say that saving works again."""
        if self._policy.failures:
            logger.warning("saving works again after %d failures", self._policy.failures)
        self._policy.saved(cost)
        self.last_error = None
        if info is None:
            return
        if not self._conditional:
            self._policy.committed(self._clock())
        counts = {"bytes": info.bytes, "writes": info.writes, "entries": capture.entries}
        self._count(flushes=1, **counts)
        self._done = dataclasses.replace(self._done, last_duration=duration)
        hub.flushed.send(self._sender, duration=duration, **counts)

    def _count(self, **counts: int) -> None:
        """Add to the statistics."""
        sums = {name: getattr(self._done, name) + count for name, count in counts.items()}
        self._done = dataclasses.replace(self._done, **sums)

    def _note_failure(self, error: BaseException, since: float | None) -> None:
        """Count a failure; log the first, the second, the fourth, the eighth and so on."""
        if isinstance(error, FencedError):
            self._fence(error)
            return
        if isinstance(error, Exception):
            self.last_error = error
        self._policy.failed(self._clock(), since)
        self._count(failures=1)
        failures = self._policy.failures
        if failures & (failures - 1) == 0:
            expected = isinstance(error, StoreUnavailableError)
            logger.error(
                "saving failed (%d in a row): %s: %s; %s",
                failures,
                type(error).__name__,
                error,
                self.describe_unsaved(),
                exc_info=None if expected else error,
            )
        hub.flush_failed.send(self._sender, error=error, failures=failures)

    def _report_unsupported(
        self, errors: Sequence[UnsupportedTypeError], *, explicit: bool
    ) -> None:
        """Log each entry that cannot be saved once; raise the first if somebody waits."""
        for error in errors:
            if error.path not in self._reported:
                self._reported.add(error.path)
                logger.error("not saved, everything else is: %s", error)
        if explicit and errors:
            first = errors[0]
            if len(errors) > 1:
                others = ", ".join(error.path for error in errors[1:6])
                first.add_note(f"and {len(errors) - 1} more: {others}")
            raise first

    def _fence(self, error: FencedError) -> None:
        """Stop writing for good."""
        if self.fenced is None:
            self.fenced = error
            logger.critical("%s; nothing that this process changes is saved any more", error)
            hub.fenced.send(self._sender, error=error)


class Breather:
    """Gives up the interpreter's lock for a moment, between slices of work.

    Not after every slice: with several busy threads each pause lasts until all had their turn.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Pause if the last time is some milliseconds ago."""
        if time.perf_counter() - self._since >= PAUSE_EVERY:
            time.sleep(0)
            self._since = time.perf_counter()

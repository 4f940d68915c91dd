"""One flush, from the cut to the signals about its outcome; and compaction.

Nothing here knows the thread, or decides when to flush: the flush thread calls, one call at a time.
A flush is: cut, encode, commit, check of the owner. Entries that cannot be saved now are marked
again, and are part of the next flush. Within one flush, bytes that may have reached the store are
sent again unchanged; the journal ensures that different bytes never follow them under the same key.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from autostate import hub, logs, memory
from autostate.deadline import Call, Deadline, retried
from autostate.errors import (
    FencedError,
    FlushError,
    StoreGoneError,
    StoreUnavailableError,
    forget_locals,
)
from autostate.ownership.owner import is_of_this_run
from autostate.process import exit_status, lifecycle
from autostate.saving.outcomes import Outcomes
from autostate.saving.patient_cut import PatientCut
from autostate.saving.policy import FlushPolicy
from autostate.saving.request import FlushRequest
from autostate.warned import shows_warnings

if TYPE_CHECKING:
    from autostate.journal import CommitInfo, Journal
    from autostate.saving.statistics import Statistics
    from autostate.tracking import Capture, Tracker

R = TypeVar("R")

logger: logging.Logger = logging.getLogger("autostate")

PAUSE_EVERY = 0.002
"""Seconds of work between two pauses, during which an event loop may be held up."""

LONGEST_KILL = 120.0
"""Seconds for which a write in a container that was replaced waits for its kill."""

COMPACTION_PAUSE = 60.0
"""Seconds after a compaction that failed before the next is tried."""

SMALL = 1 << 20
"""Bytes of a commit that a store on this machine writes at once, unless something hinders it."""

ATTEMPTS_AT_THE_END = 3
"""How often the end of a process tries to save in spite of an error that waiting does not mend."""

_UNCHECKED = (
    "everything is written, but the store did not say whether a later process has taken over"
)


class FlushJob:
    """Carries out flushes. Not for several threads at once.

    Args:
        tracker: The tracker of the state.
        journal: The journal to which changes are committed.
        policy: The policy, which is told the outcomes and gives deadlines.
        conditional: Whether the store itself refuses writes of a fenced incarnation; otherwise
            ownership is checked after writing.
        check: Called before each commit; tells whether the lock file is in place, and raises if
            this process is not the owner any more.
        check_stored: Called if it was not; raises if the state was deleted, too.
        renew: Called when the store has lost everything; begins an empty journal, marks everything.
        sender: The sender of the hub's signals.
        clock: Seconds that never jump.
        first_wait: Seconds that the first attempt of a small commit may wait for the store. If a
            store that normally answers at once does not, the reason is then reported.

    Attributes:
        tracker: The tracker.
        policy: The policy.
        clock: The clock.
        pause: Waits for this many seconds, or less if there is news.
        patient_cut: Takes the cuts, and knows the loops that run.
        outcomes: The outcomes so far.
        fenced: The error, once a later process has taken over.
        requests: The requests without an outcome, as keys in their order.
        unsaved: The changes of the commit under way, or of the last one that failed.
        saved_at: When the last commit became durable, in seconds since 1970.
        owned_at: The latest moment at which this process is known to have owned the state.
    """

    def __init__(
        self,
        tracker: Tracker,
        journal: Journal,
        policy: FlushPolicy,
        *,
        conditional: bool = True,
        check: Callable[[], bool] = lambda: True,
        check_stored: Callable[[], None] = lambda: None,
        renew: Callable[[], None] = lambda: None,
        sender: object = None,
        clock: Callable[[], float] = time.monotonic,
        first_wait: float = math.inf,
    ) -> None:
        self.tracker = tracker
        self.policy = policy
        self.clock = clock
        self.pause: Callable[[float], None] = time.sleep
        self.patient_cut: PatientCut = PatientCut(tracker, policy, self.describe_unsaved, clock)
        self.fenced: FencedError | None = None
        self.outcomes: Outcomes = Outcomes(sender, self.describe_unsaved)
        self.requests: dict[FlushRequest, None] = {}
        self.unsaved: list[bytes] = []
        self.saved_at: float | None = None
        self.owned_at: float = -math.inf
        self._journal = journal
        self._conditional = conditional
        self._check = check
        self._check_stored = check_stored
        self._renew = renew
        self._sender = sender
        self._first_wait = first_wait
        self._under_way = 0
        self._waiting_since: float | None = None
        self._is_written = False
        self._saved_cut = 0
        self._compact_after = -math.inf

    @shows_warnings
    def flush(
        self, requests: Sequence[FlushRequest], deadline: Deadline, *, full_compare: bool = False
    ) -> None:
        """Save all dirty entries.

        Args:
            requests: The requests that wait for this flush; if there are none, an open `atomic()`
                block puts the flush off.
            deadline: When to give up. It moves: the store has its own time after encoding.
            full_compare: Compare content that could have been changed past the barrier, too.

        Raises:
            Exception: The reason of the failure, which was logged; everything is marked again.
        """
        if self.fenced is not None:
            raise self.fenced
        try:
            capture = self._save(requests, deadline, full_compare=full_compare)
        except StoreGoneError as error:
            self._save_all_again(error)
            if self.fenced is not None:
                raise self.fenced from error
            self.flush(requests, deadline, full_compare=full_compare)
            return
        if capture is None:
            return
        if self.policy.unchecked:
            if requests:
                self.check_owner(deadline)
            elif any(follower.waits for follower in self.tracker.followers):
                with contextlib.suppress(FlushError):  # asked again later
                    self.check_owner(deadline, again=False)
        else:
            self._tell_followers()
        if full_compare:  # each doubtful entry was encoded again
            self.outcomes.unsavable.clear()
        if capture.errors:
            self.outcomes.unsupported(capture.errors, explicit=bool(requests))

    def _save(
        self, requests: Sequence[FlushRequest], deadline: Deadline, *, full_compare: bool
    ) -> Capture | None:
        """Cut, encode and commit; return the capture, or None if an open block puts it off."""
        tracker, policy, capture = self.tracker, self.policy, None
        info, waited, marked = None, 0.0, 0
        started, cpu, yield_gil = self.clock(), time.thread_time(), GilYield()
        if tracker.marked:
            marked = tracker.estimate()
            policy.noticed(started)
        try:
            take = self.patient_cut.take
            capture = take(requests, deadline, yield_gil, full_compare=full_compare)
            if capture is None:
                return None
            # From here on changes belong to the next flush.
            self._under_way, cut_at = marked, self.clock()
            changes = capture.encode(None if policy.last else yield_gil)
            policy.cut(cut_at)
            if changes:  # a comparison may have found none, and an idle process writes nothing
                deadline.at = policy.writing(self.clock(), at_least=deadline.at)
                if not self._check():
                    self._check_stored()
                asked = self.clock()
                info, waited = self._commit(changes, deadline)
                if self._conditional:
                    self.owned_at = asked
            capture.saved()
            self._saved_cut = capture.number
        except StoreGoneError:  # `flush` saves everything again
            raise
        except BaseException as error:
            changes = []  # of this frame, the traceback of the error shows what it holds
            # Whether the commit has arrived is not known: everything is marked again. A cut that
            # Ctrl-C has interrupted has left its capture with the tracker.
            lost = capture or tracker.capture
            if lost is not None:
                lost.failed()
            self._under_way = 0
            if isinstance(error, FencedError):
                self._fence(error)
            else:
                policy.failed(self.clock())
                self.outcomes.failed(error, in_a_row=policy.failures)
            raise
        # The cost of a flush to the program: processor time, and the waiting for the store.
        cost = time.thread_time() - cpu + waited
        now, wrote = self.clock(), info is not None
        policy.saved(now, cost, wrote=wrote, conditional=self._conditional)
        self._under_way = 0
        self.outcomes.succeeded(info, capture.entries, now - started)
        changes.clear()  # the capture is a cycle, and may stay in memory for long
        if info is not None:
            memory.trim_heap(info.bytes)
        return capture

    def check_owner(self, deadline: Deadline, *, again: bool = True) -> None:
        """Check that no later incarnation has taken over.

        Args:
            deadline: When to give up.
            again: Whether to ask again until the deadline if the store does not answer.

        Raises:
            FencedError: One has.
            FlushError: The store did not answer.
        """
        gives_up = self._gives_up if again else lambda *_: True
        self._is_written, asked = True, self.clock()
        try:
            self._ask(self._journal.check_owner, deadline, gives_up, _note_silence)
            self.owned_at = asked
            self.policy.checked()
            self._tell_followers()
        except FencedError as error:
            self._fence(error)
            raise
        except Exception as error:
            self.policy.check_failed(self.clock())
            raise FlushError(f"{_UNCHECKED}: {error}") from error
        finally:
            self._is_written = False

    def _tell_followers(self) -> None:
        """Tell those who wait which of their writes are durable."""
        for follower in self.tracker.followers:
            try:
                follower.durable(self._saved_cut)
            except Exception:
                logger.exception("a follower of saves raised; the others are told")

    def renew(self, deadline: Deadline) -> None:
        """Show other processes that this owner lives, where they cannot ask. Log failures."""
        try:
            self._journal.renew(timeout=deadline.share())
        except FencedError as error:
            self._fence(error)
        except StoreGoneError as error:
            self._save_all_again(error)
        except Exception as error:
            logger.warning("others could not be shown that this process lives: %s", error)
        self.policy.renewed(self.clock())

    def _save_all_again(self, error: StoreGoneError) -> None:
        """Mark everything, captured entries included, since the store has lost it."""
        try:
            self._renew()
        except FencedError as fenced:
            self._fence(fenced)
        else:
            logs.heard().critical("%s, and everything is saved again", error)

    def compact(self, interlude: Callable[[], None]) -> bool:
        """Replace the journal by a snapshot if compaction is due. Log failures.

        Args:
            interlude: Called between slices of about a millisecond; may flush.

        Returns:
            Whether compaction was done, and is due again.
        """
        if self.fenced or self.clock() < self._compact_after:
            return False
        timeout = self.policy.settings.flush_timeout  # for each answer: the work may go on
        try:
            self._journal.tidy(timeout=timeout)
            if not self._journal.needs_compaction:
                return False
            left_out = self._journal.compact(pause=interlude, timeout=timeout)
        except FencedError as error:
            self._fence(error)
        except StoreGoneError as error:
            self._save_all_again(error)
        except Exception as error:
            self._compact_after = self.clock() + COMPACTION_PAUSE
            expected = isinstance(error, StoreUnavailableError)
            forget_locals(error)
            logger.warning(
                "the journal could not be compacted, and grows until that works: %s",
                error,
                exc_info=None if expected else error,
                extra=logs.attributes("compaction_failed", error=type(error).__name__),
            )
        else:
            self.tracker.collected(left_out)
            self.outcomes.compacted()
            memory.trim_heap(self._journal.size)
            return self._journal.needs_compaction
        return False

    @shows_warnings
    def collect(self) -> list[bytes]:
        """Return the changes since the last cut: at the end, while a commit hangs.

        Applied after the changes of that commit, they give the present state.
        """
        with contextlib.suppress(Exception):  # the hanging changes at least are kept
            capture = self.tracker.cut(full_compare=True)
            return [] if capture is None else capture.encode(None)
        return []

    def statistics(self) -> Statistics:
        """Return the figures of all saves so far, and the present state of saving."""
        from autostate.saving.statistics import Statistics

        outcomes = self.outcomes
        return Statistics(
            flushes=outcomes.flushes,
            writes=outcomes.writes,
            bytes=outcomes.bytes,
            entries=outcomes.entries,
            last_duration=outcomes.last_duration,
            failures=outcomes.failures,
            compactions=outcomes.compactions,
            staleness=self.policy.staleness(self.clock()),
            unsaved_bytes=self._unsaved_bytes(),
            failing=outcomes.failing,
            last_error=None if outcomes.last_error is None else str(outcomes.last_error),
            waiting=self.waiting,
            unsavable=tuple(outcomes.unsavable),
            fenced=self.fenced is not None,
        )

    def describe_unsaved(self) -> str:
        """Describe how much is unsaved, since when, and when it will be saved."""
        age = self.policy.staleness(self.clock())
        told = f"about {self._unsaved_bytes():,} bytes are unsaved, the oldest for {age:.1f} s"
        if self.policy.last:
            return told
        return f"{told}; they stay in memory, and autostate tries again to save them"

    def describe_late(self, timeout: float) -> str:
        """Describe what was not saved within this many seconds."""
        if self._is_written:
            return f"{_UNCHECKED}, within {timeout:.3g} s"
        return f"the state was not saved within {timeout:.3g} s: {self._describe_delay()}"

    def _describe_delay(self) -> str:
        """Describe what the flush under way waits for, and its errors so far."""
        reasons = []
        if self.patient_cut.refused:
            reasons.append("an atomic() block is open")
        if (error := self.outcomes.last_error) is not None:
            tries = self.outcomes.failing
            which = "the attempt" if tries == 1 else f"the last of {tries} attempts"
            reasons.append(f"{which} to save failed: {error}")
        if waiting := self.waiting:
            reasons.append(f"the store has not answered for {waiting:.1f} s")
        return "; ".join([*reasons, self.describe_unsaved()])

    @property
    def waiting(self) -> float:
        """The seconds for which the store has not answered; 0 if nothing waits for it."""
        since = self._waiting_since  # read once: it is set by the thread that saves
        return 0.0 if since is None else max(self.clock() - since, sys.float_info.min)

    @property
    def dirty(self) -> bool:
        """Whether something is unsaved; changes under way count."""
        return self.tracker.dirty or self._under_way > 0

    def _unsaved_bytes(self) -> int:
        """Estimate the unsaved bytes: those under way, and those written since."""
        marked = self.tracker.estimate() if self.tracker.marked else 0
        if self._under_way:
            return self._under_way + marked
        return max(marked, sum(map(len, self.unsaved)))

    # -- the commit ---------------------------------------------------------------------------

    def _commit(self, changes: list[bytes], deadline: Deadline) -> tuple[CommitInfo, float]:
        """Commit, with retries of the same bytes; return the cost, and the seconds of waiting."""
        self.unsaved = changes
        self._under_way = sum(map(len, changes))
        first = self._first_wait if self._under_way < SMALL else math.inf

        def commit(*, timeout: float) -> CommitInfo:  # no `partial`, whose repr has the changes
            return self._journal.commit(changes, timeout=timeout)

        info, waited = self._ask(commit, deadline, self._gives_up, self.outcomes.failed, first)
        self.unsaved = []
        self.saved_at = time.time()
        return info, waited

    def _ask(
        self,
        call: Call[R],
        deadline: Deadline,
        gives_up: Callable[[StoreUnavailableError, int], bool],
        report: Callable[[StoreUnavailableError], None],
        first: float = math.inf,
    ) -> tuple[R, float]:
        """Call the store until it answers; return the answer, and the seconds of the last call."""

        def pause(seconds: float) -> None:
            self._waiting_since = None
            self.pause(seconds)
            self._waiting_since = self.clock()

        self._waiting_since = self.clock()
        try:
            answer = retried(
                call, deadline, gives_up=gives_up, report=report, pause=pause, first=first
            )
            return answer, self.clock() - self._waiting_since
        finally:
            self._waiting_since = None

    def _gives_up(self, error: StoreUnavailableError, attempt: int) -> bool:
        """Tell whether to give up retrying: at the end, or when memory is full."""
        if isinstance(error.__cause__, MemoryError):
            return True  # so that the encoded changes are freed
        at_the_end = self.policy.last or any(one.ending for one in list(self.requests))
        return error.lasting and at_the_end and attempt >= ATTEMPTS_AT_THE_END

    def _fence(self, error: FencedError) -> None:
        """Stop writing for good."""
        if self.fenced is None:
            forget_locals(error)
            self.fenced = error
            self.policy.hold_lease(self.clock(), None)
            logs.heard().critical("%s", error, extra=logs.attributes("fenced"))
            hub.fenced.send(self._sender, error=error)
            if self.policy.settings.on_fenced == "exit" and not is_of_this_run(error.owner):
                lifecycle.finish_others(self._sender)
                exit_status.refuse()
            with self.tracker.lock:
                self.tracker.set_gate(self._refuse_to_write)

    def _refuse_to_write(self) -> None:
        """Raise before a write that would never be saved.

        In the old container of an Actor's run an error would end the run, which continues in the
        new container. So there the write waits for the kill, which is about to come.
        """
        assert self.fenced is not None
        if is_of_this_run(self.fenced.owner):
            time.sleep(LONGEST_KILL)
        raise FencedError(*self.fenced.args, owner=self.fenced.owner)


def _note_silence(error: StoreUnavailableError) -> None:
    logger.debug("the store is asked again for its owner: %s", error)


class GilYield:
    """Gives up the interpreter's lock for a moment, between slices of work.

    It does not pause after every slice, because with several busy threads each pause lasts until
    all of them have run.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Pause if the last pause is some milliseconds ago."""
        if time.perf_counter() - self._since >= PAUSE_EVERY:
            time.sleep(0)
            self._since = time.perf_counter()

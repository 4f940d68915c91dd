"""One flush, from the cut to the signals about its outcome; and compaction.

Nothing here knows the thread, or decides when to flush: the flush thread calls, one call at a time.
A flush is: cut, encode, commit, check of the owner. Entries that cannot be saved now are marked
again, and are part of the next flush. Within one flush, bytes that may have reached the store are
sent again unchanged; the journal ensures that different bytes never follow them under the same key.

Why retries are written here and not left to stamina: its sleep is `time.sleep`. This sleep must end
early when somebody calls `flush()`, when a migration sets a deadline and when the process ends, and
all attempts together must fit into the remaining time. Backoff and jitter are a line each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, TypeVar

from autostate import hub, logs, memory
from autostate.errors import (
    FencedError,
    FlushError,
    StoreGoneError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from autostate.ownership.owner import Owner, this_run
from autostate.process import exit_status, lifecycle
from autostate.saving.policy import POLL_INTERVAL, FlushPolicy, backoff
from autostate.saving.rendezvous import ActiveLoops
from autostate.saving.request import (
    LOOP_CHECK,
    BlockedLoops,
    FlushRequest,
    LateLoop,
    cut_on_loop,
    running_loop,
)
from autostate.tracking.blocks import LONGEST_HOLD
from autostate.warned import shows_warnings

if TYPE_CHECKING:
    from autostate.journal import CommitInfo, Journal
    from autostate.tracking import Capture, Tracker

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("autostate")

PAUSE_EVERY = 0.002
"""Seconds of work between two pauses, during which an event loop may be held up."""

LONGEST_LAST_HOLD = 5.0
"""Seconds for which the last save waits for the end of `atomic()` blocks, then it undoes them."""

LONGEST_URGENT = 1.0
"""Seconds that a cut waits for the end of a loop's body when the process is about to end."""

LOOP_PATIENCE = 5.0
"""Seconds for which a cut waits for an event loop, at most."""

TOLD = 0.1
"""Seconds of waiting for the store above which messages mention it."""

FIRST_HOLD = 0.1
"""Seconds for which a cut that waits for `atomic()` blocks lets no new one begin, at first."""

LONGEST_KILL = 120.0
"""Seconds for which a write in a container that was replaced waits for its kill."""

LONG_BLOCK = 10.0
"""Seconds after which a warning says that a block keeps a save waiting."""

COMPACTION_PAUSE = 60.0
"""Seconds after a compaction that failed before the next is tried."""


SMALL = 1 << 20
"""Bytes of a commit that a store on this machine writes at once, unless something hinders it."""

ATTEMPTS_AT_THE_END = 3
"""How often the end of a process tries to save in spite of an error that waiting does not mend."""

_UNCHECKED = (
    "everything is written, but the store did not say whether a later process has taken over"
)


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


class FlushJob:
    """Carries out flushes. Not for several threads at once.

    Args:
        tracker: The tracker of the state.
        journal: The journal to which changes are committed.
        policy: The policy, which is told the outcomes and gives deadlines.
        conditional: Whether the store itself refuses writes of a fenced incarnation; otherwise
            ownership is checked after writing.
        pause: Waits for this many seconds, or less if there is news.
        check: Called before each commit; raises if this process is not the owner any more.
        renew: Called when the store has lost everything; begins an empty journal, marks everything.
        sender: The sender of the hub's signals.
        clock: Seconds that never jump.
        active_loops: The resumable loops that run.
        first_wait: Seconds that the first attempt of a small commit may wait for the store. If a
            store that normally answers at once does not, the reason is then reported.

    Attributes:
        fenced: The error, once a later process has taken over.
        last_error: Why the last attempt failed; None if it succeeded.
        unsavable: The paths of entries that cannot be saved, as keys in their order.
        last: Whether this is the last save of the process, so that no time is spent on later ones.
        ending: Requests that come from an end (of an Actor, of a `with` block): for these, too,
            an error that waiting does not mend is retried a few times only.
        unsaved: The changes of the commit under way, or of the last one that failed.
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
        check: Callable[[], None],
        renew: Callable[[], None],
        sender: object = None,
        clock: Callable[[], float] = time.monotonic,
        active_loops: ActiveLoops | None = None,
        first_wait: float = math.inf,
    ) -> None:
        self.fenced: FencedError | None = None
        self.last_error: Exception | None = None
        self.unsaved: list[bytes] = []
        self.saved_at: float | None = None
        self.blocked_loops: BlockedLoops = BlockedLoops()
        self.active_loops: ActiveLoops = ActiveLoops() if active_loops is None else active_loops
        self._tracker = tracker
        self._journal = journal
        self._policy = policy
        self._conditional = conditional
        self._pause = pause
        self._check = check
        self._renew = renew
        self._sender = sender
        self._clock = clock
        self._done = Statistics()
        self.last: bool = False
        self._last_chance = 0.0
        self.ending: set[FlushRequest] = set()
        self._first_wait = first_wait
        self._late_loop = LateLoop()
        self._refused = False
        self._refusals = 0
        self._waits_for: object = None
        self._waits_since = 0.0
        self._told_of_block = False
        self._failing = 0
        self._waiting_since: float | None = None
        self._is_written = False
        self._under_way = 0
        self._reported: set[str] = set()
        self.unsavable: dict[str, None] = {}
        self._compact_after = float("-inf")

    @shows_warnings
    def flush(
        self, requests: Sequence[FlushRequest], deadline: float, *, full_compare: bool = False
    ) -> None:
        """Save all dirty entries.

        Args:
            requests: The requests that wait for this flush; if there are none, an open `atomic()`
                block puts the flush off.
            deadline: When to give up, by the clock.
            full_compare: Compare content that could have been changed past the barrier, too.

        Raises:
            Exception: The reason of the failure, which was logged; everything is marked again.
        """
        if self.fenced is not None:
            raise self.fenced
        capture = None
        info, waited = None, 0.0
        started, cpu = self._clock(), time.thread_time()
        marked = 0
        if self._tracker.dirty:
            marked = self._tracker.estimate()
            self._policy.noticed(started)
        try:
            capture = self._cut(requests, deadline, full_compare=full_compare)
            if capture is None:
                return
            self._under_way = marked
            changes = capture.encode(None if self.last else GilYield())
            if changes:
                self._policy.writing()
                if not self.last:  # the store has its own time, however long encoding took
                    deadline = self._policy.deadline(self._clock(), at_least=deadline)
                info, waited = self._commit(changes, deadline)
            capture.saved()
        except StoreGoneError as error:
            try:
                self._renew()  # marks everything, the captured entries included
            except FencedError as fenced:
                self._fence(fenced)
                raise
            logs.heard().critical("%s, and everything is saved again", error)
            self.flush(requests, deadline, full_compare=full_compare)
            return
        except BaseException as error:
            lost = capture or self._tracker.capture  # Ctrl-C struck on the way from the cut to here
            if lost is not None:
                lost.failed()
            self._under_way = 0
            self._note_failure(error)
            raise
        # The cost of a flush to the program: processor time, and the waiting for the store.
        cost = time.thread_time() - cpu + waited
        self._note_success(capture, info, self._clock() - started, cost)
        changes.clear()  # the capture is a cycle, and may stay in memory for long
        memory.trim_heap(info.bytes if info is not None else 0)
        if requests and self._policy.unchecked:
            self.check_owner(deadline)
        if full_compare:  # each doubtful entry was encoded again
            self.unsavable.clear()
        self._report_unsupported(capture.errors, explicit=bool(requests))

    def check_owner(self, deadline: float, *, again: bool = True) -> None:
        """Check that no later incarnation has taken over.

        Args:
            deadline: When to give up, by the clock.
            again: Whether to ask again until the deadline if the store does not answer.

        Raises:
            FencedError: One has.
            FlushError: The store did not answer.
        """
        attempt = 0
        self._is_written = True
        try:
            while self._policy.unchecked:
                attempt += 1
                self._waiting_since = self._clock()
                try:
                    self._journal.check_owner(timeout=self._share(deadline))
                except StoreUnavailableError as error:
                    pause = backoff(attempt, first=0.2, longest=5.0)
                    late = pause >= self._left(deadline) or self._gives_up(error, attempt)
                    if late or not again:
                        raise
                    logger.debug("the store is asked again for its owner: %s", error)
                    self._waiting_since = None
                    self._pause(pause)
                else:
                    self._policy.checked()
        except FencedError as error:
            self._fence(error)
            raise
        except Exception as error:
            self._policy.check_failed(self._clock())
            raise FlushError(f"{_UNCHECKED}: {error}") from error
        finally:
            self._is_written, self._waiting_since = False, None

    def renew(self, deadline: float) -> None:
        """Show other processes that this owner lives, where they cannot ask. Log failures."""
        try:
            self._journal.renew(timeout=self._share(deadline))
        except FencedError as error:
            self._fence(error)
        except Exception as error:
            logger.warning("others could not be shown that this process lives: %s", error)
        self._policy.renewed(self._clock())

    def compact(self, interlude: Callable[[], None]) -> bool:
        """Replace the journal by a snapshot if compaction is due. Log failures.

        Args:
            interlude: Called between slices of about a millisecond; may flush.

        Returns:
            Whether compaction was done, and is due again.
        """
        if self.fenced or self._clock() < self._compact_after:
            return False
        timeout = self._policy.settings.flush_timeout  # for each answer: the work may go on
        try:
            self._journal.tidy(timeout=timeout)
            if not self._journal.needs_compaction:
                return False
            left_out = self._journal.compact(pause=interlude, timeout=timeout)
        except FencedError as error:
            self._fence(error)
        except Exception as error:
            self._compact_after = self._clock() + COMPACTION_PAUSE
            expected = isinstance(error, StoreUnavailableError)
            logger.warning(
                "the journal could not be compacted, and grows until that works: %s",
                error,
                exc_info=None if expected else error,
            )
        else:
            self._tracker.collected(left_out)
            self._count(compactions=1)
            memory.trim_heap(self._journal.size)
            return self._journal.needs_compaction
        return False

    @shows_warnings
    def collect(self) -> list[bytes]:
        """Return the changes since the last cut: at the end, while a commit hangs.

        Applied after the changes of that commit, they give the present state.
        """
        with contextlib.suppress(Exception):  # the hanging changes at least are kept
            capture = self._tracker.cut(full_compare=True)
            return [] if capture is None else capture.encode(None)
        return []

    def statistics(self) -> Statistics:
        """Return the figures of all saves so far, and the present state of saving."""
        return dataclasses.replace(
            self._done,
            staleness=self._policy.staleness(self._clock()),
            unsaved_bytes=self._unsaved_bytes(),
            failing=self._failing,
            last_error=None if self.last_error is None else str(self.last_error),
            waiting=self.waiting,
            unsavable=tuple(self.unsavable),
            fenced=self.fenced is not None,
        )

    def describe_unsaved(self) -> str:
        """Describe how much is unsaved, since when, and when it will be saved."""
        age = self._policy.staleness(self._clock())
        told = f"about {self._unsaved_bytes():,} bytes are unsaved, the oldest for {age:.1f} s"
        if self.last:
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
        if self._refused:
            reasons.append("an atomic() block is open")
        if self.last_error is not None:
            which = "the attempt" if self._failing == 1 else f"the last of {self._failing} attempts"
            reasons.append(f"{which} to save failed: {self.last_error}")
        if waiting := self.waiting:
            reasons.append(f"the store has not answered for {waiting:.1f} s")
        return "; ".join([*reasons, self.describe_unsaved()])

    @property
    def waiting(self) -> float:
        """The seconds for which the store has not answered; 0 if nothing waits for it."""
        since = self._waiting_since  # read once: it is set by the thread that saves
        return 0.0 if since is None else max(self._clock() - since, sys.float_info.min)

    @property
    def dirty(self) -> bool:
        """Whether something is unsaved; changes under way count."""
        return self._tracker.dirty or self._under_way > 0

    def _unsaved_bytes(self) -> int:
        """Estimate the unsaved bytes: those under way, and those written since."""
        marked = self._tracker.estimate() if self._tracker.dirty else 0
        if self._under_way:
            return self._under_way + marked
        return max(marked, sum(map(len, self.unsaved)))

    # -- the cut ------------------------------------------------------------------------------

    def _cut(
        self, requests: Sequence[FlushRequest], deadline: float, *, full_compare: bool
    ) -> Capture | None:
        """Cut. If an `atomic()` block is open, wait for its end if there are requests."""
        now, self._tracker.ending = self._clock(), self.last
        self._last_chance = now + min(self._left(deadline) / 2, LONGEST_LAST_HOLD)
        while True:
            if not self.last:
                self._tracker.prepare(GilYield(), full_compare=full_compare)
            capture = self._cut_once(deadline, full_compare=full_compare)
            self._refused = capture is None
            if capture is not None:
                self._policy.cut(self._clock())
                return capture
            if requests and self._clock() >= deadline:
                raise FlushError("an atomic() block is still open")
            self._pause(POLL_INTERVAL)  # the end of the block ends the pause
            if not requests:
                return None

    def _cut_once(self, deadline: float, *, full_compare: bool) -> Capture | None:
        """Cut between two items of the active loops, unless that takes too long."""
        active_loops, tracker, began = self.active_loops, self._tracker, self._clock()

        def waits() -> bool:
            if not active_loops.running:
                return False
            patience = self._patience(deadline)
            return active_loops.in_work and self._clock() - began < patience

        def cut() -> Capture | None:
            ending = self.last and self._clock() >= self._last_chance
            return tracker.cut(
                full_compare=full_compare, paused=self.blocked_loops.paused, ending=ending
            )

        def cut_unless_in_work() -> Capture | EllipsisType | None:
            with tracker.lock:  # no loop begins meanwhile
                return ... if waits() else cut()

        while True:
            if waits():
                with active_loops.asked() as rendezvous:
                    while waits() and not rendezvous.reached:
                        self._pause(LOOP_CHECK)
                    if rendezvous.reached:
                        return self._cut_before_the_next_block(cut, deadline)
            capture = self._cut_before_the_next_block(
                lambda: self._cut_between_awaits(cut_unless_in_work, deadline), deadline
            )
            if not isinstance(capture, EllipsisType):
                return capture

    def _cut_before_the_next_block(self, cut: Callable[[], T], deadline: float) -> T:
        """Cut. If `atomic()` blocks are open, let no new block begin until the cut is done.

        This lasts only a short time, or blocks that wait for each other would hold up the program;
        the time doubles after each attempt in vain. `cut` returns None while a block is open.
        """
        capture = cut()
        if capture is None:
            self._warn_of_a_block()
            hold = min(FIRST_HOLD * 2**self._refusals, self._patience(deadline), LONGEST_HOLD)
            end = self._clock() + hold
            with self._tracker.holding_back():
                while capture is None and self._clock() < end:
                    self._pause(min(POLL_INTERVAL, hold))  # ended by the end of a block
                    capture = cut()
        self._refusals = 0 if capture is not None else self._refusals + 1
        return capture

    def _warn_of_a_block(self) -> None:
        """Warn once of a block that keeps a save waiting for long."""
        block, now = self._tracker.oldest_block, self._clock()
        if block is not self._waits_for:
            self._waits_for, self._waits_since, self._told_of_block = block, now, False
        elif not self._told_of_block and now - self._waits_since >= LONG_BLOCK:
            self._told_of_block = True
            logs.heard().warning(
                "a block of atomic() has been open for %.0f s, and nothing is saved meanwhile; %s",
                now - self._waits_since,
                self.describe_unsaved(),
            )

    def _patience(self, deadline: float) -> float:
        """Return the seconds for which a cut may wait for its place."""
        patience = min(self._policy.settings.max_delay, max(0.0, self._left(deadline)) / 4)
        kill_announced = self.last or self._policy.kill_announced(self._clock())
        return min(patience, LONGEST_URGENT) if kill_announced else patience

    def _cut_between_awaits(self, cut: Callable[[], T], deadline: float) -> T:
        """Cut between two callbacks of the event loop that writes, if there is one."""
        loop = self._tracker.loop() if self._tracker.loops else None
        if loop is None or loop is running_loop():
            return cut()
        patience = min(self._patience(deadline), LOOP_PATIENCE)
        return cut_on_loop(loop, cut, patience, self.blocked_loops, self._late_loop)

    # -- the commit ---------------------------------------------------------------------------

    def _commit(self, changes: list[bytes], deadline: float) -> tuple[CommitInfo, float]:
        """Commit, with retries of the same bytes; return the cost, and the seconds."""
        self._check()
        self.unsaved = changes
        self._under_way = sum(map(len, changes))
        longest = self._first_wait if self._under_way < SMALL else math.inf
        attempt = 0
        while True:
            attempt += 1
            began = self._waiting_since = self._clock()
            try:
                timeout = min(longest, self._share(deadline))
                info = self._journal.commit(changes, timeout=timeout)
            except StoreUnavailableError as error:
                pause = backoff(attempt, first=0.2, longest=5.0)
                if pause >= self._left(deadline) or self._gives_up(error, attempt):
                    raise
                self._note_attempt(error)
                self._waiting_since, longest = None, math.inf
                self._pause(pause)
            else:
                self.unsaved = []
                self.saved_at = time.time()
                return info, self._clock() - began
            finally:
                self._waiting_since = None

    def _gives_up(self, error: StoreUnavailableError, attempt: int) -> bool:
        """Tell whether to give up retrying: at the end, or when memory is full."""
        if isinstance(error.__cause__, MemoryError):
            return True  # so that the encoded changes are freed
        at_the_end = self.last or bool(self.ending)
        return error.lasting and at_the_end and attempt >= ATTEMPTS_AT_THE_END

    def _share(self, deadline: float) -> float:
        """Return the seconds for one attempt: half of what is left, so that another may follow."""
        left = max(0.05, self._left(deadline))
        return max(left / 2, min(left, 2.0))

    def _left(self, deadline: float) -> float:
        """Return the seconds that are left; a kill may have been announced meanwhile."""
        now, kill = self._clock(), self._policy.kill_at
        return (deadline if kill is None or kill <= now else min(deadline, kill)) - now

    # -- reports ------------------------------------------------------------------------------

    def _note_success(
        self, capture: Capture, info: CommitInfo | None, duration: float, cost: float
    ) -> None:
        """Count a flush, and report that saving works again."""
        if self._failing:
            plural = "" if self._failing == 1 else "s"
            logger.warning("saving works again after %d failure%s", self._failing, plural)
        self._policy.saved(cost)
        self._failing, self._under_way, self.last_error = 0, 0, None
        if info is None:
            return
        if not self._conditional:
            self._policy.committed(self._clock())
        self._policy.renewed(self._clock())
        counts = {"bytes": info.bytes, "writes": info.writes, "entries": capture.entries}
        self._count(flushes=1, **counts)
        self._done = dataclasses.replace(self._done, last_duration=duration)
        hub.flushed.send(self._sender, duration=duration, **counts)

    def _count(self, **counts: int) -> None:
        """Add to the statistics."""
        sums = {name: getattr(self._done, name) + count for name, count in counts.items()}
        self._done = dataclasses.replace(self._done, **sums)

    def _note_attempt(self, error: StoreUnavailableError) -> None:
        """Count an attempt that failed and is repeated; log as `_note_failure` does."""
        self._count_failure(error)
        if _is_power_of_two(self._failing):
            self._log_failure(logging.WARNING, error)
        hub.flush_failed.send(self._sender, error=error, failures=self._failing)

    def _note_failure(self, error: BaseException) -> None:
        """Count a flush that failed; log the first, the second, the fourth, the eighth and so on.

        So the first failure is reported at once, and the log does not fill the disk.
        """
        if isinstance(error, FencedError):
            self._fence(error)
            return
        self._count_failure(error)
        self._policy.failed(self._clock())
        if _is_power_of_two(self._policy.failures):
            self._log_failure(logging.ERROR, error)
        hub.flush_failed.send(self._sender, error=error, failures=self._failing)

    def _count_failure(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self.last_error = error
        self._failing += 1
        self._count(failures=1)

    def _log_failure(self, level: int, error: BaseException) -> None:
        expected = isinstance(error, StoreUnavailableError)
        logs.heard().log(
            level,
            "saving failed%s: %s; %s",
            "" if self._failing == 1 else f" {self._failing} times in a row",
            ": ".join(filter(None, (type(error).__name__, str(error)))),
            self.describe_unsaved(),
            exc_info=None if expected else error,
        )

    def _report_unsupported(
        self, errors: Sequence[UnsupportedTypeError], *, explicit: bool
    ) -> None:
        """Report each entry that cannot be saved once; raise the first error for a request."""
        for error in errors:
            self.unsavable[error.path] = None
            if error.path not in self._reported:
                self._reported.add(error.path)
                logs.heard().error("a value is not saved, everything else is: %s", error)
                hub.flush_failed.send(self._sender, error=error, failures=0)
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
            self._policy.hold_lease(self._clock(), None)
            logs.heard().critical("%s", error)
            hub.fenced.send(self._sender, error=error)
            same_run = isinstance(error.owner, Owner) and error.owner.run == this_run() != ""
            if self._policy.settings.on_fenced == "exit" and not same_run:
                lifecycle.finish_others(self._sender)
                exit_status.refuse()
            with self._tracker.lock:
                self._tracker.set_gate(self._refuse_to_write)

    def _refuse_to_write(self) -> None:
        """Raise before a write that would never be saved.

        In the old container of an Actor's run an error would end the run, which continues in the
        new container. So there the write waits for the kill, which is about to come.
        """
        assert self.fenced is not None
        owner = self.fenced.owner
        if isinstance(owner, Owner) and owner.run and owner.run == this_run():
            time.sleep(LONGEST_KILL)
        raise FencedError(*self.fenced.args, owner=owner)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


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

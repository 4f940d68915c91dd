"""The thread that saves.

Why there is one daemon thread for each incarnation: it saves when the event loop is blocked, gone
or never existed; its waiting (for a store, for a backoff) does not make the program wait; and
Ctrl-C, which Python raises in the main thread, cannot strike between a cut and its commit.

Why it waits on a `queue.SimpleQueue`: `put` is re-entrant and takes no lock of Python's, so `wake`
may be called from a signal handler, from a finalizer and while the tracker's lock is held. Requests
for a flush are kept outside of the queue until they have an outcome: an item that was taken out of
a queue is lost if the next step fails, for want of memory for example.

In each turn the thread serves the waiting requests; if there are none, it observes the tracker and
carries out the step of `FlushPolicy`, by calling `FlushJob`. A caller of `flush()` that comes while
a flush is under way gets the next flush, together with all others that came meanwhile: the cut is
always after the call. Compaction is the longest work; between its slices the thread flushes for the
same reasons as in a turn.

If the thread does not run (it could not be started, or the interpreter is ending), the caller of
`flush()` does the work itself. So every flush ends: with success, with an error, or with a
`FlushError` when its time is over.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from operator import attrgetter

from autostate.deadline import Deadline
from autostate.errors import AutostateError, FlushError, forget_locals
from autostate.process.interrupts import Worker, is_owned
from autostate.saving.job import FlushJob, GilYield
from autostate.saving.policy import POLL_INTERVAL, Action, Observation, Step
from autostate.saving.request import VAIN, AwaitedRequest, FlushRequest, fresh, running_loop
from autostate.settings import Settings

logger: logging.Logger = logging.getLogger("autostate")

ALIVE_CHECK = 0.25
"""Seconds between checks of a waiting caller whether the flush thread still runs."""


class FlushThread:
    """Saves what a tracker marks through a journal, in a thread of its own.

    Args:
        job: Carries out the flushes; nobody else calls it.

    Attributes:
        job: The job, with the figures of the saves so far.
        stopped: Whether the thread has ended, or was told to end.
    """

    def __init__(self, job: FlushJob) -> None:
        self.job = job
        self.stopped: bool = False
        self._tracker = job.tracker
        self._policy = job.policy
        self._clock = job.clock
        # What to do, in the thread, before it goes on; None: nothing, it is only woken.
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        job.pause = job.patient_cut.pause = self._gather
        job.patient_cut.active_loops.tell = partial(self._inbox.put, None)
        self._yield_gil = GilYield()
        self._awake = False
        self._requests = job.requests
        self._work = threading.RLock()
        self._deadline = Deadline(0.0, self._clock)  # of the work under way
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._has_ended = False
        self._at_end: Callable[[], None] = lambda: None
        self._end_at: float | None = None

    # -- for any thread -----------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings; assigned ones are used from the thread's next turn on."""
        return self._policy.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._policy.settings = settings
        self.wake()

    def collect_unsaved(self) -> list[bytes]:
        """Return the unsaved changes, to be kept elsewhere.

        After `stop` these include changes that no flush has begun to save, because a flush hangs
        for example: no later flush will take them.
        """
        changes = list(self.job.unsaved)
        if self.stopped and (self.busy() or not changes):
            changes += self.job.collect()
        return changes

    def start(self) -> None:
        """Start the thread if it does not run. If no thread can be started, `flush` still works.

        A process that does not own the state has nothing to save.
        """
        if self._alive() or self._tracker.gate is not None:
            return
        with self._starting:
            if self._alive() or self.stopped:
                return
            self._thread = Worker(self._run, "autostate-flush")
            try:
                self._thread.start()
            except RuntimeError:  # no threads left, or the interpreter is ending
                self._thread = None
                logger.warning(
                    "no thread could be started: only flush() and the end of the process save"
                )

    def wake(self) -> None:
        """Wake the thread, if it is not awake already.

        This never blocks, and is safe in signal handlers and under any lock.
        """
        if not self._awake:
            self._awake = True
            self._inbox.put(None)

    def announce_kill(self, time_remaining: float | None) -> None:
        """Save from now on shortly after every change, because a kill was announced.

        This never blocks.

        Args:
            time_remaining: The seconds until the kill; None: not known.
        """
        self._inbox.put(partial(self._expect_kill, time_remaining))

    def recall_kill(self) -> None:
        """Save as before the last announced kill, which does not come. This never blocks."""
        self._inbox.put(self._policy.recall_kill)

    def expect_timeout(self, seconds: float) -> None:
        """Save everything shortly before the run times out, in `seconds`. This never blocks."""
        self._inbox.put(lambda: self._policy.expect_timeout(self._clock(), seconds))

    def hold_lease(self, seconds: float | None) -> None:
        """Set for how long others assume that this owner lives; None: they can find out."""
        self._policy.hold_lease(self._clock(), seconds)

    def flush_soon(self) -> None:
        """Ask for a flush with a full compare, without waiting for it."""
        if not self.stopped and self._tracker.gate is None:
            self._ask(FlushRequest(self._clock()))

    def has_owned_since(self, moment: float) -> bool:
        """Tell whether this process is known to have owned the state at a moment or later.

        If not, the store is asked soon, and the followers of cuts are told when it has answered.
        """
        if self.job.owned_at >= moment:
            return True
        self._inbox.put(self._policy.check_soon)
        return False

    def advises_against_work(self, *, inside: bool = False) -> bool:
        """Tell whether no new unit of work should begin, since what it writes is saved late or not.

        That is so while saves fail, when a kill was announced, when the process is fenced, and
        when open blocks have refused cuts for `max_delay`: blocks that overlap would do so for
        ever, and a program whose event loop runs cannot be made to wait in `atomic()` itself.

        Args:
            inside: The caller is inside a unit, which does not end while it waits: then open blocks
                are no reason.
        """
        job, now = self.job, self._clock()
        if job.fenced is not None or job.outcomes.failing or self._policy.kill_announced(now):
            return True
        refused_since = job.patient_cut.refused_since
        return (
            not inside
            and now - refused_since >= self._policy.settings.max_delay
            and self._tracker.gate is None
            and (bool(self._tracker.savepoints) or self._tracker.marked)
        )

    def flush(
        self, timeout: float | None = None, *, full_compare: bool = True, ending: bool = False
    ) -> None:
        """Save, and return when all writes before the call are durable.

        Args:
            timeout: Seconds to wait; `flush_timeout` by default.
            full_compare: Also compare content that could have been changed past the barrier.
            ending: Give up early on an error that waiting does not mend.

        Raises:
            FlushError: Not saved in time or refused by the store; it is tried again later.
            FencedError: A later process has taken over.
            UnsupportedTypeError: An entry cannot be saved. Everything else was saved.
            RuntimeError: Called inside `atomic()`, or by a receiver of the flush thread's signals;
                or the save would wait for the end of the unit of work that the caller is in.
        """
        timeout = self._policy.settings.flush_timeout if timeout is None else timeout
        if not self._may_save():
            return
        request = FlushRequest(self._clock() + timeout, full_compare=full_compare, ending=ending)
        error: BaseException | None
        try:
            if running_loop() is None and not self.job.patient_cut.active_loops.running:
                error = self._outcome(request)
            else:
                with self.job.patient_cut.standing_still():
                    error = self._outcome(request)
        except queue.Empty:
            error = self._late(timeout)
        if error is not None:
            raise fresh(error, self.job.describe_unsaved)

    async def durable(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as flush
        *,
        ending: bool = False,
    ) -> None:
        """Save like `flush`, with the same errors, without blocking the event loop.

        Args:
            timeout: Seconds to wait; `flush_timeout` by default.
            ending: Give up early on an error that waiting does not mend.
        """
        timeout = self._policy.settings.flush_timeout if timeout is None else timeout
        if not self._may_save():
            return
        if not self._alive():
            self.flush(timeout)
            return
        request = AwaitedRequest(self._clock() + timeout, ending=ending)
        self._ask(request)
        with self.job.patient_cut.active_loops.waiting():
            error = await request.awaited(
                timeout, lambda: self._late(timeout), self._tracker.waits_for_itself
            )
        if error is not None:
            raise fresh(error, self.job.describe_unsaved)

    def stop(self, timeout: float) -> None:
        """Save for the last time, within `timeout` seconds, then end the thread.

        This raises the errors of `flush`; the changes that were not saved are then in
        `job.unsaved`.
        """
        end = Deadline.after(timeout, self._clock)
        self._end_at = end.at
        self._policy.last = True
        try:
            self.flush(timeout)
        except BaseException as error:
            if not isinstance(error, Exception):
                end.at = 0.0  # Ctrl-C: do not wait for the thread either
            raise
        finally:
            self.abandon()
            thread = self._thread
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.2, end.left()))

    def abandon(self) -> None:
        """End the thread without saving."""
        self.stopped = True
        self._inbox.put(None)

    def is_this_thread(self) -> bool:
        """Tell whether the flush thread is the caller."""
        return self._thread is threading.current_thread()

    def busy(self) -> bool:
        """Tell whether the thread hangs in the store, and may still use the journal."""
        return self._alive() and not self.is_this_thread()

    def when_ended(self, do: Callable[[], None]) -> None:
        """Call a function now or, if the thread hangs in the store, when the thread ends."""
        with self._starting:
            if self.busy() and not self._has_ended:
                self._at_end = do
                return
        do()

    @contextlib.contextmanager
    def exclusive(self) -> Generator[None]:
        """Prevent any flush during the body, which uses the journal or the store otherwise."""
        with self.job.patient_cut.event_loops.blocked(), self._work:  # no cut falls into the body
            yield

    # -- the caller's side of a flush ---------------------------------------------------------

    def _may_save(self) -> bool:
        """Refuse a flush that could never end; tell whether this process owns the state.

        A process that does not own it claims it if it has changed something unnoticed.
        """
        if self._thread is threading.current_thread():
            raise RuntimeError(
                "flush() was called by a receiver of autostate's own signals, in the thread that "
                "saves; note there what is needed and flush elsewhere"
            )
        if self._tracker.inside_atomic():
            raise RuntimeError(
                "flush() inside `with autostate.atomic():` would save half of the block; "
                "call it after the block"
            )
        if is_owned(self._tracker.lock):
            raise RuntimeError(
                "flush() was called in the midst of a change of the state, for example by a "
                "handler of a signal: it would wait for the change, and the change for it. In a "
                "handler, call sys.exit(): everything is saved at the end"
            )
        if self._tracker.waits_for_itself():
            raise RuntimeError(VAIN)
        if self.job.fenced is not None:
            raise fresh(self.job.fenced, self.job.describe_unsaved)
        if self.stopped:
            raise _closed()
        if self._tracker.gate is not None and self._tracker.changed_past_the_gate():
            self._tracker.pass_gate()
        return self._tracker.gate is None

    def _alive(self) -> bool:
        """Tell whether the thread can do anything."""
        thread = self._thread
        return thread is not None and thread.is_alive() and not sys.is_finalizing()

    def _ask(self, request: FlushRequest) -> None:
        """Let the thread serve a request in its next turn."""
        self._requests[request] = None
        self._inbox.put(None)

    def _outcome(self, request: FlushRequest) -> BaseException | None:
        """Have the request served, by the thread if it runs, else here; return the outcome."""
        if self._alive():
            self._ask(request)
        while self._alive():
            left = request.deadline - self._clock()
            try:
                return request.outcome(min(left, ALIVE_CHECK))
            except queue.Empty:
                if left <= 0:
                    raise
                if self._tracker.waits_for_itself():  # another thread has written meanwhile
                    raise RuntimeError(VAIN) from None
        with contextlib.suppress(queue.Empty):  # the thread may have served it at its end
            return request.outcome(0)
        self._requests[request] = None
        # Of its own: another caller may be at work here, with the deadline that it has.
        deadline = Deadline(request.deadline, self._clock)
        deadline.sooner = self._policy.kill_at
        error = self._serve([request], deadline)
        if error is not None and not isinstance(error, Exception):
            raise error  # Ctrl-C, which struck in this thread
        return error

    def _late(self, timeout: float) -> FlushError:
        """Make the error for a caller whose time is over."""
        error = FlushError(self.job.describe_late(timeout))
        error.__cause__ = self.job.outcomes.last_error
        return error

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        """Take turns until stopped. Nothing may end this thread but `abandon`."""
        if not self.is_this_thread():
            return  # Ctrl-C left `start` too early: another thread was started
        while not self.stopped:
            try:
                self._turns()
            except BaseException:  # noqa: S112 - no memory was left to report an error
                continue
        for request in list(self._requests):
            request.finish(_closed())
        with self._starting:
            self._has_ended = True
        self._at_end()

    def _turns(self) -> None:
        """Take turns until stopped, or until not even an error can be reported."""
        while not self.stopped:
            try:
                self._turn()
            except BaseException as error:  # also a SystemExit of a receiver
                forget_locals(error)
                self._policy.failed(self._clock())
                logger.critical(
                    "autostate met an error of its own while saving, and goes on", exc_info=True
                )
                time.sleep(POLL_INTERVAL)  # it may come again

    def _turn(self) -> None:
        """Flush if there are requests or a flush is due; else take the policy's other step."""
        step = self._flush_if_due()
        if step is None:
            self._compact()
        elif step.action is Action.CHECK_OWNER:
            self._check_owner()
        elif step.action is Action.RENEW:
            with self._work:
                self.job.renew(self._limit(0.0))
        elif step.action is Action.SLEEP:
            self._gather(step.seconds)

    def _flush_if_due(self) -> Step | None:
        """Flush for waiting requests, or because the policy says so; else return its step."""
        if self._requests:
            self._gather(0)  # a kill may have been announced before
            self._serve(list(self._requests))
            return None
        step = self._policy.step(self._observe())
        if step.action is Action.LOOK and self._look():
            step = Step(Action.FLUSH)
        is_due = step.action is Action.FLUSH or step.action is Action.FLUSH_ALL
        if not is_due or self._tracker.gate is not None:
            return step
        if step.action is Action.FLUSH_ALL:
            logger.info("the run times out soon: everything is saved, then each change at once")
        with self._work, contextlib.suppress(Exception):  # logged where it was met
            self.job.flush((), self._limit(0.0), full_compare=step.action is Action.FLUSH_ALL)
        return None

    def _check_owner(self) -> None:
        with self._work, contextlib.suppress(AutostateError):
            self.job.check_owner(self._limit(0.0), again=False)

    def _look(self) -> bool:
        """Look for changes without a mark; tell whether there may be any."""
        started, found = self._clock(), True
        with contextlib.suppress(Exception):  # the flush meets it too, and reports it
            found = self._tracker.look()
        now = self._clock()
        self._policy.looked(now, now - started)
        return found

    def _observe(self) -> Observation:
        """Observe the tracker; for a fenced process there is nothing to observe."""
        tracker, now = self._tracker, self._clock()
        if self.job.fenced is not None:
            self._policy.checked()
            return Observation(now, dirty=False)
        self._awake = False  # before the check: a later write wakes the thread again
        if tracker.gate is not None:
            return Observation(now, dirty=False)
        if not tracker.marked:
            return Observation(now, dirty=False, polling=tracker.needs_polling)
        self._awake = True  # while something is dirty the thread observes regularly
        activity, estimate = tracker.activity, tracker.estimate()
        return Observation(
            now,
            dirty=True,
            polling=tracker.needs_polling,
            activity=activity,
            estimate=estimate,
            cost=self._clock() - now,
        )

    def _gather(self, timeout: float | None) -> None:
        """Wait for a message, then take all there are."""
        try:
            message = self._inbox.get(timeout=timeout)
            while True:
                if message is not None:
                    message()
                message = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _expect_kill(self, time_remaining: float | None) -> None:
        """Note an announced kill; the work under way must have ended before."""
        self._policy.announce_kill(self._clock(), time_remaining)
        self._deadline.sooner = self._policy.kill_at

    def _serve(
        self, requests: list[FlushRequest], deadline: Deadline | None = None
    ) -> BaseException | None:
        """Flush for requests: the cut comes after each of the calls."""
        if deadline is None:
            deadline = self._limit(max(map(_deadline_of, requests)))
        error: BaseException | None = None
        full_compare = any(map(_compares_all, requests))
        has_it = is_owned(self._work)  # between two slices of a compaction
        try:
            try:
                is_free = has_it or self._work.acquire(blocking=False)
                if not (is_free or self._work.acquire(timeout=deadline.left())):
                    raise FlushError("another operation keeps the store and does not end")
                self.job.flush(requests, deadline, full_compare=full_compare)
            finally:
                if not has_it and is_owned(self._work):
                    self._work.release()
        except BaseException as raised:
            if not has_it and is_owned(self._work):
                self._work.release()  # again: Ctrl-C may have struck in the midst of it
            error = raised
            forget_locals(error, own=True)
        for request in requests:
            request.finish(error)
            self._requests.pop(request, None)
        return error

    def _limit(self, latest: float) -> Deadline:
        """Return when a flush ends at the latest; a short timeout of a caller does not end it."""
        limit = self._policy.deadline(self._clock(), at_least=latest)
        self._deadline.at = limit if self._end_at is None else min(limit, self._end_at)
        self._deadline.sooner = self._policy.kill_at  # may not come
        return self._deadline

    def _compact(self) -> None:
        """Compact if that is due. It only saves space, so a process that ends does not compact.

        Commits continue meanwhile, so compaction may be due again at its end, without another
        flush.
        """
        again = True
        while again and self._end_at is None and self._clock() >= self._policy.kill_expected_until:
            with self._work:
                again = self.job.compact(self._interlude)

    def _interlude(self) -> None:
        """Let other threads run between two slices of a compaction, and flush if that is due."""
        self._yield_gil()
        self._gather(0)
        step = self._flush_if_due()
        if step is not None and step.action is Action.CHECK_OWNER:
            self._check_owner()


_deadline_of = attrgetter("deadline")
_compares_all = attrgetter("full_compare")


def _closed() -> FlushError:
    return FlushError("this manager is closed: its state objects are plain ones now")

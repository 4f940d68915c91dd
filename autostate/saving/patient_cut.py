"""Cuts that wait for the end of what the program is doing, for some time.

A program without loops and blocks is cut at once. Otherwise a cut waits, in this order:

- for a resumable loop to be between two items: `rendezvous.py` says why;
- for `atomic()` blocks to end, because a block is saved as a whole;
- for the event loop to be between two callbacks, so that everything between two awaits is saved
  together.

A cut waits for a share of the time that is left, at most for `max_delay`, and then falls into the
middle of the body or of the callback. It never falls into the middle of a block.

The cut always runs on the flush thread, or in the caller of `flush()` if there is no such thread:
on an event loop's thread Ctrl-C, which Python raises in the main thread, could strike in the middle
of the cut.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, TypeVar

from autostate import logs
from autostate.deadline import Deadline
from autostate.errors import FlushError
from autostate.saving.event_loops import EventLoops
from autostate.saving.policy import POLL_INTERVAL, FlushPolicy
from autostate.saving.rendezvous import ActiveLoops
from autostate.saving.request import FlushRequest, running_loop

if TYPE_CHECKING:
    from autostate.tracking import Capture, Tracker

T = TypeVar("T")

BODY_CHECK = 0.05
"""Seconds between checks whether the body of a resumable loop is still running."""
LOOP_PATIENCE = 5.0
"""Seconds for which a cut waits for an event loop, at most."""
LONGEST_URGENT = 1.0
"""Seconds that a cut waits for the end of a loop's body when the process is about to end."""
LONGEST_LAST_HOLD = 5.0
"""Seconds for which the last save waits for the end of `atomic()` blocks, then it undoes them."""
FIRST_HOLD = 0.1
"""Seconds for which a cut that waits for `atomic()` blocks lets no new one begin, at first."""
LONG_BLOCK = 10.0
"""Seconds after which a warning says that a block keeps a save waiting."""


class PatientCut:
    """Takes cuts of a tracker. Not for several threads at once.

    Args:
        tracker: The tracker.
        policy: The policy, which knows the settings and announced kills.
        describe: Describes what is unsaved, for warnings.
        clock: Seconds that never jump.

    Attributes:
        pause: Waits for this many seconds, or less if there is news.
        active_loops: The resumable loops that run.
        event_loops: The event loops that were held or blocked.
        refused: Whether the last attempt was refused by an open block.
        refused_since: When blocks began to refuse every attempt; infinite: the last one was taken.
    """

    def __init__(
        self,
        tracker: Tracker,
        policy: FlushPolicy,
        describe: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self.pause: Callable[[float], None] = time.sleep
        self.active_loops: ActiveLoops = ActiveLoops()
        self.event_loops: EventLoops = EventLoops()
        self.refused: bool = False
        self.refused_since: float = math.inf
        self._tracker = tracker
        self._policy = policy
        self._describe = describe
        self._clock = clock
        self._refusals = 0
        self._waits_for: object = None  # a block
        self._waits_since = 0.0
        self._told_of_block = False

    @contextlib.contextmanager
    def standing_still(self) -> Generator[None]:
        """Mark that the body waits for the flush thread: this thread is held during a cut."""
        with self.event_loops.blocked(), self.active_loops.waiting():
            yield

    def take(
        self,
        requests: Sequence[FlushRequest],
        deadline: Deadline,
        yield_gil: Callable[[], None],
        *,
        full_compare: bool,
    ) -> Capture | None:
        """Cut, now or when everything is between two steps.

        Args:
            requests: The requests that wait for the flush; if there are none, an open `atomic()`
                block puts the flush off.
            deadline: When to give up.
            yield_gil: Called between slices of the preparation.
            full_compare: Compare content that could have been changed past the barrier, too.

        Returns:
            The capture; None if an open block puts the flush off.

        Raises:
            FlushError: A block is still open at the deadline.
        """
        tracker, policy = self._tracker, self._policy
        tracker.ending = policy.last
        now = self._clock()
        last_chance = now + min((deadline.at - now) / 2, LONGEST_LAST_HOLD)

        def cut(paused: int | None) -> Capture | None:
            ending = policy.last and self._clock() >= last_chance
            return tracker.cut(full_compare=full_compare, paused=paused, ending=ending)

        while True:
            if not policy.last:
                tracker.prepare(yield_gil, full_compare=full_compare)
            with tracker.lock:  # no loop begins between the look and the cut
                waits = self.active_loops.running or tracker.loops or policy.last
                capture = None if waits else tracker.cut(full_compare=full_compare)
            if capture is None:
                capture = self._between_items(cut, deadline)
            self.refused = capture is None
            if capture is not None:
                self.refused_since = math.inf
                return capture
            self.refused_since = min(self.refused_since, self._clock())
            if requests and not deadline.left():
                raise FlushError("an atomic() block is still open")
            self.pause(POLL_INTERVAL)  # the end of the block ends the pause
            if not requests:
                return None

    def _between_items(self, cut: Callable[[int | None], T], deadline: Deadline) -> T:
        """Cut between two items of the active loops, unless that takes too long."""
        loops, began = self.active_loops, self._clock()

        def waits() -> bool:
            return loops.in_work and self._clock() - began < self._patience(deadline)

        def cut_unless_in_work(paused: int | None) -> T | EllipsisType:
            with self._tracker.lock:  # no loop begins meanwhile
                return ... if waits() else cut(paused)

        while True:
            if waits():
                with loops.asked() as rendezvous:
                    while waits() and not rendezvous.reached:
                        self.pause(BODY_CHECK)
                    if rendezvous.reached:
                        return self._between_blocks(lambda: cut(None), deadline)
            capture = self._between_blocks(
                lambda: self._between_awaits(cut_unless_in_work, deadline), deadline
            )
            if not isinstance(capture, EllipsisType):
                return capture

    def _between_blocks(self, cut: Callable[[], T], deadline: Deadline) -> T:
        """Cut. If `atomic()` blocks are open, let no new block begin until the cut is done.

        This lasts only a short time, or blocks that wait for each other would hold up the program;
        the time doubles after each attempt in vain. `cut` returns None while a block is open.
        """
        capture = cut()
        if capture is None:
            from autostate.tracking.blocks import LONGEST_HOLD

            self._warn_of_a_block()
            hold = min(FIRST_HOLD * 2**self._refusals, self._patience(deadline), LONGEST_HOLD)
            held = Deadline.after(hold, self._clock)
            with self._tracker.holding_back():
                while capture is None and held.left():
                    self.pause(min(POLL_INTERVAL, hold))  # ended by the end of a block
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
                self._describe(),
                extra=logs.attributes("block_open", duration=now - self._waits_since),
            )

    def _patience(self, deadline: Deadline) -> float:
        """Return the seconds for which a cut may wait for its place."""
        patience = min(self._policy.settings.max_delay, deadline.left() / 4)
        is_urgent = self._policy.last or self._policy.kill_announced(self._clock())
        return min(patience, LONGEST_URGENT) if is_urgent else patience

    def _between_awaits(self, cut: Callable[[int | None], T], deadline: Deadline) -> T:
        """Cut between two callbacks of the event loop that writes, if there is one."""
        loop = self._tracker.loop() if self._tracker.loops else None
        if loop is None or loop is running_loop():
            return cut(None)
        patience = min(self._patience(deadline), LOOP_PATIENCE)
        return self.event_loops.hold(loop, cut, patience)

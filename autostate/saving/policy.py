"""When to flush: decided from observations, without a thread, a clock or a store.

The flush thread observes the tracker, passes the `Observation` to `FlushPolicy.step`, and carries
out the returned step: sleep for some seconds, flush, or check that no other process has taken over.
All times are arguments, so that every rule here is tested by arithmetic.

The rules; an earlier rule overrides the later ones:

1. After failures there is no attempt before the backoff ends, unless somebody asks for a flush.
2. Unsaved bytes above `max_dirty_bytes` are saved at once, though saving never takes more than half
   of the time: beyond that the store, not the policy, is the limit.
3. Saving takes at most `duty_cycle` of the time. The time from the beginning of one flush to that
   of the next is at least the cost of the first divided by the duty cycle, but a flush waits no
   longer than `LONGEST_REST` after the former one, because a kill loses unsaved changes. The cost
   is the median of the last few flushes, so that neither a single slow answer of the store nor the
   first flush, which has everything to write, puts off saving.
4. Changes are saved when writes pause for `debounce`, at the latest `max_delay` after the first.
5. What changes without a mark (`Tracker.needs_polling`) is looked for every `max_delay`. If that is
   less than a second, looks that find nothing become rarer, down to one a second: an idle program
   wakes no more often. What does not work: to look still more rarely after some time in vain. A
   program may write one result a minute, and each of these writes may be without a mark
   (`results.append(await page())`); a kill would then cost more than `max_delay`.

From a `migrating` signal on, both delays are `migrating_debounce`, and saving may take half of the
time: changes that are unsaved at the kill are lost. If no kill comes for minutes, the signal was a
rehearsal or a mistake, and (on a store that costs money) urgency ends. Shortly before the timeout
of the run everything is saved; from then on the rules are those after `migrating`.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import NamedTuple

from msgspec import Struct

from autostate.announced import KILL_OVERDUE, UNKNOWN_TIME
from autostate.deadline import backoff
from autostate.settings import Settings

POLL_INTERVAL = 0.1
"""Seconds between observations while something is unsaved, to see pauses and large growth."""
RARE_POLL_INTERVAL = 1.0
"""Seconds between looks for changes without a mark after some in vain; `max_delay` if longer."""
MOST_FRUITLESS = 8
URGENT_DUTY_CYCLE = 0.5
"""Share of the time that saving may take when it is urgent."""
TIMEOUT_LEAD = 10.0
"""Seconds before the run's timeout at which everything is saved; more if saving is slow."""
LONGEST_LEAD = 60.0
RENEWALS = 3
"""How often an owner shows that it lives during one lease: two attempts may fail."""
COSTS_REMEMBERED = 5
LONGEST_REST = 30.0
"""Seconds after the end of a flush when the next may begin, whatever a flush costs."""
LONGEST_BACKOFF = 60.0


class Action(enum.Enum):
    """What the flush thread does next."""

    SLEEP = enum.auto()
    LOOK = enum.auto()  # for changes without a mark
    FLUSH = enum.auto()
    FLUSH_ALL = enum.auto()  # with a full compare
    CHECK_OWNER = enum.auto()
    RENEW = enum.auto()  # show that the owner lives


class Step(NamedTuple):
    """An action, and for SLEEP the seconds (None: until woken)."""

    action: Action
    seconds: float | None = None


class Observation(Struct, frozen=True):
    """The state of the tracker at one moment.

    Attributes:
        now: The time in seconds, by the flush thread's clock.
        dirty: Whether anything is marked.
        polling: Whether anything may change without a mark.
        activity: A number that grows with writes.
        estimate: Estimated unsaved bytes.
        cost: Seconds that the observation took. With very many dirty containers, observations
            become rarer.
    """

    now: float
    dirty: bool
    polling: bool = False
    activity: int = 0
    estimate: int = 0
    cost: float = 0.0


class FlushPolicy:
    """The rules above, with a short memory of observations and outcomes. Not thread-safe.

    Args:
        settings: The limits; may be replaced at any time.

    Attributes:
        last: Whether this is the last save of the process, so that no time is spent on later ones.
        kill_at: When a flush must have ended because of an announced kill; infinite: no kill.
        kill_expected_until: When an announced kill that has not come counts as a mistake.
        unchecked: Whether a commit waits for its check.
        lease: Seconds for which others assume that the owner lives; None: they can find out.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.last: bool = False
        self.kill_at: float = math.inf
        self.kill_expected_until: float = -math.inf
        self.unchecked: bool = False
        self.lease: float | None = None
        self.failures: int = 0
        self._former_kill = self.kill_at, self.kill_expected_until  # before the last one
        # Times by the flush thread's clock; infinite: never.
        self._first = math.inf  # something is unsaved, and no cut has taken it
        self._under_way = math.inf  # the same of what a cut has taken
        self._changed = 0.0
        self._began = -math.inf
        self._polling_since = math.inf
        self._look_after = -math.inf
        self._fruitless = 0  # looks in a row that have found nothing
        self._not_before = -math.inf
        self._timeout_at = math.inf
        self._check_at = math.inf
        self._renew_at = math.inf
        self._activity = -1
        self._costs: deque[float] = deque([0.0], COSTS_REMEMBERED)

    def step(self, observation: Observation) -> Step:
        """Decide what to do after an observation.

        Args:
            observation: The present state; the times of successive observations never decrease.

        Returns:
            The step to take now.
        """
        self._note(observation)
        now = observation.now
        # How long before the timeout everything is to be saved.
        lead = min(LONGEST_LEAD, max(TIMEOUT_LEAD, 3 * max(self._costs)))
        if self._timeout_at - lead <= now:
            seconds, self._timeout_at = self._timeout_at - now, math.inf
            self.announce_kill(now, seconds)
            return Step(Action.FLUSH_ALL)
        due, look_again = math.inf, math.inf
        if observation.dirty or observation.polling:
            debounce, max_delay, duty_cycle = self._pace(now)
            due = self._due(observation, debounce, max_delay, duty_cycle)
            if observation.dirty:
                interval = min(POLL_INTERVAL, debounce or POLL_INTERVAL)
                look_again = now + max(interval, observation.cost / self.settings.duty_cycle)
        if due <= now:
            return Step(Action.FLUSH if observation.dirty else Action.LOOK)
        if self._check_at <= now:
            return Step(Action.CHECK_OWNER)
        if self._renew_at <= now:
            return Step(Action.RENEW)
        end = min(due, look_again, self._check_at, self._renew_at, self._timeout_at - lead)
        return Step(Action.SLEEP, None if end == math.inf else end - now)

    def staleness(self, now: float) -> float:
        """Return for how many seconds something has been unsaved; 0 if nothing is.

        The changes of a flush under way count until they are durable.
        """
        return max(0.0, now - min(self._first, self._under_way))

    def deadline(self, now: float, *, at_least: float = 0.0) -> float:
        """Return when a flush that begins now must have ended, if no kill is announced.

        An announced kill may not come: see `Deadline.sooner`.

        Args:
            now: The time.
            at_least: When the callers stop waiting: the flush may go on until then.
        """
        return max(now + self.settings.flush_timeout, at_least)

    def noticed(self, now: float) -> None:
        """Note that something has been unsaved since now or earlier."""
        if self._first == math.inf:
            self._first = self._changed = now

    def cut(self, now: float) -> None:
        """Note a cut: the unsaved changes are under way, later ones are new."""
        self._began = now
        self._under_way = min(self._first, self._under_way)
        self._first = self._polling_since = math.inf

    def looked(self, now: float, cost: float) -> None:
        """Note a look for changes without a mark, before the flush if there may be any.

        Args:
            now: The time.
            cost: The seconds that it took.
        """
        self._fruitless = min(self._fruitless + 1, MOST_FRUITLESS)
        self._polling_since = now
        self._look_after = now + min(LONGEST_REST, cost / self.settings.duty_cycle)

    def writing(self, now: float, *, at_least: float) -> float:
        """Note that the capture holds changes, even if nothing was marked before.

        Args:
            now: The time.
            at_least: When the callers stop waiting.

        Returns:
            When the commit must have ended: the store has its own time, however long encoding took.
        """
        self._under_way = min(self._under_way, self._began)
        return at_least if self.last else self.deadline(now, at_least=at_least)

    def saved(self, now: float, cost: float, *, wrote: bool, conditional: bool = True) -> None:
        """Note that a flush succeeded.

        Args:
            now: The time.
            cost: What the flush cost, in seconds.
            wrote: Whether there was anything to write.
            conditional: Whether the store has checked the owner; else a check has to follow.
        """
        self._costs.append(cost)
        self._under_way = math.inf
        self.failures = 0
        self._not_before = -math.inf
        if wrote:
            self._fruitless = 0
        if wrote and self.lease is not None:
            self.renewed(now)
        if wrote and not (conditional or self.unchecked):
            self.unchecked = True
            self._check_at = now + self.settings.check_interval

    def failed(self, now: float) -> None:
        """Note that a flush failed: its changes wait for the next flush."""
        self.failures += 1
        self._not_before = now + backoff(self.failures, first=1.0, longest=LONGEST_BACKOFF)
        if self.kill_announced(now):
            self._not_before = min(self._not_before, now + 1.0)
        self._first = min(self._first, self._under_way)
        self._under_way = math.inf

    def announce_kill(self, now: float, time_remaining: float | None) -> None:
        """Note that this process will be killed.

        Args:
            now: The time.
            time_remaining: Seconds until then, as announced; None when it is not known.
        """
        left = UNKNOWN_TIME if time_remaining is None else max(0.0, time_remaining)
        self._former_kill = self.kill_at, self.kill_expected_until
        self.kill_at = now + left - min(1.0, left / 10)  # a margin for the end of the process
        self.kill_expected_until = now + left + KILL_OVERDUE
        self._not_before = -math.inf

    def recall_kill(self) -> None:
        """Note that the kill that was announced last does not come."""
        self.kill_at, self.kill_expected_until = self._former_kill

    def expect_timeout(self, now: float, seconds: float) -> None:
        """Note that the run will time out.

        Args:
            now: The time.
            seconds: The seconds until then.
        """
        self._timeout_at = now + seconds

    def kill_announced(self, now: float) -> bool:
        """Tell whether a kill was announced and is still expected."""
        return now < self.kill_expected_until

    def checked(self) -> None:
        """Note that this incarnation still owned the state after its last commit."""
        self.unchecked = False
        self._check_at = math.inf

    def hold_lease(self, now: float, seconds: float | None) -> None:
        """Note for how long others assume that the owner lives; None: they can find out."""
        self.lease = seconds
        self.renewed(now)

    def renewed(self, now: float) -> None:
        """Note that the owner has shown that it lives, or that the attempt failed."""
        self._renew_at = math.inf if self.lease is None else now + self.lease / RENEWALS

    def check_soon(self) -> None:
        """Let the owner be checked in the next step."""
        self._check_at = -math.inf

    def check_failed(self, now: float) -> None:
        """Note that the store did not tell the owner: ask again, but not at once."""
        self._check_at = now + min(self.settings.check_interval, 10.0)

    def _note(self, observation: Observation) -> None:
        """Remember when unsaved changes and pauses began."""
        if observation.polling:
            self._polling_since = min(self._polling_since, observation.now)
        if observation.dirty:
            self._fruitless = 0
            self.noticed(observation.now)
        else:
            self._first = math.inf
        if observation.activity != self._activity:
            self._activity = observation.activity
            self._changed = observation.now

    def _pace(self, now: float) -> tuple[float, float, float]:
        """Return debounce, max_delay and duty cycle; while a kill is expected, urgent ones."""
        calm = self.settings
        if not self.kill_announced(now):
            return calm.debounce, calm.max_delay, calm.duty_cycle
        soon = calm.migrating_debounce
        duty_cycle = max(calm.duty_cycle, URGENT_DUTY_CYCLE)
        return min(calm.debounce, soon), min(calm.max_delay, soon), duty_cycle

    def _due(
        self, observation: Observation, debounce: float, max_delay: float, duty_cycle: float
    ) -> float:
        """Return when to flush what has changed or may have changed, by the rules at the top."""
        if observation.dirty:
            due = min(self._changed + debounce, self._first + max_delay)
        else:
            rare = min(RARE_POLL_INTERVAL, POLL_INTERVAL * (2**self._fruitless - 1))
            rare = 0.0 if self.kill_announced(observation.now) else rare
            due = max(self._polling_since + max(max_delay, rare), self._look_after)
        due = max(due, self._rested(duty_cycle))
        if observation.estimate > self.settings.max_dirty_bytes:
            due = min(due, self._rested(URGENT_DUTY_CYCLE))
        return max(due, self._not_before)

    def _rested(self, duty_cycle: float) -> float:
        """Return when the next flush may begin so that saving keeps to its share of the time."""
        usual = sorted(self._costs)[(len(self._costs) - 1) // 2]
        return self._began + min(usual + LONGEST_REST, usual / duty_cycle)

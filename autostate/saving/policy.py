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

From a `migrating` signal on, both delays are `migrating_debounce`, and saving may take half of the
time: changes that are unsaved at the kill are lost. If no kill comes for minutes, the signal was a
rehearsal or a mistake, and (on a store that costs money) urgency ends. Shortly before the timeout
of the run everything is saved; from then on the rules are those after `migrating`.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

from msgspec import Struct

from autostate.announced import KILL_OVERDUE, UNKNOWN_TIME
from autostate.settings import Settings

POLL_INTERVAL = 0.1
"""Seconds between observations while something is unsaved, to see pauses and large growth."""
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
        kill_at: When a flush must have ended because of an announced kill; None: no kill.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failures: int = 0
        self._first: float | None = None
        self._under_way: float | None = None
        self._changed = 0.0
        self._activity = -1
        self._began = float("-inf")
        self._polling_since: float | None = None
        self._costs: deque[float] = deque([0.0], COSTS_REMEMBERED)
        self._not_before = float("-inf")
        self.kill_at: float | None = None
        self._kill_expected_until = float("-inf")
        self._timeout_at: float | None = None
        self._check_at: float | None = None
        self._lease: float | None = None
        self._renew_at: float | None = None

    def step(self, observation: Observation) -> Step:
        """Decide what to do after an observation.

        Args:
            observation: The present state; the times of successive observations never decrease.

        Returns:
            The step to take now.
        """
        self._note(observation)
        timeout = self._timeout_at
        if timeout is not None and timeout - self._lead() <= observation.now:
            self._timeout_at = None
            self.announce_kill(observation.now, timeout - observation.now)
            return Step(Action.FLUSH_ALL)
        due = self._due(observation)
        if due is not None and due <= observation.now:
            return Step(Action.FLUSH)
        if self._check_at is not None and self._check_at <= observation.now:
            return Step(Action.CHECK_OWNER)
        if self._renew_at is not None and self._renew_at <= observation.now:
            return Step(Action.RENEW)
        times = (due, self._check_at, self._renew_at)
        ends = [end - observation.now for end in times if end is not None]
        if timeout is not None:
            ends.append(timeout - self._lead() - observation.now)
        if observation.dirty:
            interval = min(POLL_INTERVAL, self._debounce(observation.now) or POLL_INTERVAL)
            ends.append(max(interval, observation.cost / self.settings.duty_cycle))
        return Step(Action.SLEEP, min(ends, default=None))

    def staleness(self, now: float) -> float:
        """Return for how many seconds something has been unsaved; 0 if nothing is.

        The changes of a flush under way count until they are durable.
        """
        oldest = _earlier(self._first, self._under_way)
        return 0.0 if oldest is None else max(0.0, now - oldest)

    def deadline(self, now: float, *, at_least: float = 0.0) -> float:
        """Return when a flush that begins now must have ended: before an announced kill.

        Args:
            now: The time.
            at_least: When the callers stop waiting: the flush may go on until then.
        """
        limit = max(now + self.settings.flush_timeout, at_least)
        if self.kill_at is not None and self.kill_at > now:
            return min(limit, self.kill_at)
        return limit

    def noticed(self, now: float) -> None:
        """Note that something has been unsaved since now or earlier."""
        if self._first is None:
            self._first = self._changed = now

    def cut(self, now: float) -> None:
        """Note a cut: the unsaved changes are under way, later ones are new."""
        self._began = now
        self._under_way = _earlier(self._first, self._under_way)
        self._first = None
        self._polling_since = None

    def writing(self) -> None:
        """Note that the capture holds changes, even if nothing was marked before."""
        self._under_way = _earlier(self._under_way, self._began)

    def saved(self, cost: float) -> None:
        """Note that a flush succeeded, and what it cost in seconds."""
        self._costs.append(cost)
        self._under_way = None
        self.failures = 0
        self._not_before = float("-inf")

    def failed(self, now: float) -> None:
        """Note that a flush failed: its changes wait for the next flush."""
        self.failures += 1
        self._not_before = now + backoff(self.failures, first=1.0, longest=LONGEST_BACKOFF)
        if self.kill_announced(now):
            self._not_before = min(self._not_before, now + 1.0)
        self._first = _earlier(self._first, self._under_way)
        self._under_way = None

    def announce_kill(self, now: float, time_remaining: float | None) -> None:
        """Note that this process will be killed.

        Args:
            now: The time.
            time_remaining: Seconds until then, as announced; None when it is not known.
        """
        left = UNKNOWN_TIME if time_remaining is None else max(0.0, time_remaining)
        self.kill_at = now + left - min(1.0, left / 10)  # a margin for the end of the process
        self._kill_expected_until = now + left + KILL_OVERDUE
        self._not_before = float("-inf")

    def expect_timeout(self, now: float, seconds: float) -> None:
        """Note that the run will time out.

        Args:
            now: The time.
            seconds: The seconds until then.
        """
        self._timeout_at = now + seconds

    def _lead(self) -> float:
        """Return how long before the timeout everything is to be saved."""
        return min(LONGEST_LEAD, max(TIMEOUT_LEAD, 3 * max(self._costs)))

    def kill_announced(self, now: float) -> bool:
        """Tell whether a kill was announced and is still expected."""
        return now < self._kill_expected_until

    def committed(self, now: float) -> None:
        """Note a commit that a check of the owner has yet to confirm."""
        if self._check_at is None:
            self._check_at = now + self.settings.check_interval

    def checked(self) -> None:
        """Note that this incarnation still owned the state after its last commit."""
        self._check_at = None

    def hold_lease(self, now: float, seconds: float | None) -> None:
        """Note for how long others assume that the owner lives; None: they can find out."""
        self._lease = seconds
        self.renewed(now)

    def renewed(self, now: float) -> None:
        """Note that the owner has shown that it lives, or that the attempt failed."""
        self._renew_at = None if self._lease is None else now + self._lease / RENEWALS

    def check_failed(self, now: float) -> None:
        """Note that the store did not tell the owner: ask again, but not at once."""
        self._check_at = now + min(self.settings.check_interval, 10.0)

    @property
    def unchecked(self) -> bool:
        """Whether a commit waits for its check."""
        return self._check_at is not None

    def _note(self, observation: Observation) -> None:
        """Remember when unsaved changes and pauses began."""
        if observation.polling and self._polling_since is None:
            self._polling_since = observation.now
        if observation.dirty:
            self.noticed(observation.now)
        else:
            self._first = None
        if observation.activity != self._activity:
            self._activity = observation.activity
            self._changed = observation.now

    def _due(self, observation: Observation) -> float | None:
        """Return when to flush, by the rules at the top; None when there is no reason to."""
        if observation.dirty:
            assert self._first is not None
            quiet = self._changed + self._debounce(observation.now)
            due = min(quiet, self._first + self._max_delay(observation.now))
        elif observation.polling:
            assert self._polling_since is not None
            due = self._polling_since + self._max_delay(observation.now)
        else:
            return None
        due = max(due, self._rested(observation.now, self._duty_cycle(observation.now)))
        if observation.estimate > self.settings.max_dirty_bytes:
            due = min(due, self._rested(observation.now, URGENT_DUTY_CYCLE))
        return max(due, self._not_before)

    def _rested(self, now: float, duty_cycle: float) -> float:
        """Return when the next flush may begin so that saving keeps to its share of the time."""
        usual = sorted(self._costs)[(len(self._costs) - 1) // 2]
        return self._began + min(usual + LONGEST_REST, usual / duty_cycle)

    def _duty_cycle(self, now: float) -> float:
        own = self.settings.duty_cycle
        return max(own, URGENT_DUTY_CYCLE) if self.kill_announced(now) else own

    def _debounce(self, now: float) -> float:
        calm = self.settings.debounce
        return min(calm, self.settings.migrating_debounce) if self.kill_announced(now) else calm

    def _max_delay(self, now: float) -> float:
        calm = self.settings.max_delay
        return min(calm, self.settings.migrating_debounce) if self.kill_announced(now) else calm


def _earlier(one: float | None, other: float | None) -> float | None:
    """Return the earlier of two times; None is no time."""
    return min((each for each in (one, other) if each is not None), default=None)


def backoff(attempt: int, *, first: float, longest: float) -> float:
    """Return how many seconds to wait after the nth failure in a row: doubling, with jitter.

    Args:
        attempt: 1 after the first failure.
        first: Seconds after the first failure, at most.
        longest: Seconds, at most.

    Returns:
        Between half of the nominal time and all of it, so that many processes which lost the
        same store do not come back in step.
    """
    import random

    nominal = min(longest, first * 2.0 ** min(attempt - 1, 30))
    return nominal * random.uniform(0.5, 1.0)

"""When to flush: decided from what is seen, without a thread, a clock or a store.

The flush thread looks at the tracker, tells `FlushPolicy.step` what it saw and at which time,
and does what it is told: sleep for so long, flush, or check that nobody has taken over. All times
are arguments, so that every rule here is tested by arithmetic.

The rules, in the order in which they win:

1. After failures nothing is tried before the backoff ends, unless somebody asks for a flush.
2. Unsaved bytes above `max_dirty_bytes` are saved at once, though never more than half of the
   time goes into saving: then the store, not the policy, is what holds it up.
3. Saving takes at most `duty_cycle` of the time: a flush begins no sooner after the one before it
   than that one's cost divided by the duty cycle, but after `LONGEST_REST` at the latest: a kill
   loses what is unsaved. The cost is the median of the last few, so that a single slow answer of
   a store does not put off saving, nor does the first flush, which has everything to write.
4. Changes are saved when writes pause for `debounce`, at the latest `max_delay` after the first.

From a `migrating` signal on both delays are `migrating_debounce` and half of the time may go into
saving: whatever is not saved when the kill comes is lost. If no kill comes for minutes, the signal
was a rehearsal or a mistake, and (on a store that costs money) urgency ends. Shortly before the
timeout of the run all is saved, and the rest of it is spent like the time after `migrating`.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

from msgspec import Struct

from autostate.announced import KILL_OVERDUE, UNKNOWN_TIME
from autostate.settings import Settings

POLL_INTERVAL = 0.1
"""Seconds between looks while something is unsaved, to see pauses and large growth."""
URGENT_DUTY_CYCLE = 0.5
"""Share of the time that saving may take when it is urgent."""
TIMEOUT_LEAD = 10.0
"""Seconds before the timeout of the run when everything is saved; more if saving takes long."""
LONGEST_LEAD = 60.0
RENEWALS = 3
"""How often an owner shows that it lives while a lease lasts: two times may fail."""
COSTS_REMEMBERED = 5
LONGEST_REST = 30.0
"""Seconds from the end of one flush after which the next one may begin, whatever they cost."""
LONGEST_BACKOFF = 60.0


class Action(enum.Enum):
    """What the flush thread does next."""

    SLEEP = enum.auto()
    FLUSH = enum.auto()
    FLUSH_ALL = enum.auto()  # also what could have been changed past the barrier
    CHECK_OWNER = enum.auto()
    RENEW = enum.auto()  # show that the owner lives


class Step(NamedTuple):
    """An action, and for SLEEP how long in seconds (None: until woken)."""

    action: Action
    seconds: float | None = None


class Observation(Struct, frozen=True):
    """What the flush thread saw at one moment.

    Attributes:
        now: The time of the clock that is used throughout, in seconds.
        dirty: Something is marked.
        polling: Something may change without a mark.
        activity: A number that grows with writes.
        estimate: Estimated unsaved bytes.
        cost: Seconds that looking took: with very many dirty containers looks become rarer.
    """

    now: float
    dirty: bool
    polling: bool = False
    activity: int = 0
    estimate: int = 0
    cost: float = 0.0


class FlushPolicy:
    """The rules above over a small memory of what was seen and done. Not for several threads.

    Args:
        settings: The limits; may be replaced at any time.

    Attributes:
        kill_at: When a flush must have ended because of a kill that was announced; None: of none.
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
            observation: What was seen; the times of successive looks never decrease.

        Returns:
            What to do now.
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

        What a flush that is under way would save counts until it is durable.
        """
        oldest = _earlier(self._first, self._under_way)
        return 0.0 if oldest is None else max(0.0, now - oldest)

    def deadline(self, now: float, *, at_least: float = 0.0) -> float:
        """Return when a flush that begins now must have ended: before an announced kill.

        Args:
            now: The time.
            at_least: When somebody stops waiting for it: it may go on until then.
        """
        limit = max(now + self.settings.flush_timeout, at_least)
        if self.kill_at is not None and self.kill_at > now:
            return min(limit, self.kill_at)
        return limit

    def noticed(self, now: float) -> None:
        """Note that something is unsaved, now at the latest."""
        if self._first is None:
            self._first = self._changed = now

    def cut(self, now: float) -> None:
        """Note that a capture was cut: what was unsaved is under way, what follows is new."""
        self._began = now
        self._under_way = _earlier(self._first, self._under_way)
        self._first = None
        self._polling_since = None

    def writing(self) -> None:
        """Note that the capture holds changes, also where nothing had announced them."""
        self._under_way = _earlier(self._under_way, self._began)

    def saved(self, cost: float) -> None:
        """Note that a flush succeeded, and what it cost in seconds."""
        self._costs.append(cost)
        self._under_way = None
        self.failures = 0
        self._not_before = float("-inf")

    def failed(self, now: float) -> None:
        """Note that a flush failed: what was under way waits for the next one."""
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
        self.kill_at = now + left - min(1.0, left / 10)  # a margin for what comes after
        self._kill_expected_until = now + left + KILL_OVERDUE
        self._not_before = float("-inf")

    def expect_timeout(self, now: float, seconds: float) -> None:
        """Note that the run will time out.

        Args:
            now: The time.
            seconds: How far off that is.
        """
        self._timeout_at = now + seconds

    def _lead(self) -> float:
        """Return how long before the timeout everything is to be saved."""
        return min(LONGEST_LEAD, max(TIMEOUT_LEAD, 3 * max(self._costs)))

    def kill_announced(self, now: float) -> bool:
        """Tell whether a kill was announced that has come or is still to come."""
        return now < self._kill_expected_until

    def committed(self, now: float) -> None:
        """Note a commit that a check of the owner has yet to confirm."""
        if self._check_at is None:
            self._check_at = now + self.settings.check_interval

    def checked(self) -> None:
        """Note that this incarnation still owned the state after its last commit."""
        self._check_at = None

    def hold_lease(self, now: float, seconds: float | None) -> None:
        """Note for how long others believe that the owner lives; None: they know it."""
        self._lease = seconds
        self.renewed(now)

    def renewed(self, now: float) -> None:
        """Note that others have seen the owner alive, or that it could not be shown just now."""
        self._renew_at = None if self._lease is None else now + self._lease / RENEWALS

    def check_failed(self, now: float) -> None:
        """Note that the store did not say who owns the state: ask again, but not at once."""
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

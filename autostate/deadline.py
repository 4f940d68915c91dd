"""Deadlines, and repeated attempts that share the time until one.

Why retries are written here and not left to stamina: its sleep is `time.sleep`. The pause between
two attempts to save must end early when somebody calls `flush()`, when a migration sets a deadline
and when the process ends, and all attempts together must fit into the time that is left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol, Self, TypeVar

from autostate.errors import StoreUnavailableError

LEAST_SHARE = 0.05
"""Seconds of an attempt although its deadline is over."""
SHORT_SHARE = 2.0
"""Seconds that an attempt may take if they are left: a half of fewer seconds is of no use."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0

R_co = TypeVar("R_co", covariant=True)


class Deadline:
    """The moment at which something must have ended.

    Args:
        at: The moment, by the clock.
        clock: Seconds that never jump; `time.monotonic` by default.

    Attributes:
        at: The moment; assign another one to move the deadline.
        sooner: A moment that counts in its place until it has passed, such as that of a kill that
            was announced, and may not come.
    """

    __slots__ = ("_clock", "at", "sooner")

    def __init__(self, at: float, clock: Callable[[], float] | None = None) -> None:
        self.at: float = at
        self.sooner: float = math.inf
        self._clock = clock or time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] | None = None) -> Self:
        """Make the deadline that comes after so many seconds."""
        clock = clock or time.monotonic
        return cls(clock() + seconds, clock)

    def left(self) -> float:
        """Return the seconds that are left; 0 if the deadline is over."""
        now = self._clock()
        end = self.sooner if now < self.sooner < self.at else self.at
        return max(0.0, end - now)

    def share(self) -> float:
        """Return the seconds for one attempt: half of what is left, so that another may follow."""
        left = max(LEAST_SHARE, self.left())
        return max(left / 2, min(left, SHORT_SHARE))


class Call(Protocol[R_co]):
    """A call of a store that waits so many seconds for an answer."""

    def __call__(self, *, timeout: float) -> R_co:
        """Call."""
        ...


def retried(
    call: Call[R_co],
    deadline: Deadline,
    *,
    gives_up: Callable[[StoreUnavailableError, int], bool],
    report: Callable[[StoreUnavailableError], None],
    pause: Callable[[float], None],
    first: float = math.inf,
) -> R_co:
    """Call a store until it answers.

    Args:
        call: The call. An attempt never takes all of the time that is left.
        deadline: When to give up.
        gives_up: Tells, after an error and so many attempts, whether to give up before that.
        report: Called with an error before another attempt.
        pause: Waits for this many seconds, or less.
        first: The most seconds for the first attempt.

    Returns:
        The answer.

    Raises:
        StoreUnavailableError: The error of the last attempt.
    """
    attempt = 1
    while True:
        try:
            return call(timeout=min(first, deadline.share()))
        except StoreUnavailableError as error:
            seconds = backoff(attempt, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
            if seconds >= deadline.left() or gives_up(error, attempt):
                raise
            report(error)
        pause(seconds)
        attempt, first = attempt + 1, math.inf


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

"""A clock that moves when nobody can do anything before: thousands of programs in one thread.

Each program is a greenlet, which runs until it sleeps or waits for an answer. So code that is not
written for it, and blocks, runs here as it is; only the modules from which it takes the time get
another one.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from greenlet import getcurrent, greenlet

from autostate import deadline
from autostate.shared import patience, replica, shelf
from autostate.stores import apify_platform

DATE: Final = 1_800_000_000.0
"""The time of day at the beginning."""
_MODULES: Final = (deadline, patience, replica, shelf, apify_platform)


class World:
    """Programs that wait for each other on one clock.

    Args:
        seed: Of everything that is random.

    Attributes:
        now: Seconds since the beginning.
        rng: What is random.
        failures: What programs have raised.
    """

    def __init__(self, seed: int = 1) -> None:
        self.now: float = 0.0
        self.rng: random.Random = random.Random(seed)
        self.failures: list[BaseException] = []
        self._waiting: list[tuple[float, int, greenlet]] = []
        self._order = itertools.count()
        self._hub = getcurrent()

    def start(self, program: Callable[[], object], at: float = 0.0) -> None:
        """Let a program begin at some time."""

        def whole() -> None:
            try:
                program()
            except Exception as error:
                self.failures.append(error)

        heapq.heappush(self._waiting, (at, next(self._order), greenlet(whole, self._hub)))

    def run(self, until: float) -> None:
        """Let the programs run up to some time."""
        with self.installed():
            while self._waiting and self._waiting[0][0] <= until:
                self.now, _, program = heapq.heappop(self._waiting)
                program.switch()
                if self.failures:
                    raise self.failures[0]
        self.now = until

    def wait_until(self, when: float) -> None:
        """Let others run until then; outside of the programs the clock moves at once."""
        me = getcurrent()
        if me is self._hub:
            self.now = max(self.now, when)
            return
        heapq.heappush(self._waiting, (max(when, self.now), next(self._order), me))
        self._hub.switch()

    # -- what modules take from `time` ------------------------------------------------------------

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return self.now

    def time(self) -> float:
        """Return the time of day."""
        return DATE + self.now

    def sleep(self, seconds: float) -> None:
        """Let others run."""
        self.wait_until(self.now + seconds)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the library take the time, and what is random, from here."""
        before: list[tuple[Any, str, Any]] = []
        for module in _MODULES:
            for name, stand_in in (("time", self), ("random", self.rng)):
                if hasattr(module, name):
                    before.append((module, name, getattr(module, name)))
                    setattr(module, name, stand_in)
        try:
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)

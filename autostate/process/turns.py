"""Threads that take turns, and wait for theirs no longer than they may.

What does not work: a lock, which is acquired with a timeout. Ctrl-C just after that, or just before
the release, leaves it taken for good. Here a turn is noted inside of `try`, and is over with one
assignment, at which Ctrl-C cannot strike.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from autostate.deadline import Deadline
from autostate.errors import StoreUnavailableError
from autostate.process.interrupts import Latch

T = TypeVar("T")

LEAST: Final = 0.001
"""Seconds of a step, if there are no more left."""
_LOOK: Final = 0.1
"""Seconds after which a thread looks again: Ctrl-C may have kept another one from waking it."""


class _Turn:
    """The turn of one thread."""

    __slots__ = ("is_over", "over")

    def __init__(self) -> None:
        self.is_over = False
        self.over = Latch()


class Turns:
    """Steps of several threads, one at a time.

    Args:
        busy: Says what the others do, for the error of a thread that had no turn.
    """

    def __init__(self, busy: str) -> None:
        self._busy = busy
        self._lock = threading.Lock()
        self._current: _Turn | None = None

    def run(self, step: Callable[[float | None], T], timeout: float | None) -> T:
        """Take a step when no other thread takes one.

        Args:
            step: The step; it gets the seconds that are left.
            timeout: The most seconds to wait for the others; None: as long as it takes.

        Raises:
            StoreUnavailableError: The time is over, and the step was not taken.
        """
        turn = _Turn()
        try:
            return step(self._take(turn, timeout))
        finally:
            turn.is_over = True  # before any call
            turn.over.set()

    def _take(self, turn: _Turn, timeout: float | None) -> float | None:
        """Wait for a turn; return the seconds that are left."""
        end = Deadline.after(math.inf if timeout is None else timeout)
        while (current := self._taken(turn)) is not turn:
            if not (left := end.left()):
                raise StoreUnavailableError(self._busy)
            current.over.wait(min(left, _LOOK))
        return None if timeout is None else max(end.left(), LEAST)

    def _taken(self, turn: _Turn) -> _Turn:
        """Take a turn if it is free; give the present one."""
        with self._lock:
            current = self._current
            if current is None or current.is_over:
                self._current = current = turn
            return current

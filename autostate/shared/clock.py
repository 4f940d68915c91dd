"""A hybrid logical clock: near the time of day, and later than all times that were seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_PER_MILLISECOND: Final = 1 << 16
_LATEST: Final = 1 << 46
"""The last millisecond, in the year 4199: later ones would not fit into 63 bits."""


class HybridClock:
    """Gives times for the changes of one process.

    A time is the milliseconds since 1970, and 16 bits that count. It is larger than all times that
    were given or seen, so a change that knows of another one is later, however the clocks of the
    machines differ.

    Args:
        now: The time of day in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._last = 0

    def now(self) -> float:
        """Return the time of day in seconds."""
        return self._now()

    def stamp(self) -> int:
        """Return the time of a change."""
        milliseconds = min(int(self._now() * 1000), _LATEST)
        self._last = max(milliseconds * _PER_MILLISECOND, self._last + 1)
        return self._last

    def see(self, stamp: int) -> None:
        """Be later than a time of another process."""
        self._last = max(self._last, stamp)

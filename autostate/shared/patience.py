"""How long a process waits for another one that folds, and when it takes its place."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

PAUSES: Final = (0.005, 0.5)
METERED_PAUSES: Final = (0.1, 8.0)
"""Seconds between two looks whether another process has folded, or a store answers: the first, and
the longest."""

PATIENCE: Final = 2.0
LONGEST_PATIENCE: Final = 20.0
"""Seconds for which a process may be about to fold, at least and at most."""


class Patience:
    """The patience of one process.

    Whoever begins to fold stops the one before. So each has a time of its own from its first step
    on, which is longer on a slow store; and of the processes that wait, one goes first.

    Args:
        is_metered: Whether each request to the store is paid for: then they are rare.
    """

    def __init__(self, *, is_metered: bool) -> None:
        self._pauses = METERED_PAUSES if is_metered else PAUSES
        self._behind: object = None
        self._until = 0.0

    def pauses(self) -> Iterator[float]:
        """Yield how many seconds to wait before each further look."""
        pause, longest = self._pauses
        while True:
            yield pause * random.uniform(0.5, 1.0)
            pause = min(2 * pause, longest)

    def is_over(self, behind: object, seconds: float) -> bool:
        """Tell whether a generation has been closed for so long that its folder is gone.

        Args:
            behind: What changes when a process begins to fold, and when it is done.
            seconds: How long the requests of a fold may take.
        """
        now = time.monotonic()
        if self._behind != behind:
            most = min(max(PATIENCE, 5 * seconds), LONGEST_PATIENCE)
            self._behind, self._until = behind, now + most * random.uniform(1.0, 2.0)
        return now > self._until

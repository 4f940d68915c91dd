"""How long a process waits for another one that folds, and when it takes its place."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.5
LONGEST_METERED_PAUSE: Final = 8.0
"""Seconds between two looks whether another process has folded, or a store answers."""

PATIENCE: Final = 2.0
"""Seconds for which a closed generation may be folded by the process that has closed it."""
A_REQUEST: Final = 0.02
LONGEST_PATIENCE: Final = 12.0
"""Where each request is paid for, and so takes its time: seconds more for each lineage."""


class Patience:
    """The patience of one process.

    It differs from process to process: of hundreds that wait for a fold, whose process was killed,
    one is to take its place, and not all of them at once.

    Args:
        is_metered: Whether each request to the store is paid for: then they are rare.
    """

    def __init__(self, *, is_metered: bool) -> None:
        self._is_metered = is_metered
        self._share = random.uniform(1.0, 2.0)
        self._since: tuple[int, float] = (0, 0.0)

    def pauses(self) -> Iterator[float]:
        """Yield how many seconds to wait before each further look."""
        pause = FIRST_PAUSE
        longest = LONGEST_METERED_PAUSE if self._is_metered else LONGEST_PAUSE
        while True:
            yield pause * random.uniform(0.5, 1.0)
            pause = min(2 * pause, longest)

    def is_over(self, through: int, lineages: int) -> bool:
        """Tell whether a generation has been closed for so long that its folder is gone.

        Args:
            through: The last generation in the base.
            lineages: How many the fold has to read.
        """
        now = time.monotonic()
        if self._since[0] != through:
            self._since = through, now
        most = PATIENCE
        if self._is_metered:
            most = min(PATIENCE + lineages * A_REQUEST, LONGEST_PATIENCE)
        return now - self._since[1] > most * self._share

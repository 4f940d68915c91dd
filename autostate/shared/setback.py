"""A store that has gone back to an earlier moment: it was restored from a backup, or begun anew.

A view never goes back, so a reading that is older than what is known does not count: another thread
may have read later, and have been faster. But a reading that began when all that was known already
cannot be older. If it is, the store has gone back. To go on reading until it is ahead again would
be an error in each refresh, for as long as no process folds.
"""

from __future__ import annotations

import logging
import time
from typing import Final

logger: Final = logging.getLogger("autostate")

PATIENCE: Final = 20.0
"""Seconds for which a store that serves no single moment may lag."""


class Setback:
    """What one process has found of that.

    Args:
        url: The URL of the store.
        is_one_step: Whether each reading is of one moment, and of the present one.
    """

    def __init__(self, url: str, *, is_one_step: bool) -> None:
        self._url = url
        self._patience = 0.0 if is_one_step else PATIENCE
        self._since: float | None = None
        self._is_told = False

    def clear(self) -> None:
        """Note a reading that is not older."""
        self._since, self._is_told = None, False

    def is_certain(self) -> bool:
        """Note one that is older than what was known when it began; tell whether it counts."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < self._patience:
            return False
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "the shared state in %s is of an earlier moment than before: it was restored from "
                "a backup, or deleted. What was published since then is not in it",
                self._url,
            )
        return True

"""Ends of this process that were announced: a kill by a signal of the hub, a timeout of the run.

Both hold for state objects that are made later, too: an Actor may be told that it will be moved
while it still reads its input.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

logger: logging.Logger = logging.getLogger("autostate")

UNKNOWN_TIME = 5.0
"""Seconds that are left if `migrating` does not tell: "a few seconds", as documented."""
KILL_OVERDUE = 300.0
"""Seconds after an announced kill that did not come, until saving is normal again."""
TIMEOUT_VARIABLES = ("ACTOR_TIMEOUT_AT", "APIFY_TIMEOUT_AT")

kills: int = 0
"""How many kills were announced."""
_kill_at: float | None = None
"""The time at which this process will be killed, by the monotonic clock."""
_former_kill_at: float | None = None
"""What it was before the last announcement."""
_timeout_at: float | None = None
"""The time at which the run times out, in seconds since 1970, by the SDK's configuration."""


def note_kill(time_remaining: float | None) -> None:
    """Remember an announced kill, and the seconds until it; None if they are not known."""
    global kills, _kill_at, _former_kill_at
    left = UNKNOWN_TIME if time_remaining is None else max(0.0, time_remaining)
    kills, _former_kill_at, _kill_at = kills + 1, _kill_at, time.monotonic() + left


def recall_kill() -> None:
    """Forget the kill that was announced last: it does not come. One announced before does."""
    global _kill_at
    _kill_at = _former_kill_at


def seconds_to_kill() -> float | None:
    """Return the seconds until an announced kill: 0 if it is late; None if none was announced."""
    if _kill_at is None:
        return None
    left = _kill_at - time.monotonic()
    return None if left < -KILL_OVERDUE else max(0.0, left)


def note_timeout(at: datetime | None) -> None:
    """Remember when the run times out, if the SDK knows it better than the environment."""
    global _timeout_at
    _timeout_at = None if at is None else _timestamp(at)


def seconds_to_timeout() -> float | None:
    """Return the seconds until the run times out; None if it does not, or should have already."""
    at = _timeout_at
    if at is None:
        at = timeout_of(os.environ)
    if at is None:
        return None
    left = at - time.time()
    if left <= 0:
        logger.debug("the run should have timed out %.0f s ago: that is ignored", -left)
        return None
    return left


def timeout_of(environ: Mapping[str, str]) -> float | None:
    """Return the time at which the run times out, in seconds since 1970, by the environment.

    Args:
        environ: The environment variables. Upper and lower case do not matter, as in the SDK.
    """
    from datetime import datetime

    folded = {name.upper(): value.strip() for name, value in environ.items()}
    for name in TIMEOUT_VARIABLES:
        if text := folded.get(name):
            try:
                return _timestamp(datetime.fromisoformat(text))
            except (ValueError, OverflowError, OSError) as error:
                logger.debug("%s is ignored: it is no date and time: %s", name, error)
    return None


def forget() -> None:
    """Forget all of it, for tests."""
    global _kill_at, _former_kill_at, _timeout_at
    _kill_at = _former_kill_at = _timeout_at = None


def _timestamp(at: datetime) -> float:
    """Give seconds since 1970; a time without a zone is in UTC, like all of Apify's times."""
    from datetime import UTC

    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()

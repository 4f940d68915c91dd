"""Ends of this process that were announced: a kill by a signal of the hub, a timeout of the run.

Both hold for state objects that are made later, too: an Actor may hear that it will be moved while
it still reads its input.
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
"""Seconds that are left when `migrating` does not say: "a few seconds", as documented."""
KILL_OVERDUE = 300.0
"""Seconds after an announced kill that did not come until saving is calm again."""
TIMEOUT_VARIABLES = ("ACTOR_TIMEOUT_AT", "APIFY_TIMEOUT_AT")

_kill_at: float | None = None
"""When this process will be killed, by the monotonic clock."""
_timeout_at: float | None = None
"""When the run times out, in seconds since 1970, as the SDK's configuration says."""


def note_kill(time_remaining: float | None) -> None:
    """Remember that a kill was announced: in so many seconds, or None if that is not known."""
    global _kill_at
    left = UNKNOWN_TIME if time_remaining is None else max(0.0, time_remaining)
    _kill_at = time.monotonic() + left


def seconds_to_kill() -> float | None:
    """Return in how many seconds an announced kill comes: 0 if it is late; None: none was."""
    if _kill_at is None:
        return None
    left = _kill_at - time.monotonic()
    return None if left < -KILL_OVERDUE else max(0.0, left)


def note_timeout(at: datetime | None) -> None:
    """Remember when the run times out, if the SDK knows it better than the environment."""
    global _timeout_at
    _timeout_at = None if at is None else _timestamp(at)


def seconds_to_timeout() -> float | None:
    """Return in how many seconds the run times out; None if it does not, or should have."""
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
    """Return when the run times out, in seconds since 1970, as the environment says.

    Args:
        environ: The environment variables. Their names count in any case, as for the SDK.
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
    global _kill_at, _timeout_at
    _kill_at = _timeout_at = None


def _timestamp(at: datetime) -> float:
    """A date-time without a zone is in UTC, as all of Apify's."""
    from datetime import UTC

    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()

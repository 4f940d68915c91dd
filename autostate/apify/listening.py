"""The platform's events, heard in a thread while the event loop of an Actor is blocked.

The SDK receives events in the event loop. A server that blocks the loop, such as
`serve_forever()` in an Actor in Standby mode, receives none: neither `migrating`, after which the
state has to be saved within seconds, nor `persistState`. So a thread opens a websocket of its own:
in Standby mode from the beginning, else when the loop is found to be blocked. A run may have ten
connections; this is one more for each process that opens the Actor.

An event is handled here only if the loop does not run. Else the SDK passes it to the listeners of
the library (events.py), which can wait for those of the program.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from autostate import hub
from autostate.deadline import backoff
from autostate.errors import AutostateError
from autostate.process.interrupts import Latch
from autostate.runtime.api import live

if TYPE_CHECKING:
    import asyncio

    from websockets.sync.client import ClientConnection

logger: logging.Logger = logging.getLogger("autostate")

GRACEFUL_ABORT: Final = 30.0
"""Seconds between `aborting` and the kill; the event itself does not tell the time."""

ANSWERS: Final = 0.25
"""Seconds in which a loop that runs gives a sign of life: a notice may be as short as that."""

_TURN: Final = 0.5
_OPENING: Final = 10.0


def in_standby() -> bool:
    """Tell whether the platform has started this Actor in Standby mode."""
    return os.environ.get("APIFY_META_ORIGIN", "") == "STANDBY"


class Ears:
    """A websocket of the library's own for the events of a run.

    Args:
        loop: The loop of the Actor.
        url: Where the events come from; None: there are none, as off the platform.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str | None) -> None:
        self._loop = loop
        self._url = url

    def listen(self, ended: Callable[[], bool]) -> None:
        """Hear events until there is no reason to: connect again after each failure."""
        attempt = 0
        while not ended():
            if not self._url:
                time.sleep(_TURN)
                continue
            try:
                with self._connected(self._url) as connection:
                    attempt = 0
                    self._listen(connection, ended)
            except Exception as error:  # of websockets, or of the network
                attempt += 1
                logger.debug("the events of the platform are not heard: %r", error)
                again = time.monotonic() + backoff(attempt, first=0.2, longest=10.0)
                while not ended() and time.monotonic() < again:
                    time.sleep(0.1)

    @staticmethod
    def _connected(url: str) -> ClientConnection:
        from websockets.sync.client import connect

        return connect(url, open_timeout=_OPENING, close_timeout=1)

    def _listen(self, connection: ClientConnection, ended: Callable[[], bool]) -> None:
        while not ended():
            with contextlib.suppress(TimeoutError):
                self._hear(connection.recv(timeout=_TURN))

    def _hear(self, message: str | bytes) -> None:
        """Handle an event, unless the loop runs and does so itself."""
        try:
            event = json.loads(message)
            handle = _HANDLERS.get(event["name"])
        except (ValueError, TypeError, KeyError):
            return
        if handle is not None and not self._loop_runs():
            data = event.get("data")
            handle(data if isinstance(data, dict) else {})

    def _loop_runs(self) -> bool:
        alive = Latch()
        try:
            self._loop.call_soon_threadsafe(alive.set)
        except RuntimeError:  # it is closed
            return False
        return alive.wait(ANSWERS)


def _migrating(data: dict[str, Any]) -> None:
    remaining = data.get("timeRemainingSecs")
    seconds = max(0.0, float(remaining)) if isinstance(remaining, int | float) else None
    hub.migrating.send(None, time_remaining=seconds)
    save("before the migration", math.inf if seconds is None else seconds)


def _aborting(_data: dict[str, Any]) -> None:
    hub.aborting.send(None, time_remaining=GRACEFUL_ABORT)
    save("before the abort", GRACEFUL_ABORT)


def _persist_state(data: dict[str, Any]) -> None:
    hub.persist_state.send(None, is_migrating=bool(data.get("isMigrating", False)))
    save("at persist_state")


_HANDLERS: Final[dict[Any, Callable[[dict[str, Any]], None]]] = {
    "migrating": _migrating,
    "aborting": _aborting,
    "persistState": _persist_state,
}


def save(when: str, seconds: float = math.inf) -> None:
    """Make everything durable, in a thread of the library; log what fails."""
    for owner in live():
        try:
            owner.flush(min(owner.settings.flush_timeout, seconds))
        except (AutostateError, RuntimeError) as error:
            logger.error("Not all state in %s was saved %s: %s", owner.url, when, error)  # noqa: TRY400

"""What a killed process has left for a shared state that does not answer yet.

The next process publishes it as soon as it has resumed its own state. If the shared state cannot
be opened then, since a file is locked for example, this tries again: in a thread, and in each
`flush()`, which raises until it has succeeded. What is left at the end stays in the program's own
state, for the process after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from autostate.errors import AutostateError, FlushError, StoreUnavailableError
from autostate.process import lifecycle
from autostate.process.interrupts import Worker
from autostate.runtime.companion import Beside
from autostate.runtime.info import SharedInfo
from autostate.tracking import Tracker

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager
    from autostate.settings import Settings

logger: logging.Logger = logging.getLogger("autostate")

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before another attempt."""


class Resuming(Beside):
    """Attempts to go on where a former process has stopped; a keeper of `process.lifecycle`.

    Args:
        manager: The manager of the program's own state.
        url: The URL of the shared state.
        settings: Its settings.
        attempt: Opens the shared state, and publishes what is left; returns what flushes it.
    """

    def __init__(
        self,
        manager: StateManager,
        url: str,
        settings: Settings,
        attempt: Callable[[], Callable[[float | None], None]],
    ) -> None:
        self._manager = manager
        self.url: str = url
        self.settings: Settings = settings
        self._attempt = attempt
        self._incarnation = manager._incarnation
        self._has_ended = False
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = Worker(self._run, "autostate-resume-shared")
        lifecycle.register(self)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            self._thread.start()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with contextlib.suppress(queue.Empty):
                self._ended.get(timeout=pause)
                return
            with contextlib.suppress(StoreUnavailableError):
                self._resume()
                return
            pause = min(2 * pause, LONGEST_PAUSE)

    def _resume(self) -> Callable[[float | None], None] | None:
        """Go on, if the state is still open; return what flushes the shared state.

        Raises:
            StoreUnavailableError: It does not answer.
        """
        found = None
        try:
            found = self._attempt()
        except StoreUnavailableError:
            if self._is_open():
                raise
            self._tell()
        except (AutostateError, ValueError, RuntimeError) as error:
            logger.warning("changes to the shared state are not published: %s", error)
        self._end()
        return found

    def _is_open(self) -> bool:
        return self._incarnation is not None and not self._incarnation.finished

    def _tell(self) -> None:
        logger.warning(
            "what a former process has left for the shared state in %s is not published: it stays "
            "in the program's own state, for the next process",
            self.url,
        )

    def _end(self) -> None:
        self._has_ended = True
        lifecycle.unregister(self)
        self._ended.put(None)

    @property
    def tracker(self) -> Tracker:
        """A tracker of nothing."""
        return Tracker(wake=_nothing)

    def infos(self) -> list[SharedInfo]:
        """There are no objects."""
        return []

    def flush(self, timeout: float | None = None) -> None:
        """Publish what a former process has left.

        Raises:
            FlushError: The shared state does not answer.
        """
        try:
            flush = self._resume()
        except StoreUnavailableError as error:
            raise FlushError(
                f"what a former process has left for the shared state in {self.url} could not be "
                f"published: {error}. It stays in the program's own state"
            ) from error
        if flush is not None:
            flush(timeout)

    async def durable(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
        """Do the same without blocking the event loop."""
        await asyncio.to_thread(self.flush, timeout)

    # -- a keeper of `lifecycle` --------------------------------------------------------------

    @property
    def exit_timeout(self) -> float:
        """Seconds that the last attempt may take."""
        return self.settings.flush_timeout

    def announce_kill(self) -> None:
        """Do nothing."""

    def announce_end(self) -> None:
        """Do nothing."""

    def finish(self, timeout: float) -> None:
        """Tell what is left."""
        if not self._has_ended:
            self._tell()
            self._end()
        self._thread.join(min(timeout, 1.0))

    def before_exec(self, timeout: float) -> Callable[[], None]:
        """Leave it to the program that takes the place of this one."""
        return _nothing

    def before_fork(self, timeout: float) -> Callable[[], None]:
        """Do nothing."""
        return _nothing

    def forked(self) -> bool:
        """Leave it to the parent."""
        return False


def _nothing() -> None:
    """Do nothing."""

"""The thread that refreshes shared objects at an interval, if the program has set one.

It reads in the background. What it has read is shown between two callbacks of the event loop in
which the program uses shared objects; without such a loop, at once. So no loop of a coroutine over
a shared object breaks, unless it awaits something.

What does not work: to let the servers of Redis and PostgreSQL announce each publication. With N
processes that publish P times a second, and read whenever another one has, each second brings
N × N × P readings of N lineages; an interval brings N.
"""

from __future__ import annotations

import contextlib
import logging
import queue
from typing import TYPE_CHECKING, Final

from autostate import logs
from autostate.process.interrupts import Worker

if TYPE_CHECKING:
    from autostate.shared.replica import Replica

logger: logging.Logger = logging.getLogger("autostate")

LONGEST: Final = 60.0
"""Seconds that a refresh waits for the store."""


class Refresher:
    """Refreshes the shared objects of a process at an interval.

    Args:
        replica: The shared objects.
        seconds: The interval.

    Attributes:
        seconds: The interval.
        error: Why the last attempt has failed; None: it has not.
    """

    def __init__(self, replica: Replica, seconds: float) -> None:
        self.error: Exception | None = None
        self._replica = replica
        self.seconds: float = seconds
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = Worker(self._run, "autostate-refresh")
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            self._thread.start()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                self._ended.get(timeout=self.seconds)
                return
            try:
                self._replica.fetch(LONGEST)
            except Exception as error:
                if self.error is None and self._ended.empty():
                    logger.warning(
                        "shared objects are not refreshed: %s",
                        error,
                        extra=logs.attributes("refresh_failed", error=type(error).__name__),
                    )
                self.error = error
            else:
                self.error = None
                self._show()

    def _show(self) -> None:
        loop = self._replica.loop()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(self._replica.show)
                return
        self._replica.show()

    def end(self, timeout: float) -> None:
        """End the thread."""
        self._ended.put(None)
        self._thread.join(timeout)

"""One call for a flush, and the event loop in which it is made."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class FlushRequest:
    """One call for a flush.

    Args:
        deadline: When the caller stops waiting, by the flush thread's clock.
        full_compare: Compare content that could have been changed past the barrier, too.
        notify: Called with the outcome, in the thread that flushed, instead of waiting for it.
    """

    def __init__(
        self,
        deadline: float,
        *,
        full_compare: bool = True,
        notify: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self.deadline = deadline
        self.full_compare = full_compare
        self._notify = notify
        self._outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def finish(self, error: BaseException | None) -> None:
        """Hand over the outcome: None when everything is durable, else the error."""
        if self._notify is None:
            self._outcomes.put(error)
        else:
            self._notify(error)

    def outcome(self, timeout: float) -> BaseException | None:
        """Wait for the outcome.

        Raises:
            queue.Empty: There is no outcome yet after `timeout` seconds.
        """
        return self._outcomes.get(timeout=max(0.0, timeout))


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; loads no asyncio for that."""
    events: Any = sys.modules.get("asyncio.events")
    loop: asyncio.AbstractEventLoop | None = None if events is None else events._get_running_loop()
    return loop

"""Waiting, in a thread, for what runs in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import CancelledError, Future, wait
from typing import Any, Final

LOOP_CHECK: Final = 0.25
"""Seconds between checks whether the event loop still runs."""


def outcome(future: Future[Any], loop: asyncio.AbstractEventLoop) -> Any:
    """Wait for what runs in an event loop, as long as the loop runs."""
    while not future.done() and loop.is_running():
        wait([future], timeout=LOOP_CHECK)
    if not future.done():
        if not loop.is_closed():
            future.cancel()
        raise ConnectionAbortedError("the event loop ended in the midst of a delivery")
    try:
        return future.result()
    except CancelledError:  # the loop cancels all of its tasks at its end
        raise ConnectionAbortedError("the delivery was cancelled") from None


async def awaited(result: Awaitable[Any]) -> Any:
    """Make a coroutine of what can be awaited."""
    return await result

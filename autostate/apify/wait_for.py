"""`asyncio.wait_for` around a fetch, on Python 3.11: in the task of the caller.

Up to Python 3.11 `wait_for` runs a coroutine in a task of its own, with a copy of the context. The
unit of work that begins with a fetch would be that of the copy, and what the loop writes would
belong to no unit. From Python 3.12 on `wait_for` awaits in the task of the caller; for fetches, it
does so here too. A fetch that runs in a task of its own nevertheless is reported.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

logger: logging.Logger = logging.getLogger("autostate")

_FETCH: Final = "fetch_next_request"
_told = False


def install() -> None:
    """Let fetches run in the task of the caller; called once."""
    if sys.version_info < (3, 12):
        import wrapt

        wrapt.wrap_function_wrapper(asyncio, "wait_for", _wait_for)


async def _wait_for(
    wrapped: Callable[..., Awaitable[Any]],
    _: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    call = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    if not _is_fetch(call["fut"]):
        return await wrapped(*args, **kwargs)
    async with asyncio.timeout(call["timeout"]):
        return await call["fut"]


def _is_fetch(awaitable: object) -> bool:
    return inspect.iscoroutine(awaitable) and awaitable.__name__ == _FETCH


def tell_of_task() -> None:
    """Log, once, if the present task does nothing but fetch: its caller has another context."""
    global _told
    task = asyncio.current_task()
    if _told or task is None or not _is_fetch(task.get_coro()):
        return
    _told = True
    logger.warning(
        "a request was fetched in a task of its own, so that what is written for it cannot be told "
        "apart from other writes: await fetch_next_request() where the request is worked; for a "
        "time limit, write `async with asyncio.timeout(…)`"
    )

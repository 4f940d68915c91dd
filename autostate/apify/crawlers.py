"""Crawlers of Crawlee: each request is a unit of work, and each attempt of its handler another one.

Three functions are wrapped, the first two of which are private. Crawlee's own instrumentation for
OpenTelemetry wraps the same kind of functions in the same way.

- `BasicCrawler.__run_task_function` runs one request, from fetch to mark. Its writes are kept if it
  returns: also when the request has failed for good, with what the failed handler has written.
- `_run_request_handler` runs one attempt. If it raises, its writes are undone.
- `RequestQueue.add_requests` adds the first thousand requests, and the others in the background;
  inside a unit of work it waits for all of them: they are there before their page is marked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from autostate.apify.units import WorkUnit, working
from autostate.runtime.api import current_manager
from autostate.tracking.unit import Unit

Wrapped = Callable[..., Awaitable[Any]]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_TASK: Final = "_BasicCrawler__run_task_function"
_ATTEMPT: Final = "_run_request_handler"
_HOOKED: Final = "_in_step_with_autostate"


def install() -> None:
    """Wrap the functions, once; `versions.check` has found them."""
    from crawlee.crawlers import BasicCrawler
    from crawlee.storages import RequestQueue

    crawler: Any = BasicCrawler
    if _HOOKED in vars(crawler):
        return
    import wrapt

    setattr(crawler, _HOOKED, set())
    wrapt.wrap_function_wrapper(RequestQueue, "add_requests", _add_requests)
    wrapt.wrap_function_wrapper(crawler, _TASK, _run_task)


def _hook_attempts(cls: Any) -> None:
    """Wrap the function that runs an attempt wherever a class of crawlers defines one."""
    import wrapt

    hooked: set[type] = getattr(cls, _HOOKED)
    if cls in hooked:
        return
    for each in cls.__mro__:
        if _ATTEMPT in vars(each) and each not in hooked:
            wrapt.wrap_function_wrapper(each, _ATTEMPT, _run_attempt)
            hooked.add(each)
    hooked.add(cls)


async def _run_task(wrapped: Wrapped, crawler: Any, args: Args, kwargs: Kwargs) -> Any:
    _hook_attempts(type(crawler))
    unit = WorkUnit(of_crawler=True)
    token = working.set(unit)
    unit.enter()
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException:
        unit.end(kept=False)
        raise
    else:
        unit.end(kept=True)
        return result
    finally:
        unit.leave()
        working.reset(token)


async def _run_attempt(wrapped: Wrapped, _crawler: Any, args: Args, kwargs: Kwargs) -> Any:
    unit = working.get()
    if unit is None or not unit.of_crawler:
        return await wrapped(*args, **kwargs)
    from crawlee.errors import ContextPipelineInterruptedError

    with Unit(current_manager()._tracker):
        try:
            return await wrapped(*args, **kwargs)
        except ContextPipelineInterruptedError as error:
            skipped = error
    raise skipped  # after the attempt: the request is done, and has not failed


async def _add_requests(wrapped: Wrapped, _queue: Any, args: Args, kwargs: Kwargs) -> Any:
    if working.get() is not None:
        kwargs = {"wait_for_all_requests_to_be_added": True, **kwargs}
    return await wrapped(*args, **kwargs)

"""Crawlers of Crawlee: each request is a unit of work, and each attempt of its handler another one.

Seven functions are wrapped, five of which are private. Crawlee's own instrumentation for
OpenTelemetry wraps the same kind of functions in the same way.

- `BasicCrawler.__run_task_function` runs one request, from fetch to mark. Its writes are kept if it
  returns: also when the request has failed for good, with what the failed handler has written.
- `_run_request_handler` runs one attempt. If it raises, its writes are undone. The attempt goes on
  until its links are added and its items are pushed.
- `_commit_request_handler_result` adds the links and pushes the items. If links cannot be added,
  the attempt has failed. (To Crawlee an error here is the end of the crawl.)
- `AdaptivePlaywrightCrawler._crawl_one` runs the handler without or with a browser, and perhaps
  both ways for one request. What the discarded run has written is undone.
- `RequestQueue.add_requests`, `add_request` and `_process_batch`: inside a unit of work all
  requests are there when they return. By itself, the first adds all but a thousand in the
  background, and the last only logs that a request was not taken. A request with `always_enqueue`
  gets a key that is the same when its page is worked again, in place of a random one.

Crawlee calls the private ones in the task of the request, so that a unit which is entered there is
that of everything which the task calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from autostate.apify import versions, wait_for
from autostate.apify.units import WorkUnit, working
from autostate.runtime.api import current_manager
from autostate.tracking.savepoint import inside
from autostate.tracking.unit import Unit

Wrapped = Callable[..., Awaitable[Any]]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_TASK: Final = "_BasicCrawler__run_task_function"
_COMMIT: Final = "_commit_request_handler_result"
_RANDOM: Final = re.compile(r"[A-Za-z0-9]{17}\|")
"""The beginning of the unique key of a request with `always_enqueue`."""
_HOOKED: Final = "_in_step_with_autostate"


class RequestsNotAddedError(RuntimeError):
    """A queue has not taken some requests."""


def install() -> None:
    """Wrap the functions, once; `versions.check` has found them."""
    from crawlee.crawlers import BasicCrawler
    from crawlee.storages import RequestQueue

    crawler: Any = BasicCrawler
    if _HOOKED in vars(crawler):
        return
    import wrapt

    setattr(crawler, _HOOKED, set())
    wait_for.install()
    wrapt.wrap_function_wrapper(RequestQueue, "add_requests", _add_requests)
    wrapt.wrap_function_wrapper(RequestQueue, "add_request", _add_request)
    wrapt.wrap_function_wrapper(RequestQueue, "_process_batch", _process_batch)
    wrapt.wrap_function_wrapper(crawler, _COMMIT, _commit)
    wrapt.wrap_function_wrapper(crawler, _TASK, _run_task)


def _hook_attempts(cls: Any) -> None:
    """Wrap the functions that run attempts wherever a class of crawlers defines them."""
    import wrapt

    hooked: set[type] = getattr(cls, _HOOKED)
    if cls in hooked:
        return
    versions.check_class(cls)
    for each in cls.__mro__:
        if each not in hooked:
            for name, wrapper in _ATTEMPTS.items():
                if name in vars(each):
                    wrapt.wrap_function_wrapper(each, name, wrapper)
            hooked.add(each)


async def _run_task(wrapped: Wrapped, crawler: Any, args: Args, kwargs: Kwargs) -> Any:
    _hook_attempts(type(crawler))
    if working.get() is not None:
        # A handler runs this crawler. It waits until the marks are made, which must not belong to
        # the request of that handler.
        inside.set(None)
    unit = WorkUnit(of_crawler=True)
    token = working.set(unit)
    unit.enter()
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException:
        unit.end_attempt(kept=False)
        unit.end(kept=False)
        raise
    else:
        unit.end_attempt(kept=True)  # it was interrupted: the request was skipped
        unit.end(kept=True)
        return result
    finally:
        unit.leave()
        working.reset(token)


async def _run_attempt(wrapped: Wrapped, _crawler: Any, args: Args, kwargs: Kwargs) -> Any:
    unit = working.get()
    if unit is None or not unit.of_crawler or unit.attempt is not None:
        return await wrapped(*args, **kwargs)
    from crawlee.errors import ContextPipelineInterruptedError

    unit.begin_attempt()
    try:
        return await wrapped(*args, **kwargs)
    except ContextPipelineInterruptedError:  # the request is done, and has not failed
        raise
    except BaseException:
        unit.end_attempt(kept=False)
        raise


async def _crawl_one(wrapped: Wrapped, _crawler: Any, args: Args, kwargs: Kwargs) -> Any:
    unit = working.get()
    if unit is None or unit.attempt is None:
        return await wrapped(*args, **kwargs)
    # Crawlee gives a run a copy of its own state if the run is for a comparison alone.
    state = inspect.signature(wrapped).bind(*args, **kwargs).arguments.get("state")
    if state is None:  # a run before this one is discarded
        unit.end_attempt(kept=False)
        unit.begin_attempt()
        return await wrapped(*args, **kwargs)
    comparison = Unit(current_manager()._tracker)
    comparison.enter()
    comparison.begin()
    try:
        return await wrapped(*args, **kwargs)
    finally:
        comparison.close()


_ATTEMPTS: Final = {"_run_request_handler": _run_attempt, "_crawl_one": _crawl_one}


async def _commit(wrapped: Wrapped, _crawler: Any, args: Args, kwargs: Kwargs) -> Any:
    unit = working.get()
    if unit is None or unit.attempt is None:
        return await wrapped(*args, **kwargs)
    from crawlee.errors import RequestHandlerError

    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as error:
        unit.end_attempt(kept=False)
        if isinstance(error, RequestsNotAddedError):
            context = args[0] if args else kwargs["context"]
            raise RequestHandlerError(error, context) from error
        raise
    unit.end_attempt(kept=True)
    return result


async def _add_requests(wrapped: Wrapped, _queue: Any, args: Args, kwargs: Kwargs) -> Any:
    """Add all requests, batch after batch, if that is a part of some work."""
    if working.get() is None:
        return await wrapped(*args, **kwargs)
    call = inspect.signature(wrapped).bind(*args, **kwargs)
    call.apply_defaults()
    requests = [*map(_with_lasting_key, call.arguments.pop("requests"))]
    size: int = call.arguments["batch_size"]
    pause: timedelta = call.arguments["wait_time_between_batches"]
    for begin in range(0, len(requests), size):
        if begin:
            await asyncio.sleep(pause.total_seconds())
        try:
            await wrapped(requests[begin : begin + size], **call.arguments)
        except Exception as error:
            if not begin or isinstance(error, RequestsNotAddedError):
                raise
            raise RequestsNotAddedError("some requests could not be added") from error
    return None


async def _add_request(wrapped: Wrapped, _queue: Any, args: Args, kwargs: Kwargs) -> Any:
    call = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    added = await wrapped(**{**call, "request": _with_lasting_key(call["request"])})
    if added is None and working.get() is not None:
        raise RequestsNotAddedError("the queue has not taken a request")
    return added


def _with_lasting_key(request: Any) -> Any:
    """Give a request whose key is not random, but depends on the page that adds it.

    A page that is worked again adds its links again: what the queue has already is not added.
    """
    unit = working.get()
    key = getattr(request, "unique_key", "")
    if unit is None or len(unit.keys) != 1 or not _RANDOM.match(key):
        return request
    [page] = unit.keys
    unit.links += 1
    lasting = hashlib.blake2b(f"{page} {unit.links}".encode(), digest_size=16).hexdigest()
    return request.model_copy(update={"unique_key": f"{lasting}|{key.partition('|')[2]}"})


async def _process_batch(wrapped: Wrapped, _queue: Any, args: Args, kwargs: Kwargs) -> Any:
    """Raise if requests are left after the last try of a batch."""
    response = await wrapped(*args, **kwargs)
    if kwargs.get("attempt", 1) == 1 and working.get() is not None:
        left = len(response.unprocessed_requests)
        if left:
            raise RequestsNotAddedError(f"the queue has not taken {left} requests")
    return response

"""Units of work: what belongs to one response is saved together.

A unit is the scraping of one response: the callback, all that it yields, and the item pipelines.
It is one block of `atomic()`, whose last write takes the request out of the state. So a save has
either nothing of a response, and its request, or everything, and the request is gone.

The requests that a unit yields are stored at once, and queued when it ends. What does not work: to
queue them at once. A page could be done, saved and delivered while the one that links to it is
still in work; after a kill that one would yield it once more.

Each unit has a context of its own. In that of its caller it would often be inside of another unit:
the engine looks for new requests in the context of a callback that has yielded one.

Scrapy has no signal at which a request is done, and none around the scraping of a response. So
three methods of the engine and its scraper are replaced, in the objects of one crawl. Scrapy has
them since 2.14.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from scrapy import Request, __version__
from scrapy.utils.asyncio import is_asyncio_available

from autostate.runtime.api import atomic

if TYPE_CHECKING:
    from scrapy.core.engine import ExecutionEngine

    from autostate.scrapy.crawl import Crawl
    from autostate.scrapy.start import Start

logger: logging.Logger = logging.getLogger("autostate")

Queue = Callable[[Request, bool], None]

_REPLACED = ("_handle_downloader_output", "_start"), ("_scrape", "start_itemproc_async")


class Unit:
    """The scraping of one response.

    A link that an open unit has yielded may come in another one as well. It is stored in both: a
    save may have the second unit and not the first. When both have ended, the second is dropped.

    Args:
        queue: Queues a request; told whether it is stored.
        drop: Deletes a stored request that was not queued.

    Attributes:
        is_open: Whether the unit goes on.
    """

    def __init__(self, queue: Queue, drop: Callable[[Request], None]) -> None:
        self.is_open = True
        self._queue = queue
        self._drop = drop
        self._held: list[tuple[Request, bool]] = []
        self._doubles: list[tuple[Request, Unit]] = []
        self._to_drop: list[Request] = []

    def add(self, request: Request, *, is_stored: bool) -> None:
        """Queue a request when the unit ends; at once if a task has outlived it."""
        if self.is_open:
            self._held.append((request, is_stored))
        else:
            self._queue(request, is_stored)

    def add_double(self, request: Request, first: Unit) -> None:
        """Keep a stored request as long as that of the unit that yielded it first may be lost."""
        self._doubles.append((request, first))

    def end(self) -> None:
        """Queue what was held back."""
        self.is_open = False
        for request, is_stored in self._held:
            self._queue(request, is_stored)
        for request in self._to_drop:
            self._drop(request)
        for request, first in self._doubles:
            if first.is_open:
                first._to_drop.append(request)
            else:
                self._drop(request)
        for each in (self._held, self._to_drop, self._doubles):
            each.clear()


current: contextvars.ContextVar[Unit | None] = contextvars.ContextVar("unit", default=None)
"""The unit to which what runs here belongs."""


def install(engine: ExecutionEngine, crawl: Crawl, start: Start, queue: Queue) -> None:
    """Let an engine work in units; called once for each engine, before it gets its first request.

    Args:
        engine: The engine.
        crawl: The state of its crawl.
        start: What `Spider.start()` gives.
        queue: Queues a request; told whether it is stored.

    Raises:
        RuntimeError: This version of Scrapy has other methods.
    """
    for owner, names in zip((engine, engine.scraper), _REPLACED, strict=True):
        for name in names:
            if not hasattr(owner, name):
                raise RuntimeError(
                    f"Scrapy {__version__} has no {type(owner).__name__}.{name}, which autostate "
                    "needs: install a newer autostate, or an older Scrapy from 2.14 on"
                )
    if not is_asyncio_available():
        logger.warning(
            "without asyncio (the setting TWISTED_REACTOR) a save may have a part of what belongs "
            "to a response: after a kill the response is scraped once more, beside that part"
        )
    units = _Units(crawl, start, queue)
    units.wrap(engine)
    if engine._start is not None:
        engine._start = start.resumed(engine._start)


class _Units:
    """The replacements of one engine."""

    def __init__(self, crawl: Crawl, start: Start, queue: Queue) -> None:
        self._crawl = crawl
        self._start = start
        self._queue = queue
        self._has_contexts = is_asyncio_available()
        self._context = contextvars.copy_context()

    def wrap(self, engine: Any) -> None:
        """Replace the methods of an engine and of its scraper."""
        scraper = engine.scraper
        handle, scrape = engine._handle_downloader_output, scraper._scrape
        process = scraper.start_itemproc_async
        crawl, start = self._crawl, self._start

        def handle_output(result: Any, request: Request) -> Any:
            if not isinstance(result, Request):
                return handle(result, request)
            return self._context.copy().run(replace, result, request)

        def replace(result: Request, request: Request) -> Any:
            with atomic():  # a redirect, or another try: the new request replaces this one
                handled = handle(result, request)
                crawl.done(request)
                return handled

        async def scrape_unit(result: Any, request: Request) -> None:
            unit, failed = Unit(self._queue, crawl.drop), None
            current.set(unit)
            with atomic():
                try:
                    await scrape(result, request)
                except Exception as error:  # Scrapy logs it, and goes on without the request
                    failed = error
                crawl.done(request)
            unit.end()  # not if the block is undone, as at the end of the process
            if failed is not None:
                raise failed

        async def scrape_in_context(result: Any, request: Request) -> None:
            context = self._context.copy()
            await asyncio.create_task(scrape_unit(result, request), context=context)

        async def scrape_in_parts(result: Any, request: Request) -> None:
            try:
                await scrape(result, request)
            except Exception:
                crawl.done(request)
                raise
            crawl.done(request)

        async def process_item(item: Any, *, response: Any) -> None:
            if response is not None or not start.is_start_item(item):
                await process(item, response=response)
                return
            with self._block():
                await process(item, response=response)
                start.processed(item)

        engine._handle_downloader_output = handle_output
        scraper._scrape = scrape_in_context if self._has_contexts else scrape_in_parts
        scraper.start_itemproc_async = process_item

    def _block(self) -> AbstractContextManager[None]:
        """Return a block; without asyncio what a callback yields is not processed in its context.

        Blocks would take the writes of each other for their own then.
        """
        return atomic() if self._has_contexts else nullcontext()

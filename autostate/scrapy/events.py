"""What the platform announces, and the crawl: migrations, aborts, takeovers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scrapy.utils.asyncio import is_asyncio_available
from scrapy.utils.defer import deferred_from_coro

from autostate import hub

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from autostate.scrapy.crawl import Crawl

logger: logging.Logger = logging.getLogger("autostate")


class Events:
    """Listens to the hub for one crawl, until it is closed.

    Args:
        crawler: The crawler.
        crawl: Its state.
    """

    def __init__(self, crawler: Crawler, crawl: Crawl) -> None:
        self._crawler = crawler
        self._crawl = crawl
        self._loop = asyncio.get_running_loop() if _has_running_loop() else None
        self._signals = (
            (hub.migrating, self._migrating),
            (hub.aborting, self._aborting),
            (hub.fenced, self._fenced),
        )
        for signal, receiver in self._signals:
            signal.connect(receiver)

    def close(self) -> None:
        """Hear no more."""
        for signal, receiver in self._signals:
            signal.disconnect(receiver)

    def _migrating(self, _sender: Any, **_: Any) -> None:
        """Say that the crawl is held: see `Crawl.is_held`."""
        logger.info("the crawl %r begins no more requests before the migration", self._crawl.name)

    def _aborting(self, _sender: Any, **_: Any) -> None:
        self.stop()

    def _fenced(self, sender: Any, **_: Any) -> None:
        """Stop: another process works on these requests."""
        if sender is self._crawl.manager:
            self._crawl.is_lost = True
            self.stop()

    def stop(self) -> None:
        """Stop the crawler, from any thread."""
        if self._loop is not None:
            call: Callable[..., Any] = self._loop.call_soon_threadsafe
        else:
            from twisted.internet import reactor

            call = reactor.callFromThread
        call(lambda: deferred_from_coro(self._crawler.stop_async()))


def _has_running_loop() -> bool:
    try:
        if not is_asyncio_available():
            return False
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

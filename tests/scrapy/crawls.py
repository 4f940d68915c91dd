"""Crawlers without a network, and schedulers that are opened as in one process after another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

from scrapy import Request, Spider
from scrapy.core.downloader import Downloader
from scrapy.crawler import Crawler
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.httpobj import urlparse_cached
from scrapy.utils.misc import build_from_crawler
from scrapy.utils.test import get_crawler

import autostate
from autostate.runtime.api import close_default
from autostate.scrapy import Scheduler

URL = "sqlite:///state.db"


class MockDownloader:
    """What Scrapy's tests take for a downloader: which slots are busy."""

    def __init__(self) -> None:
        self.slots: dict[str, Any] = {}

    def get_slot_key(self, request: Request) -> str:
        """Return the slot of a request."""
        return str(request.meta.get(Downloader.DOWNLOAD_SLOT) or urlparse_cached(request).hostname)

    def increment(self, key: str) -> None:
        self.slots.setdefault(key, Mock(active=[])).active.append(1)

    def decrement(self, key: str) -> None:
        self.slots[key].active.pop()


class Pages(Spider):
    """A spider with methods to call back."""

    name = "pages"

    def parse(self, response: Any, **_: Any) -> None:
        """Do nothing."""

    def failed(self, failure: Any) -> None:
        """Do nothing."""


def no_method(*_: Any, **__: Any) -> None:
    """A callback that no spider has."""


def crawler_of(settings: dict[str, Any] | None = None, spider: type[Spider] = Pages) -> Crawler:
    """Make a crawler whose spider is made, and whose engine does nothing."""
    crawler = get_crawler(spider, settings)
    crawler.spider = crawler._create_spider()
    crawler.engine = Mock(downloader=MockDownloader(), _start=None)
    return crawler


@asynccontextmanager
async def scheduler(
    settings: dict[str, Any] | None = None, reason: str = "shutdown", crawler: Crawler | None = None
) -> AsyncIterator[Scheduler]:
    """Open a scheduler on the state, as the next process does, and close everything."""
    autostate.configure(URL, debounce=0.01)
    crawler = crawler or crawler_of(settings)
    assert crawler.spider is not None
    made = build_from_crawler(Scheduler, crawler)
    made.open(crawler.spider)
    try:
        yield made
    finally:
        closed = made.close(reason)
        assert closed is not None
        await maybe_deferred_to_future(closed)
        close_default()

"""`spider.state`, a dict that saves itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from scrapy import Spider, signals

from autostate.containers import PersistedDict
from autostate.scrapy import crawl

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class SpiderState:
    """An extension that makes `spider.state` a state object; it needs no JOBDIR.

    Args:
        name: The name of the state object; None for a plain dict, which is not saved.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._crawler: Crawler | None = None
        self._state: dict[str, Any] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make the extension of a crawler."""
        made = cls()
        made._crawler = crawler
        crawler.signals.connect(made.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(made.spider_closed, signal=signals.spider_closed)
        return made

    @classmethod
    def in_memory(cls, crawler: Crawler) -> Self:
        """Make one that gives the spider a plain dict, as for `scrapy parse`."""
        made = cls()
        crawler.signals.connect(made.spider_opened, signal=signals.spider_opened)
        return made

    def spider_opened(self, spider: Spider) -> None:
        """Give the spider its state."""
        if self._crawler is not None:
            self._state = crawl.crawl_of(self._crawler, spider).state
        elif self._name is not None:
            self._state = PersistedDict(self._name)
        vars(spider)["state"] = self._state

    def spider_closed(self, spider: Spider) -> None:
        """Take over another dict that the spider has put in place of the state."""
        state: dict[str, Any] = getattr(spider, "state", self._state)
        if state is not self._state:
            self._state.clear()
            self._state.update(state)
        if self._crawler is not None:
            crawl.end(self._crawler)


class PlainState:
    """Makes the extension for a spider whose crawl is left alone."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SpiderState:
        """Make it for a crawler."""
        return SpiderState.in_memory(crawler)

"""The scheduler: requests that are queued or in work survive the end of the process.

It is Scrapy's own, whose disk queues keep their requests in the state: priorities, the order within
a priority, and the fairness between download slots are those of Scrapy's priority queues.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Self

from queuelib import queue
from scrapy.core.scheduler import Scheduler as ScrapyScheduler
from scrapy.dupefilters import RFPDupeFilter
from scrapy.utils.asyncio import call_later, is_asyncio_available
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.misc import build_from_crawler, load_object

from autostate.scrapy import units
from autostate.scrapy.crawl import Crawl, crawl_of, end
from autostate.scrapy.dupefilter import DupeFilter
from autostate.scrapy.events import Events
from autostate.scrapy.queues import FifoQueue, LifoQueue
from autostate.scrapy.start import Start

if TYPE_CHECKING:
    from scrapy import Request, Spider
    from scrapy.crawler import Crawler
    from scrapy.pqueues import ScrapyPriorityQueue
    from twisted.internet.defer import Deferred

logger: logging.Logger = logging.getLogger("autostate")

AGAIN: Final = 0.25
"""Seconds until the next look whether there is room for items."""

_FIFO: Final = (queue.FifoDiskQueue, queue.FifoSQLiteQueue, queue.FifoMemoryQueue, FifoQueue)


class Scheduler(ScrapyScheduler):
    """A scheduler that keeps its requests in the state. A value of SCHEDULER.

    A request leaves the state when its response has been scraped, in the same cut as everything
    that its callback has written to the state, its new requests and its items.

    A request that cannot be stored is kept in memory, as Scrapy does, with a warning: it is lost if
    the process ends before it is done.
    """

    crawl: Crawl
    _events: Events | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make the scheduler of a crawler; the settings of Scrapy's queues give the order."""
        settings = crawler.settings
        filter_class = load_object(settings["DUPEFILTER_CLASS"])
        if filter_class is RFPDupeFilter:  # the default, whose fingerprints are in no state
            filter_class = DupeFilter
        elif issubclass(filter_class, RFPDupeFilter) and not issubclass(filter_class, DupeFilter):
            logger.warning(
                "the project sets DUPEFILTER_CLASS = %r, whose fingerprints are not saved: after a "
                "kill pages are visited again. Let it inherit from autostate.scrapy.DupeFilter",
                settings["DUPEFILTER_CLASS"],
            )
        made = cls(
            dupefilter=build_from_crawler(filter_class, crawler),
            dqclass=_queue_class(load_object(settings["SCHEDULER_DISK_QUEUE"])),
            mqclass=load_object(settings["SCHEDULER_MEMORY_QUEUE"]),
            logunser=True,
            stats=crawler.stats,
            pqclass=load_object(settings["SCHEDULER_PRIORITY_QUEUE"]),
            crawler=crawler,
        )
        start_queue = settings["SCHEDULER_START_DISK_QUEUE"]
        made._sdqclass = _queue_class(load_object(start_queue)) if start_queue else None
        return made

    def open(self, spider: Spider) -> Deferred[None] | None:
        """Queue the requests that a former process has left."""
        assert self.crawler is not None
        self.spider = spider
        self.crawl = crawl_of(self.crawler, spider)
        self.crawl.is_scheduled = True
        if not hasattr(spider, "state"):
            vars(spider)["state"] = self.crawl.state
        self._unsaved = 0
        self._comes_back = False
        opened = self.df.open()
        self.mqs = self._mq()
        self.dqs = self._dq()
        fingerprinter = self.crawler.request_fingerprinter
        assert fingerprinter is not None
        self._start = Start(self.crawl, fingerprinter.fingerprint)
        self._events = Events(self.crawler, self.crawl)
        if self.crawler.engine is not None:
            units.install(self.crawler.engine, self.crawl, self._start, self._queue)
        return opened

    def _dq(self) -> ScrapyPriorityQueue:
        """Make the queue of the requests in the state, with those of a former process."""
        assert self.crawler is not None
        queues: Any = self.pqclass
        made: ScrapyPriorityQueue = build_from_crawler(
            queues,
            self.crawler,
            downstream_queue_cls=self.dqclass,
            key="",
            start_queue_cls=self._sdqclass,
        )
        twice: set[str] = set()
        for request in self.crawl.resumed():
            if isinstance(self.df, DupeFilter) and self.df.is_double(request, twice):
                self.crawl.drop(request)
            else:
                made.push(request)
        if len(made):
            logger.info("resuming the crawl %r with %d requests", self.crawl.name, len(made))
        return made

    def close(self, reason: str) -> Deferred[None] | None:
        """Save, and note whether anything is left to do."""
        if self._events is None:  # it could not be opened
            assert self.crawler is not None
            end(self.crawler)
            return None
        self._events.close()
        if lost := len(self.mqs):
            logger.error(
                "%d requests that could not be stored are lost with the end of the process", lost
            )
        if reason == "finished" and not len(self):
            self.crawl.finish()
        return deferred_from_coro(self._close(reason))

    async def _close(self, reason: str) -> None:
        manager = self.crawl.manager
        closed = self.df.close(reason)
        if closed is not None:
            await maybe_deferred_to_future(closed)
        try:
            if is_asyncio_available():
                await manager.durable()
            else:
                manager.flush()
        except Exception as error:  # the end of the process tries again
            logger.warning("the state was not saved at the end of the crawl: %s", error)
        assert self.crawler is not None
        end(self.crawler)

    def has_pending_requests(self) -> bool:
        """Tell whether requests wait; also if none is handed out, so that the process stays."""
        return self.crawl.is_held or len(self) > 0

    def enqueue_request(self, request: Request) -> bool:
        """Store a request, unless the duplicate filter knows it.

        Returns:
            Whether it is scheduled.
        """
        assert self.stats is not None
        with self.crawl.lock:  # fingerprint, request, and progress of start() are in one cut
            if not request.dont_filter and self.df.request_seen(request):
                self._start.scheduled(request)
                self._store_double(request)
                self.df.log(request, self.spider)
                return False
            is_stored = self._store(request)
            if is_stored:
                self._start.scheduled(request)
            elif not request.dont_filter and isinstance(self.df, DupeFilter):
                self.df.remember_here(request)
        unit = units.current.get()
        if unit is None:
            self._queue(request, is_stored)
        else:
            unit.add(request, is_stored=is_stored)
        self.stats.inc_value(f"scheduler/enqueued/{'disk' if is_stored else 'memory'}")
        self.stats.inc_value("scheduler/enqueued")
        return True

    def _store_double(self, request: Request) -> None:
        """Store a request that was seen, if another open unit has it, which a kill may lose."""
        unit = units.current.get()
        if unit is None or not unit.is_open or not isinstance(self.df, DupeFilter):
            return
        first = self.df.first_of(request)
        if first is not None and first is not unit:
            with contextlib.suppress(ValueError):  # the other one is not stored either
                self.crawl.store(request)
                unit.add_double(request, first)

    def _queue(self, request: Request, is_stored: bool) -> None:
        if is_stored:
            assert self.dqs is not None
            self.dqs.push(request)
        else:
            self._mqpush(request)

    def _store(self, request: Request) -> bool:
        """Store a request; tell whether it can be stored."""
        assert self.stats is not None
        try:
            self.crawl.store(request)  # before the queues, which make an empty one for it first
        except ValueError as error:
            self._unsaved += 1
            logger.log(
                logging.WARNING if self._unsaved == 1 else logging.DEBUG,
                "%s cannot be stored, and is lost if the process ends before it is done: %s; "
                "scheduler/unserializable in the statistics counts such requests",
                *(request, error),
            )
            self.stats.inc_value("scheduler/unserializable")
            return False
        return True

    def next_request(self) -> Request | None:
        """Return the next request; None while the crawl is held, or items wait for delivery."""
        if self.crawl.is_held:
            return None
        if self.crawl.is_full():
            if self.crawl.is_refused():  # there will be no room in this process
                logger.error("the crawl %r stops: its items are refused", self.crawl.name)
                assert self._events is not None
                self._events.stop()
            else:
                self._come_back()
            return None
        return super().next_request()

    def _come_back(self) -> None:
        """Let the engine ask again soon; its own heartbeat comes every five seconds."""
        if not self._comes_back:
            self._comes_back = True
            call_later(AGAIN, self._ask_again)

    def _ask_again(self) -> None:
        self._comes_back = False
        engine: Any = None if self.crawler is None else self.crawler.engine
        with contextlib.suppress(AttributeError):  # the slot is gone, or has another name
            engine._slot.nextcall.schedule()


def _queue_class(scrapys: type[Any]) -> type[Any]:
    """Return the queue of this package in the order of one of Scrapy's."""
    if issubclass(scrapys, LifoQueue):
        return scrapys
    return FifoQueue if issubclass(scrapys, _FIFO) else LifoQueue

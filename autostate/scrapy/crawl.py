"""What one crawl keeps: the state objects of a spider, and which requests are in work."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from autostate import announced
from autostate.containers import PersistedDict, PersistedSet
from autostate.errors import CorruptStateError, DeliveryRefusedError
from autostate.ownership.owner import this_run
from autostate.runtime.api import configure, current_manager
from autostate.scrapy import serialization

if TYPE_CHECKING:
    from scrapy import Request, Spider
    from scrapy.crawler import Crawler

    from autostate.delivery.outbox import Outbox
    from autostate.runtime.manager import StateManager

logger: logging.Logger = logging.getLogger("autostate")

MOST_PENDING: Final = 10_000
MOST_BYTES: Final = 64_000_000
"""No new request is handed out while so many items, or bytes, wait for their delivery."""


class Crawl:
    """The state of one crawl.

    All methods belong to the thread of the reactor. The requests that are not done are kept in one
    dict, those that are queued and those in work alike: one leaves it when its response has been
    scraped. So a process that is killed leaves all of them, and the next one queues them again.

    Args:
        spider: The spider.
        name: The beginning of the names of the state objects.

    Attributes:
        state: What `spider.state` is.
        requests: The texts of the requests that are not done, by their numbers.
        seen: The fingerprints of the duplicate filter, as hexadecimal texts.
        progress: How far `Spider.start()` has come, and whether the crawl has finished.
        outboxes: Where the items are put.
        is_scheduled: Whether the scheduler keeps the requests in this state.
        is_lost: Whether another process has taken over the state.
    """

    def __init__(self, spider: Spider, name: str) -> None:
        self.spider = spider
        self.name = name
        self.manager: StateManager = current_manager()
        self.state: PersistedDict[str, Any] = PersistedDict(f"{name}.state")
        self.requests: PersistedDict[int, str] = PersistedDict(f"{name}.requests")
        self.seen: PersistedSet[str] = PersistedSet(f"{name}.seen")
        self.progress: PersistedDict[str, Any] = PersistedDict(f"{name}.progress")
        self.lock = self.manager._tracker().lock
        self.outboxes: list[Outbox[Any]] = []
        self.is_scheduled = False
        self.is_lost = False
        self._working: dict[Request, int] = {}
        self._stored: dict[Request, int] = {}
        self._begin_again()
        self._numbers = itertools.count(max(self.requests, default=-1) + 1)

    def _begin_again(self) -> None:
        """Forget what a crawl that has finished leaves, unless this process continues its run.

        A run of an Actor may go on in another container after the crawl has finished. Elsewhere a
        program that starts again after that means another crawl.
        """
        if self.progress.get("finished") is None or self.is_finished:
            return
        with self.lock:
            self.progress.clear()
            self.seen.clear()

    @property
    def is_finished(self) -> bool:
        """Whether the crawl has finished, in a former process of this run."""
        run = self.progress.get("finished")  # "" off the platform
        return bool(run) and run == this_run() and self.name not in _finished_here

    def finish(self) -> None:
        """Note that the crawl has finished: nothing is left to do."""
        if not self.requests and not self._working:
            self.progress["finished"] = this_run()
            _finished_here.add(self.name)

    # -- requests -----------------------------------------------------------------------------

    def store(self, request: Request) -> None:
        """Store a request; `number_of` gives its number once.

        Raises:
            ValueError: It cannot be stored.
        """
        text = serialization.dump(request, self.spider)
        self._stored[request] = number = next(self._numbers)
        self.requests[number] = text

    def number_of(self, request: Request) -> int:
        """Return the number of a request that was just stored; store it if it was not.

        Raises:
            ValueError: It cannot be stored.
        """
        if request not in self._stored:
            self.store(request)
        return self._stored.pop(request)

    def drop(self, request: Request) -> None:
        """Delete a request that was stored, and is not queued."""
        number = self._stored.pop(request, None)
        if number is not None:
            self.requests.pop(number, None)

    def resumed(self) -> Iterator[Request]:
        """Yield the requests that a former process has left, one by one, in their order.

        One that cannot be made, because its callback was renamed for example, is reported, and
        stays in the state.
        """
        for number in sorted(self.requests):
            try:
                request = self.peek(number)
            except (ValueError, CorruptStateError) as error:
                logger.error(  # noqa: TRY400 - the message says it all
                    "a request that was left cannot be made again, and stays in the state %r: %s",
                    *(f"{self.name}.requests", error),
                )
                continue
            self._stored[request] = number
            yield request

    def peek(self, number: int) -> Request:
        """Return a stored request."""
        return serialization.load(self.requests[number], self.spider)

    def take(self, number: int) -> Request:
        """Return a stored request, which is in work from now on."""
        request = self.peek(number)
        self._working[request] = number
        return request

    def done(self, request: Request) -> None:
        """Forget a request that was in work; one that was never stored is no error."""
        number = self._working.pop(request, None)
        if number is not None:
            self.requests.pop(number, None)

    # -- when to work -------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Whether no more requests are handed out, although the crawl is not over.

        Before a migration the process waits for the kill, and goes on elsewhere. It must not end:
        the run would have succeeded, and nothing would be started again.
        """
        return self.is_lost or announced.seconds_to_kill() is not None

    def is_full(self) -> bool:
        """Tell whether too many items wait for their delivery."""
        return any(
            len(each) >= MOST_PENDING or each.pending_bytes >= MOST_BYTES for each in self.outboxes
        )

    def is_refused(self) -> bool:
        """Tell whether a destination will not take the items any more."""
        return any(isinstance(outbox.error, DeliveryRefusedError) for outbox in self.outboxes)


def crawl_of(crawler: Crawler, spider: Spider | None = None) -> Crawl:
    """Return the state of a crawl, made when it is first asked for.

    Args:
        crawler: The crawler. Its setting AUTOSTATE_NAME is the beginning of the names of the state
            objects, "scrapy.NAME" with the name of the spider by default; AUTOSTATE_URL is the
            store of the process, in which {spider} stands for that name.
        spider: The spider, if the crawler does not know it yet.

    Raises:
        RuntimeError: Another crawl of this process that has not ended has the same name, or state
            is kept in another store already.
    """
    crawl = _crawls.get(crawler)
    if crawl is None:
        spider = spider or crawler.spider
        if spider is None:
            raise RuntimeError("the crawler has no spider yet")
        url = crawler.settings.get("AUTOSTATE_URL")
        if url is not None:
            _choose_store(str(url), spider.name)
        name = crawler.settings.get("AUTOSTATE_NAME") or f"scrapy.{spider.name}"
        if name in _running:
            raise RuntimeError(
                f"two crawls of this process would keep their requests in {name!r}: give each a "
                "setting AUTOSTATE_NAME of its own"
            )
        crawl = _crawls[crawler] = _running[name] = Crawl(spider, name)
    return crawl


def _choose_store(url: str, name: str) -> None:
    """Let the process keep its state where the setting says."""
    try:
        configure(url.replace("{spider}", name))
    except RuntimeError as error:
        raise RuntimeError(
            f"AUTOSTATE_URL = {url!r} means another store for the spider {name!r} than the one in "
            "which this process keeps state already: all spiders of one process share a store"
        ) from error


def end(crawler: Crawler) -> None:
    """Note that a crawl has ended, so that another one may have its name."""
    crawl = _crawls.pop(crawler, None)
    if crawl is not None:
        _running.pop(crawl.name, None)


_crawls: MutableMapping[Crawler, Crawl] = WeakKeyDictionary()
_running: MutableMapping[str, Crawl] = WeakValueDictionary()
_finished_here: set[str] = set()
"""Names of crawls that this process has finished: the next one of that name is a new crawl."""

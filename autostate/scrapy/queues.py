"""Queues of requests that the state keeps, one for each priority, as Scrapy's disk queues are.

A queue holds numbers only: the requests are texts in the state, and become objects when they are
handed out. Which queues there are, and the order in which they are asked, is up to Scrapy's own
priority queues (the setting SCHEDULER_PRIORITY_QUEUE).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

from autostate.scrapy.crawl import Crawl, crawl_of

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler


class LifoQueue:
    """A queue that gives the last request first. A value of SCHEDULER_DISK_QUEUE.

    Args:
        crawl: What keeps the requests.
    """

    def __init__(self, crawl: Crawl) -> None:
        self._crawl = crawl
        self._numbers: deque[int] = deque()

    @classmethod
    def from_crawler(cls, crawler: Crawler, key: str) -> Self:  # noqa: ARG003 - as Scrapy calls it
        """Make a queue for a crawler; the key is that of a disk queue, and means nothing here."""
        return cls(crawl_of(crawler))

    def __len__(self) -> int:
        """Return the number of requests in the queue."""
        return len(self._numbers)

    def push(self, request: Request) -> None:
        """Add a request.

        Raises:
            ValueError: It cannot be stored: see `serialization.dump`.
        """
        self._numbers.append(self._crawl.number_of(request))

    def pop(self) -> Request | None:
        """Take the next request out of the queue; it stays in the state until it is done."""
        number = self._next()
        if number is None:
            return None
        self._drop()
        return self._crawl.take(number)

    def peek(self) -> Request | None:
        """Return the next request, and leave it in the queue."""
        number = self._next()
        return None if number is None else self._crawl.peek(number)

    def close(self) -> None:
        """Do nothing: what is in the queue is in the state."""

    def _next(self) -> int | None:
        """Return the number of the next request, passing over those deleted from the state."""
        while self._numbers:
            number = self._first()
            if number in self._crawl.requests:
                return number
            self._drop()
        return None

    def _first(self) -> int:
        return self._numbers[-1]

    def _drop(self) -> None:
        self._numbers.pop()


class FifoQueue(LifoQueue):
    """A queue that gives the first request first. A value of SCHEDULER_DISK_QUEUE."""

    def _first(self) -> int:
        return self._numbers[0]

    def _drop(self) -> None:
        self._numbers.popleft()

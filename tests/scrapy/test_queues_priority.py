"""Scrapy's priority queues over the queues of the state, by Scrapy's own test_pqueues.py.

Left out: what is about `peek` of an old queuelib, and the folders of disk queues.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from scrapy import Request
from scrapy.pqueues import DownloaderAwarePriorityQueue, ScrapyPriorityQueue
from scrapy.utils.misc import build_from_crawler

import autostate
from autostate.scrapy import FifoQueue, LifoQueue
from autostate.scrapy.crawl import end
from tests.scrapy.crawls import crawler_of


@pytest.fixture
def crawler() -> Iterator[Any]:
    """A crawler whose state is in memory."""
    autostate.configure("memory:")
    made = crawler_of()
    yield made
    end(made)


def queue_of(crawler: Any, cls: Any = ScrapyPriorityQueue, *args: Any, **options: Any) -> Any:
    """Make a priority queue."""
    options.setdefault("downstream_queue_cls", FifoQueue)
    return build_from_crawler(cls, crawler, *args, key="", **options)


def urls(found: Iterable[Request]) -> list[str]:
    """Return the last parts of the URLs of requests."""
    return [each.url.rpartition("/")[2] for each in found]


def requests(*names: str, **options: Any) -> list[Request]:
    """Make requests."""
    return [Request(f"https://example.org/{name}", **options) for name in names]


@pytest.mark.parametrize("cls", [ScrapyPriorityQueue, DownloaderAwarePriorityQueue])
def test_push_peek_pop(crawler: Any, cls: type) -> None:
    """Scrapy's test_queue_push_pop_one, test_push_pop, and test_peek of both queues."""
    queue = queue_of(crawler, cls)
    assert len(queue) == 0
    assert queue.peek() is None
    assert queue.pop() is None
    for request in requests("1", "2", "3", priority=1):
        queue.push(request)
    for left, name in zip((3, 2, 1), "123", strict=True):
        assert len(queue) == left
        assert urls([queue.peek()]) == [name]
        popped = queue.pop()
        assert urls([popped]) == [name]
        assert popped.priority == 1
    assert len(queue) == 0
    assert queue.peek() is None
    assert queue.pop() is None
    assert not queue.close()


def test_priorities(crawler: Any) -> None:
    """Scrapy's test_queue_push_pop_priorities."""
    queue = queue_of(crawler)
    for number in (1, 2, 3):
        queue.push(*requests(str(number), priority=number))
    assert urls([queue.pop()]) == ["3"]
    assert len(queue) == 2
    assert set(queue.close()) == {-1, -2}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([{}, {}], "21"),
        ([{"start": True}, {"start": True}], "12"),
        ([{"priority": 1}, {"start": True}], "12"),
        ([{}, {"start": True, "priority": 1}], "21"),
        ([{}, {"start": True}], "12"),
        ([{"start": True}, {}], "21"),
    ],
)
def test_pop_order(crawler: Any, given: list[dict[str, Any]], expected: str) -> None:
    """Start requests come first in, first out, and behind others of the same priority."""
    queue = queue_of(crawler, downstream_queue_cls=LifoQueue, start_queue_cls=FifoQueue)
    for number, options in enumerate(given, start=1):
        meta = {"is_start_request": True} if options.get("start") else {}
        queue.push(*requests(str(number), priority=options.get("priority", 0), meta=meta))
    assert urls(iter(queue.pop, None)) == [*expected]


@pytest.mark.parametrize(
    ("pushed", "busy", "expected"),
    [
        ("a1 b1 a2 b2", "", "a1 b1 a2 b2"),
        ("a1 a2 b1 c1", "", "a1 b1 c1 a2"),
        ("a b c", "ac", "b"),
    ],
)
def test_slots(crawler: Any, pushed: str, busy: str, expected: str) -> None:
    """Scrapy's tests of tie-breaking, and test_pop_prefers_slot_with_fewer_active_downloads."""
    queue = queue_of(crawler, DownloaderAwarePriorityQueue)
    for name in pushed.split():
        queue.push(*requests(name, meta={"download_slot": name[0]}))
    for slot in busy:
        crawler.engine.downloader.increment(slot)
    assert urls(queue.pop() for _ in expected.split()) == expected.split()


def test_contains(crawler: Any) -> None:
    """A queue knows its slots."""
    queue = queue_of(crawler, DownloaderAwarePriorityQueue)
    assert "a" not in queue
    queue.push(*requests("1", meta={"download_slot": "a"}))
    assert "a" in queue
    assert "b" not in queue

"""The queues, by Scrapy's own test_squeues_request.py and test_squeues.py.

Items and requests inside of requests are in `test_serialization.py`. Left out: values that are no
requests, item loaders, which only pickles hold, chunk sizes, and the files of queuelib.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scrapy import Request
from scrapy.utils.misc import build_from_crawler

import autostate
from autostate.scrapy import FifoQueue, LifoQueue
from autostate.scrapy.crawl import end
from tests.scrapy.crawls import crawler_of, no_method


@pytest.fixture(params=[FifoQueue, LifoQueue])
def queue(request: pytest.FixtureRequest) -> Iterator[LifoQueue]:
    """Both, as a priority queue makes them."""
    autostate.configure("memory:")
    crawler = crawler_of()
    made: LifoQueue = build_from_crawler(request.param, crawler, key="slot/-1")
    yield made
    made.close()
    end(crawler)


def test_one_element(queue: LifoQueue) -> None:
    """A queue of one gives that, and then nothing."""
    assert len(queue) == 0
    assert queue.peek() is None
    assert queue.pop() is None
    queue.push(Request("http://www.example.com"))
    assert len(queue) == 1
    for result in (queue.peek(), queue.pop()):
        assert result is not None
        assert result.url == "http://www.example.com"
    assert len(queue) == 0
    assert queue.peek() is None
    assert queue.pop() is None


def test_order(queue: LifoQueue) -> None:
    """The first or the last comes first."""
    urls = [f"http://www.example.com/{n}" for n in range(3)]
    for url in urls:
        queue.push(Request(url))
    for n, url in enumerate(urls if isinstance(queue, FifoQueue) else urls[::-1]):
        assert len(queue) == 3 - n
        for result in (queue.peek(), queue.pop()):
            assert result is not None
            assert result.url == url
    assert queue.pop() is None


def test_what_cannot_be_stored(queue: LifoQueue) -> None:
    """It is refused, and nothing is added; Scrapy's test_nonserializable_object."""
    selector: Any = Request("http://www.example.com", meta={"x": object()})
    for request in (Request("http://www.example.com", callback=no_method), selector):
        with pytest.raises(ValueError, match=r"not an instance method|cannot be saved|object"):
            queue.push(request)
    assert len(queue) == 0


def test_what_was_deleted_from_the_state_is_passed_over(queue: LifoQueue) -> None:
    """The program may delete requests by hand."""
    queue.push(Request("http://www.example.com/1"))
    queue.push(Request("http://www.example.com/2"))
    taken = next(iter(queue._crawl.requests))
    del queue._crawl.requests[taken]
    found = [each.url for each in iter(queue.pop, None)]
    assert found == ["http://www.example.com/2"]

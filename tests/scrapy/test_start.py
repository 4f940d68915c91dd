"""`Spider.start()` after a restart: what it has given before is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from scrapy import Request

from autostate.scrapy.scheduler import Scheduler
from tests.scrapy.crawls import no_method, scheduler

A, B, C = (f"http://foo.com/{name}" for name in "abc")


async def starting(*outputs: Any) -> AsyncIterator[Any]:
    """What a spider's `start()` gives; no duplicate filter applies to `start_urls`."""
    for output in outputs:
        yield Request(output, dont_filter=True) if isinstance(output, str) else output


async def taken_over(made: Scheduler, *outputs: Any, most: int = 100) -> list[Any]:
    """Let the scheduler take over what is given, as the engine does."""
    found: list[Any] = []
    given = made._start.resumed(starting(*outputs))
    async for output in given:
        if isinstance(output, Request):
            made.enqueue_request(output)
            found.append(output.url)
        else:
            assert made._start.is_start_item(output)
            made._start.processed(output)
            found.append(output)
        if len(found) == most:
            break
    return found


async def test_it_is_not_run_again_when_it_is_over() -> None:
    """And nothing of it is kept beyond that."""
    async with scheduler() as made:
        assert await taken_over(made, A, B) == [A, B]
        assert len(made.crawl.progress) == 1
    async with scheduler() as made:
        assert await taken_over(made, A, B, C) == []
        assert len(made) == 2


async def test_it_goes_on_where_it_was_in_any_order() -> None:
    """Requests are recognized, also if one comes twice."""
    async with scheduler() as made:
        assert await taken_over(made, A, B, A, C, most=2) == [A, B]
    async with scheduler() as made:
        assert await taken_over(made, C, B, A, A) == [C, A]
        assert len(made) == 4


async def test_one_that_was_given_and_not_scheduled_comes_again() -> None:
    """The count is in one cut with the request."""
    async with scheduler() as made:
        given = made._start.resumed(starting(A, B))
        assert isinstance(await anext(given), Request)
    async with scheduler() as made:
        assert await taken_over(made, A, B) == [A, B]


async def test_items_are_counted_when_they_are_processed() -> None:
    """In the order in which `start()` gives them."""
    one, two = {"item": 1}, {"item": 2}
    async with scheduler() as made:
        given = made._start.resumed(starting(one, two, A))
        assert await anext(given) is one
        assert await anext(given) is two
        made._start.processed(two)
    async with scheduler() as made:
        assert await taken_over(made, {"item": 1}, {"item": 2}, A) == [{"item": 1}, A]


async def test_it_is_not_over_while_items_are_processed() -> None:
    """A kill would lose them."""
    item = {"item": 1}
    async with scheduler() as made:
        given = made._start.resumed(starting(item))
        assert [each async for each in given] == [item]
    async with scheduler() as made:
        assert await taken_over(made, item) == [item]


async def test_what_cannot_be_stored_comes_again() -> None:
    """The next process does not have it."""
    outputs = Request(A, callback=no_method, dont_filter=True), Request(B, dont_filter=True)
    async with scheduler() as made:
        given = made._start.resumed(starting(*outputs))
        for output in outputs:
            assert await anext(given) is output
            made.enqueue_request(output)
    async with scheduler() as made:
        assert await taken_over(made, *outputs) == [A]

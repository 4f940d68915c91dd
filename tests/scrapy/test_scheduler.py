"""The scheduler: what is queued or in work is there in the next process.

The first half is Scrapy's own test_scheduler.py, run over the state in place of a JOBDIR. Left out:
files of older versions of Scrapy (TestMigration) and a setting that is gone (TestIncompatibility).
Crawls are in `test_scheduler_kills.py` and `test_units.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import pytest
from scrapy import Request
from scrapy.crawler import Crawler

from autostate import announced, hub
from autostate.errors import DeliveryRefusedError
from autostate.scrapy import Scheduler, crawl
from autostate.scrapy.units import Unit, current
from tests.scrapy.crawls import MockDownloader, crawler_of, no_method, scheduler

PRIORITIES = [
    ("http://foo.com/a", -2),
    ("http://foo.com/d", 1),
    ("http://foo.com/b", -1),
    ("http://foo.com/c", 0),
    ("http://foo.com/e", 2),
]
URLS = {"http://foo.com/a", "http://foo.com/b", "http://foo.com/c"}
SLOTS = [
    ("http://foo.com/a", "a"),
    ("http://foo.com/b", "a"),
    ("http://foo.com/c", "b"),
    ("http://foo.com/d", "b"),
    ("http://foo.com/e", "c"),
    ("http://foo.com/f", "c"),
]
QUEUES = ["ScrapyPriorityQueue", "DownloaderAwarePriorityQueue"]
reopened = pytest.mark.parametrize("reopen", [False, True], ids=["open", "reopened"])
with_queues = pytest.mark.parametrize("queue", QUEUES)


class Outbox(list[None]):
    """An outbox, as far as a scheduler looks at it."""

    error: Exception | None = None
    pending_bytes: int = 0


def settings_with(queue: str) -> dict[str, Any]:
    """Return the settings of a project that chooses a priority queue."""
    return {"SCHEDULER_PRIORITY_QUEUE": f"scrapy.pqueues.{queue}"}


def taken(made: Any) -> list[Request]:
    """Take all requests."""
    return list(iter(made.next_request, None))


async def requeued(settings: dict[str, Any], requests: list[Request], *, reopen: bool) -> list[Any]:
    """Queue requests, and take them, in the next process if that is asked for."""
    async with scheduler(settings) as made:
        assert not made.has_pending_requests()
        assert len(made) == 0
        for request in requests:
            assert made.enqueue_request(request)
        if not reopen:
            assert len(made) == len(requests)
            return taken(made)
    async with scheduler(settings) as made:
        assert made.has_pending_requests()
        assert len(made) == len(requests)
        return taken(made)


@reopened
@with_queues
async def test_all_requests_are_handed_out(queue: str, reopen: bool) -> None:
    """Each once; Scrapy's test_length and test_dequeue."""
    found = await requeued(settings_with(queue), [Request(u) for u in URLS], reopen=reopen)
    assert sorted(each.url for each in found) == sorted(URLS)


@reopened
@with_queues
async def test_priorities_give_the_order(queue: str, reopen: bool) -> None:
    """Higher ones first; Scrapy's test_dequeue_priorities."""
    requests = [Request(url, priority=priority) for url, priority in PRIORITIES]
    found = await requeued(settings_with(queue), requests, reopen=reopen)
    assert [each.priority for each in found] == [2, 1, 0, -1, -2]


@reopened
async def test_slots_take_turns(reopen: bool) -> None:
    """The slot with the fewest downloads comes first; by Scrapy's tests of this queue."""
    requests = [Request(url, meta={"download_slot": slot}) for url, slot in SLOTS]
    crawler = crawler_of()
    assert crawler.engine is not None
    downloader: Any = crawler.engine.downloader
    assert isinstance(downloader, MockDownloader)
    if reopen:
        async with scheduler() as made:
            for request in requests:
                made.enqueue_request(request)
    order = []
    async with scheduler(crawler=crawler) as made:
        if not reopen:
            for request in requests:
                made.enqueue_request(request)
        while request := made.next_request():  # type: ignore[assignment]
            order.append(request.meta["download_slot"])
            downloader.increment(order[-1])
    assert [sorted(order[at : at + 3]) for at in (0, 3)] == [["a", "b", "c"]] * 2


@pytest.mark.parametrize(
    ("disk_queue", "first"), [("PickleFifoDiskQueue", "a"), ("PickleLifoDiskQueue", "c")]
)
@reopened
async def test_the_settings_of_disk_queues_give_the_order(
    disk_queue: str, first: str, reopen: bool
) -> None:
    """Breadth first and depth first are chosen as with a JOBDIR."""
    settings = {"SCHEDULER_DISK_QUEUE": f"scrapy.squeues.{disk_queue}"}
    requests = [Request(f"http://foo.com/{name}") for name in "abc"]
    found = await requeued(settings, requests, reopen=reopen)
    assert found[0].url == f"http://foo.com/{first}"
    assert deque(found, 1)[0].url != found[0].url


async def test_a_request_in_work_is_there_in_the_next_process() -> None:
    """Until it is done; its number is not used again."""
    async with scheduler() as made:
        for url in sorted(URLS):
            made.enqueue_request(Request(url))
        done, in_work = made.next_request(), made.next_request()
        assert done is not None
        assert in_work is not None
        made.crawl.done(done)
        assert len(made) == 1
    async with scheduler() as made:
        assert {each.url for each in taken(made)} == URLS - {done.url}
        made.enqueue_request(Request("http://foo.com/new"))
        assert len(made.crawl.requests) == 3


async def test_what_was_seen_is_saved_with_its_request() -> None:
    """Neither is scheduled again in the next process."""
    async with scheduler() as made:
        assert made.enqueue_request(Request("http://foo.com/a"))
        assert not made.enqueue_request(Request("http://foo.com/a"))
    async with scheduler() as made:
        assert not made.enqueue_request(Request("http://foo.com/a"))
        assert made.enqueue_request(Request("http://foo.com/a", dont_filter=True))
        assert len(taken(made)) == 2


async def test_what_cannot_be_stored_is_kept_in_memory_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As Scrapy does; the next process may schedule it again, as its fingerprint is not saved."""
    async with scheduler() as made:
        with caplog.at_level(logging.WARNING, "autostate"):
            assert made.enqueue_request(Request("http://foo.com/a", callback=no_method))
            assert made.enqueue_request(Request("http://foo.com/b", meta={"x": object()}))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be stored" in caplog.text
        assert not made.enqueue_request(Request("http://foo.com/a"))
        assert made.stats is not None
        assert made.stats.get_value("scheduler/unserializable") == 2
        assert len(made) == 2
        assert not made.crawl.requests
        first = made.next_request()
        assert first is not None
        made.crawl.done(first)
    assert "1 requests that could not be stored are lost" in caplog.text
    async with scheduler() as made:
        assert len(made) == 0
        assert made.enqueue_request(Request("http://foo.com/a"))


async def test_a_request_that_cannot_be_made_again_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its callback may have been renamed: it is reported, and not lost."""
    async with scheduler() as made:
        made.enqueue_request(Request("http://foo.com/a"))
        made.enqueue_request(Request("http://foo.com/b"))
        (number,) = (at for at, text in made.crawl.requests.items() if text.find("foo.com/a") > 0)
        text = made.crawl.requests[number]
        made.crawl.requests[number] = text.replace('"callback":null', '"callback":"gone"')
    async with scheduler(reason="finished") as made:
        assert [each.url for each in taken(made)] == ["http://foo.com/b"]
        assert "'gone'" in caplog.text
        assert number in made.crawl.requests


async def test_a_crawl_that_has_finished_begins_again() -> None:
    """With an empty duplicate filter; the spider's state stays."""
    async with scheduler(reason="finished") as made:
        made.enqueue_request(Request("http://foo.com/a"))
        request = made.next_request()
        assert request is not None
        made.crawl.done(request)
        made.crawl.state["pages"] = 1
    async with scheduler() as made:
        assert made.crawl.state == {"pages": 1}
        assert made.enqueue_request(Request("http://foo.com/a"))


async def test_in_a_run_of_an_actor_a_crawl_that_has_finished_stays_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run may be moved after the end of its crawl; another run crawls again."""
    monkeypatch.setenv("APIFY_IS_AT_HOME", "1")
    for run, is_finished in [("one", False), ("one", True), ("two", False)]:
        monkeypatch.setenv("ACTOR_RUN_ID", run)
        monkeypatch.setattr(crawl, "_finished_here", set())  # another process
        async with scheduler(reason="finished") as made:
            assert made.crawl.is_finished == is_finished
            assert made.enqueue_request(Request("http://foo.com/a")) != is_finished
            for request in taken(made):
                made.crawl.done(request)


async def test_before_a_migration_nothing_is_handed_out_and_the_crawl_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process has to stay until the kill: a run that ends is not started elsewhere."""
    async with scheduler() as made:
        made.enqueue_request(Request("http://foo.com/a"))
        assert made.next_request() is not None
        assert not made.has_pending_requests()
        made.enqueue_request(Request("http://foo.com/b"))
        hub.migrating.send(None, time_remaining=5.0)
        try:
            assert made.next_request() is None
            assert made.has_pending_requests()
        finally:
            announced.forget()
        assert made.next_request() is not None


async def test_a_full_outbox_holds_requests_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the memory is bounded; the engine asks again."""
    async with scheduler() as made:
        made.enqueue_request(Request("http://foo.com/a"))
        outbox = Outbox([None] * crawl.MOST_PENDING)
        made.crawl.outboxes.append(outbox)  # type: ignore[arg-type]
        assert made.next_request() is None
        assert made.has_pending_requests()
        outbox.pop()
        outbox.pending_bytes = crawl.MOST_BYTES
        assert made.next_request() is None
        outbox.pending_bytes = 0
        assert made.next_request() is not None


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set when a crawler is stopped."""
    event = asyncio.Event()

    async def stop_async(_: Crawler) -> None:
        event.set()

    monkeypatch.setattr(Crawler, "stop_async", stop_async)
    return event


async def test_a_crawl_whose_items_are_refused_stops(stopped: asyncio.Event) -> None:
    """When no more of them have room: it would wait for ever."""
    async with scheduler() as made:
        made.enqueue_request(Request("http://foo.com/a"))
        outbox = Outbox([None] * crawl.MOST_PENDING)
        outbox.error = DeliveryRefusedError("no")
        made.crawl.outboxes.append(outbox)  # type: ignore[arg-type]
        assert made.next_request() is None
        await stopped.wait()
        made.crawl.outboxes.clear()


async def test_an_abort_and_a_takeover_stop_the_crawl(stopped: asyncio.Event) -> None:
    """From whatever thread they are heard; a takeover of another store does not."""
    async with scheduler() as made:
        made.enqueue_request(Request("http://foo.com/a"))
        await asyncio.to_thread(hub.aborting.send, None, time_remaining=None)
        announced.forget()
        await stopped.wait()
        stopped.clear()
        hub.fenced.send(object(), error=None)
        assert made.next_request() is not None
        await asyncio.to_thread(hub.fenced.send, made.crawl.manager, error=None)
        await stopped.wait()
        assert made.next_request() is None
        assert made.has_pending_requests()


async def test_a_task_that_outlives_its_response_may_still_yield_requests() -> None:
    """They are queued at once; what the response itself yields is queued at its end."""
    async with scheduler() as made:
        unit = Unit(made._queue, made.crawl.drop)
        current.set(unit)
        made.enqueue_request(Request("http://foo.com/a"))
        assert len(made) == 0
        assert len(made.crawl.requests) == 1
        unit.end()
        assert len(made) == 1
        made.enqueue_request(Request("http://foo.com/b"))
        assert len(made) == 2


async def test_two_crawls_of_one_name_are_refused() -> None:
    """They would work on each other's requests; with names of their own they do not."""
    async with scheduler() as made:
        with pytest.raises(RuntimeError, match="AUTOSTATE_NAME"):
            crawl.crawl_of(crawler_of())
        crawler = crawler_of({"AUTOSTATE_NAME": "other"})
        other = crawl.crawl_of(crawler)
        assert other.requests is not made.crawl.requests
        crawl.end(crawler)


async def test_one_that_could_not_be_opened_closes_quietly() -> None:
    """Scrapy closes it all the same: the reason would be hidden by what goes wrong there."""
    async with scheduler():
        crawler = crawler_of({"AUTOSTATE_URL": "sqlite:///{spider}.db"})
        assert crawler.spider is not None
        other = Scheduler.from_crawler(crawler)
        with pytest.raises(RuntimeError, match="all spiders of one process share a store"):
            other.open(crawler.spider)
        assert other.close("shutdown") is None

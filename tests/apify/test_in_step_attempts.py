"""Attempts of handlers: each counts once, or not at all, in whatever way it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.apify.crawling import QUICK, assert_ends, program

pytestmark = pytest.mark.usefixtures("forked_actors")

CRAWL = """
import threading
from datetime import timedelta

LATE, REFUSED = threading.Event(), threading.Event()

async def work(pages):
    crawler = BasicCrawler(
        max_request_retries=1,
        configure_logging=False,
        request_handler_timeout=timedelta(seconds=SECONDS),
        concurrency_settings=ConcurrencySettings(
            min_concurrency=1, max_concurrency=1, desired_concurrency=1
        ),
    )

    @crawler.router.default_handler
    async def handle(context):
        retry = context.request.retry_count
        pages["attempts"] += 1
HANDLER

    await crawler.run([URL])
AFTER
"""


def crawl(handler: str, *, seconds: float = 60, after: str = "") -> str:
    """The source of a crawl of one page with a handler."""
    source = CRAWL.replace("HANDLER", handler).replace("AFTER", after)
    return source.replace("SECONDS", str(seconds))


def test_a_thread_that_an_attempt_leaves_behind_writes_for_nobody(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Its handler has timed out, and the page is worked again."""
    body = crawl(
        """
        def late():
            LATE.wait()
            try:
                pages["late"] += 1
            except autostate.LateWriteError:
                REFUSED.set()

        if not retry:
            await asyncio.to_thread(late)
        """,
        seconds=0.3,
        after="    LATE.set()\n    pages['refused'] += await asyncio.to_thread(REFUSED.wait, 9)",
    )
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert_ends(run, {"attempts": 1, "refused": 1})


REFUSING = """
import types

async def work(pages):
    import crawlee.storages._request_queue as module
    from crawlee.storages import RequestQueue
    from crawlee.storage_clients.models import AddRequestsResponse, UnprocessedRequest

    without_pauses = {**vars(asyncio), "sleep": lambda _: asyncio.sleep(0)}
    module.asyncio = types.SimpleNamespace(**without_pauses)
    client = (await RequestQueue.open())._client._inner
    add, refused = client.add_batch_of_requests, []

    async def refusing(requests, **options):
        if len(requests) not in LINKS or len(refused) >= TIMES:
            return await add(requests, **options)
        refused.append(requests)
        if RAISES:
            raise OSError("refused")
        return AddRequestsResponse(processed_requests=[], unprocessed_requests=[
            UnprocessedRequest(unique_key=each.unique_key, url=each.url) for each in requests
        ])

    client.add_batch_of_requests = refusing
"""


def refusing_queue(links: int, times: int, *, raises: bool = False) -> str:
    """The beginning of a crawl whose queue refuses batches of so many links, so many times."""
    source = REFUSING.replace("LINKS", str((links,))).replace("TIMES", str(times))
    return source.replace("RAISES", str(raises))


@pytest.mark.parametrize(
    ("links", "times", "raises"),
    [(3, 7, False), (1_002, 6, False), (1_002, 1, True)],
    ids=["few", "the last of many", "an error in the background"],
)
def test_requests_that_are_not_taken_fail_the_attempt(
    links: int, times: int, raises: bool, platform: LocalPlatform, tmp_path: Path
) -> None:
    """Crawlee logs a warning, and the page would be marked without its links."""
    refusing = refusing_queue(links % 1_000, times, raises=raises)
    body = crawl(
        f"""
        await context.add_requests([f"{{URL}}{{n}}" for n in range({links})])
        """
    )
    body = body.replace("async def work(pages):", refusing)
    body = body.replace("max_request_retries=1", "max_request_retries=1, max_requests_per_crawl=1")
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert_ends(run, {"attempts": 1}, left=links)


def test_a_single_request_that_is_not_taken_is_an_error(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Crawlee returns None, and the page would be marked without its link."""
    work = """
    queue = await RequestQueue.open()
    await queue.add_requests([URL, f"{URL}1"])
    request = await queue.fetch_next_request()
    try:
        await queue.add_request(f"{URL}2")
    except RuntimeError:
        pages["refused"] += 1
    await queue.add_request(f"{URL}2")
    await queue.mark_request_as_handled(request)
    """
    body = refusing_queue(1, 6) + work
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert_ends(run, {"refused": 1}, left=2)


def test_a_page_that_is_worked_again_adds_its_links_once(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Requests with `always_enqueue` would have another key each time."""
    may_go_on = tmp_path / "second life"
    body = crawl(
        f"""
        if context.request.url == URL:
            await context.add_requests(
                [Request.from_url(URL + "link", always_enqueue=True) for _ in range(2)]
            )
        else:
            print("LINK", flush=True)
            while not os.path.exists({str(may_go_on)!r}):
                await asyncio.sleep(0.01)
        """
    )
    unsaved = {"AUTOSTATE_MAX_DELAY": "60", "AUTOSTATE_DEBOUNCE": "60"}
    run = platform.start_run(program(tmp_path, f"import os\n{body}"), env=unsaved)
    run.container.wait_for_output("LINK")
    run.kill()
    may_go_on.touch()
    run.start_next_container()
    assert_ends(run, {"attempts": 3})
    assert len(run.queue.requests) == 3

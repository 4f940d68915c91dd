"""What the tests of crawls share: programs that crawl, and what they have counted."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

from autostate.testing import Run

_PRELUDE = """
import asyncio
import json
from collections import Counter

import autostate
from apify import Actor, Request
from crawlee import ConcurrencySettings
from crawlee.crawlers import BasicCrawler
from autostate import PersistedCounter, PersistedDict

autostate.configure(in_step=True)
URL = "https://example.com/"


async def main():
    async with Actor:
        pages = PersistedCounter("pages")
        await work(pages)
        print("RESULT", json.dumps(pages), flush=True)
"""

CRAWLER = """
async def work(pages):
    # Each of the first pages links to three others; one page in ten fails at first, and the two
    # last ones for good.
    crawler = BasicCrawler(
        concurrency_settings=ConcurrencySettings(
            min_concurrency=AT_ONCE, max_concurrency=AT_ONCE, desired_concurrency=AT_ONCE
        ),
        max_request_retries=2,
        configure_logging=False,
    )

    @crawler.router.default_handler
    async def handle(context):
        n = int(context.request.url.removeprefix(URL))
        pages[str(n)] += 1
        await asyncio.sleep(0.002)
        pages["sum"] += 1
        if n >= PAGES - 2 or (n % 10 == 0 and not context.request.retry_count):
            raise ValueError("this attempt fails")
        if n < PAGES // 4:
            await context.add_requests([f"{URL}{n + k * (PAGES // 4)}" for k in (1, 2, 3)])
        print("PAGE", n, flush=True)

    @crawler.failed_request_handler
    async def failed(context, error):
        pages["failed"] += 1

    await crawler.run([f"{URL}{n}" for n in range(PAGES // 4)])
"""

LOOP = """
async def work(pages):
    queue = await Actor.open_request_queue()
    await queue.add_requests([f"{URL}{n}" for n in range(PAGES)])

    async def loop():
        while not await queue.is_finished():
            request = await queue.fetch_next_request()
            if request is None:
                await asyncio.sleep(0.02)
                continue
            n = request.url.removeprefix(URL)
            pages[n] += 1
            await asyncio.sleep(0.002)
            pages["sum"] += 1
            if int(n) % 10 == 0 and not request.retry_count:
                request.retry_count += 1
                await queue.reclaim_request(request)
                continue
            await queue.mark_request_as_handled(request)
            print("PAGE", n, flush=True)

    await asyncio.gather(*(loop() for _ in range(AT_ONCE)))
"""

QUICK = {
    "AUTOSTATE_MAX_DELAY": "0.2",
    "AUTOSTATE_DEBOUNCE": "0.1",
    "CRAWLEE_MAX_USED_CPU_RATIO": "1",  # Crawlee 1.8 begins no page on a busy machine
}


def program(folder: Path, body: str, *, pages: int = 60, at_once: int = 1) -> list[str]:
    """Write a program that crawls, and give the command that runs it."""
    sizes = f"PAGES, AT_ONCE = {pages}, {at_once}\n"
    path = folder / "crawl.py"
    path.write_text(f"{_PRELUDE}\n{sizes}\n{textwrap.dedent(body)}\nasyncio.run(main())\n")
    return [sys.executable, str(path)]


def result(output: str) -> dict[str, int]:
    """The counts of the last life, without those of pages that were counted once."""
    [*_, line] = [line for line in output.splitlines() if line.startswith("RESULT ")]
    counts: dict[str, int] = json.loads(line.removeprefix("RESULT "))
    return {key: count for key, count in counts.items() if count != 1 or not key.isdigit()}


def unhandled(run: Run) -> list[str]:
    """The requests in the queue that are not handled."""
    return run.queue.unhandled


def assert_ends(run: Run, counts: dict[str, int], *, left: int = 0) -> None:
    """Let a run end: by itself, with these counts, and with so many requests left in its queue."""
    assert run.wait() == 0, run.output
    assert result(run.output) == counts, run.output
    assert len(unhandled(run)) == left

"""The same job as in main.py, kept with `Actor.use_state` instead, for comparison.

What differs: everything is in one dict of what JSON can hold, so sets are lists, a counter is a
dict, and moments and durations are text and numbers.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from apify import Actor
from crawlee import ConcurrencySettings
from crawlee.crawlers import BasicCrawlingContext, ParselCrawler, ParselCrawlingContext
from crawlee.sessions import SessionPool
from crawlee.storage_clients import MemoryStorageClient

from examples.crawl.page import read, request


def fresh(start: str) -> dict[str, Any]:
    """The state of a crawl that has not begun."""
    return {
        "pages": {},
        "links": {},
        "words": {},
        "errors": {},
        "timings": [],
        "cookies": {},
        "settings": {"concurrency": 4, "started": datetime.now(UTC).isoformat()},
        "queue": [start],
    }


async def main() -> None:
    """Crawl every page below the start, or go on where the state was last saved."""
    async with Actor:
        start = (await Actor.get_input())["start"]
        state: Any = await Actor.use_state(fresh(start))
        settings = state["settings"]

        crawler = ParselCrawler(
            max_request_retries=1,
            concurrency_settings=ConcurrencySettings(
                desired_concurrency=settings["concurrency"], max_concurrency=settings["concurrency"]
            ),
            session_pool=SessionPool(create_session_settings={"cookies": state["cookies"]}),
            storage_client=MemoryStorageClient(),
        )

        @crawler.router.default_handler
        async def visit(context: ParselCrawlingContext) -> None:
            url, page = context.request.url, read(context)
            done = state["pages"].keys() | state["errors"].keys()
            new = page.links - done - set(state["queue"])
            await context.add_requests([request(link) for link in sorted(new)])
            state["queue"] += sorted(new.difference(state["queue"]))
            state["queue"].remove(url)
            state["pages"][url] = {
                "title": page.title,
                "words": page.words.total(),
                "links": len(page.links),
            }
            for word, count in page.words.items():
                state["words"][word] = state["words"].get(word, 0) + count
            for link in page.links:
                if url not in (sources := state["links"].setdefault(link, [])):
                    sources.append(url)
            passed = datetime.now(UTC) - datetime.fromisoformat(settings["started"])
            state["timings"].append(passed.total_seconds())
            state["cookies"].update(page.cookies)
            Actor.log.info("crawled %s", url)

        @crawler.failed_request_handler
        async def give_up(context: BasicCrawlingContext, error: Exception) -> None:
            state["errors"][context.request.url] = str(error)
            state["queue"].remove(context.request.url)

        await crawler.run([request(url) for url in state["queue"]])


if __name__ == "__main__":
    asyncio.run(main())

"""The Actor: crawls a site, counts its words, and can be killed at any moment.

Everything that is worth keeping lives in state objects, the queue included. There are no handlers
for migrations, no keys to save under, nothing to load at the start.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from apify import Actor
from crawlee import ConcurrencySettings
from crawlee.crawlers import BasicCrawlingContext, ParselCrawler, ParselCrawlingContext
from crawlee.sessions import SessionPool
from crawlee.storage_clients import MemoryStorageClient

from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet
from examples.crawl.page import read, request


async def main() -> None:
    """Crawl every page below the start, or go on where the last container was killed."""
    async with Actor:
        start = (await Actor.get_input())["start"]

        pages = PersistedDict[str, dict[str, Any]]("pages")  # what was found on each page
        links = PersistedDict[str, set[str]]("links")  # which pages link to a page
        words = PersistedCounter[str]("words")
        errors = PersistedDict[str, str]("errors")
        timings = PersistedList[timedelta]("timings")  # after the start, page by page
        cookies = PersistedDict[str, str]("cookies")
        settings = PersistedDict[str, Any]("settings", concurrency=4, started=datetime.now(UTC))
        queue = PersistedSet[str]("queue", [start])

        crawler = ParselCrawler(
            max_request_retries=1,
            concurrency_settings=ConcurrencySettings(
                desired_concurrency=settings["concurrency"], max_concurrency=settings["concurrency"]
            ),
            session_pool=SessionPool(create_session_settings={"cookies": dict(cookies)}),
            storage_client=MemoryStorageClient(),  # the queue that matters is the one above
        )

        @crawler.router.default_handler
        async def visit(context: ParselCrawlingContext) -> None:
            url, page = context.request.url, read(context)
            new = page.links - pages.keys() - errors.keys() - queue
            await context.add_requests([request(link) for link in sorted(new)])
            # No await from here on: all of this is saved together, or not at all.
            queue.update(new)
            queue.discard(url)
            pages[url] = {
                "title": page.title,
                "words": page.words.total(),
                "links": len(page.links),
            }
            words.update(page.words)
            for link in page.links:
                links.setdefault(link, set()).add(url)
            timings.append(datetime.now(UTC) - settings["started"])
            cookies.update(page.cookies)
            Actor.log.info("crawled %s", url)

        @crawler.failed_request_handler
        async def give_up(context: BasicCrawlingContext, error: Exception) -> None:
            errors[context.request.url] = str(error)
            queue.discard(context.request.url)

        await crawler.run([request(url) for url in sorted(queue)])


if __name__ == "__main__":
    asyncio.run(main())

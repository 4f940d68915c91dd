"""Titles of all pages of a site: a crawler of Crawlee, with a router and failed requests.

What a handler pushes, enqueues and writes to the state is kept as a whole when the handler returns,
and undone when it raises and the request is tried again.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from apify import Actor
from crawlee import ConcurrencySettings
from crawlee.crawlers import BasicCrawlingContext, ParselCrawler, ParselCrawlingContext

import autostate
from autostate import PersistedCounter, PersistedDict


@autostate.actor(in_step=True, status_message=True)
async def main(depths: PersistedCounter[int], failed: PersistedDict[str, str]) -> None:
    """Crawl from the start URLs on."""
    given = await Actor.get_input()
    crawler = ParselCrawler(
        max_request_retries=3,
        request_handler_timeout=timedelta(seconds=30),
        concurrency_settings=ConcurrencySettings(desired_concurrency=5, max_concurrency=5),
    )

    @crawler.router.default_handler
    async def handle(context: ParselCrawlingContext) -> None:
        depths[context.request.crawl_depth] += 1
        await context.enqueue_links()
        title = context.selector.css("title::text").get()
        await context.push_data({"url": context.request.url, "title": title})

    @crawler.failed_request_handler
    async def give_up(context: BasicCrawlingContext, error: Exception) -> None:
        failed[context.request.url] = str(error)

    await crawler.run([each["url"] for each in given["start_urls"]])
    await Actor.set_value("OUTPUT", {"pages": depths.total(), "failed": [*failed]})


if __name__ == "__main__":
    asyncio.run(main())

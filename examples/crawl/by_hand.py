"""The same crawl as a careful engineer writes it by hand.

The counts are loaded at the start and saved at every event of the platform. Whatever may fail comes
first. Then a page is pushed, charged and counted, and Crawlee marks it as handled.
"""

from __future__ import annotations

import asyncio

from apify import Actor, Event
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext

from examples.crawl.page import title_of


async def main() -> None:
    """Visit every page: push its title, charge for it, count it."""
    async with Actor:
        visits: dict[str, int] = await Actor.get_value("visits") or {}

        async def save(_: object = None) -> None:
            await Actor.set_value("visits", visits)

        for event in (Event.PERSIST_STATE, Event.MIGRATING, Event.ABORTING):
            Actor.on(event, save)
        crawler = ParselCrawler()

        @crawler.router.default_handler
        async def visit(context: ParselCrawlingContext) -> None:
            url = context.request.url
            title = title_of(context)
            await context.enqueue_links()
            await Actor.push_data({"url": url, "title": title}, charged_event_name="page")
            visits[url] = visits.get(url, 0) + 1

        await crawler.run([(await Actor.get_input())["start"]])
        await save()


if __name__ == "__main__":
    asyncio.run(main())

"""The same crawl with `Actor.use_state`, which saves its dict once a minute and at migrations."""

from __future__ import annotations

import asyncio
from typing import Any

from apify import Actor
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext

from examples.crawl.page import title_of


async def main() -> None:
    """Visit every page: count it, charge for it, push its title."""
    async with Actor:
        visits: Any = await Actor.use_state({})
        crawler = ParselCrawler()

        @crawler.router.default_handler
        async def visit(context: ParselCrawlingContext) -> None:
            url = context.request.url
            visits[url] = visits.get(url, 0) + 1
            await Actor.charge("page")
            title = title_of(context)
            await context.push_data({"url": url, "title": title})
            await context.enqueue_links()

        await crawler.run([(await Actor.get_input())["start"]])


if __name__ == "__main__":
    asyncio.run(main())

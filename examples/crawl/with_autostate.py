"""The crawl with autostate: what is counted, pushed and charged agrees, however the process ends.

There are no handlers for migrations, no keys to save under, and nothing to load at the start.
"""

from __future__ import annotations

import asyncio

from apify import Actor
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext

import autostate
from autostate import PersistedCounter
from examples.crawl.page import title_of


@autostate.actor(in_step=True)
async def main(visits: PersistedCounter[str]) -> None:
    """Visit every page: count it, charge for it, push its title."""
    crawler = ParselCrawler()

    @crawler.router.default_handler
    async def visit(context: ParselCrawlingContext) -> None:
        url = context.request.url
        visits[url] += 1
        await Actor.charge("page")
        title = title_of(context)
        await context.push_data({"url": url, "title": title})
        await context.enqueue_links()

    await crawler.run([(await Actor.get_input())["start"]])


if __name__ == "__main__":
    asyncio.run(main())

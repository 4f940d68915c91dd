"""A spider as an Actor, in step: requests and counts in the state, items and charges outside.

    python -m tests.in_step.spider spider autostate [SETTLE]

The spider counts each page under its number, yields its links and its item, and charges. An item
goes to a file, by autostate's pipeline, and to the dataset, by that of the SDK. SIGUSR1 lets the
Actor reboot.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import scrapy
from apify import Actor
from apify.scrapy import run_scrapy_actor
from scrapy.http import Response

from tests.in_step.crawls import configure, rebooting, tell


class Pages(scrapy.Spider):
    """Crawls a site of numbered pages."""

    name = "pages"
    custom_settings = {
        "ADDONS": {"autostate.scrapy.Addon": 0},
        "DOWNLOAD_DELAY": 0,
        "LOG_LEVEL": "INFO",
        "TELNETCONSOLE_ENABLED": False,
    }
    state: dict[str, int]

    async def parse(self, response: Response, *_: Any, **__: Any) -> AsyncIterator[Any]:
        """Count, charge, and yield the links and an item."""
        page = response.url.rpartition("/")[2]
        self.state[page] = self.state.get(page, 0) + 1
        await Actor.charge("page")
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)
        await asyncio.sleep(0.002)  # a save finds pages that are half done
        yield {"page": int(page)}
        self.state["sum"] = self.state.get("sum", 0) + 1
        tell(page)


async def main() -> None:
    """Run the Actor."""
    from apify.scrapy.utils import apply_apify_settings
    from scrapy.crawler import AsyncCrawlerRunner
    from scrapy.settings import Settings

    async with Actor:
        rebooting()
        given = await Actor.get_input()
        settings = apply_apify_settings(settings=Settings())
        settings["CONCURRENT_REQUESTS_PER_DOMAIN"] = given["at_once"]
        settings["AUTOSTATE_ITEMS"] = given["items"]
        await AsyncCrawlerRunner(settings).crawl(Pages, start_urls=[f"{given['url']}0"])


if __name__ == "__main__":
    configure(float(sys.argv[3]))
    run_scrapy_actor(main())

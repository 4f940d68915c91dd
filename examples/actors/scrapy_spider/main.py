"""Titles of all pages of a site: a spider of Scrapy.

The add-on keeps `spider.state`, the requests that are queued or in work, the duplicate filter and
the items in one state. A page counts once, and its item is in the dataset once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apify import Actor
from apify.scrapy import apply_apify_settings, run_scrapy_actor
from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerRunner
from scrapy.http import Response

import autostate


class TitleSpider(Spider):
    """Follow all links of a site."""

    name = "titles"
    state: dict[str, int]  # set by the add-on
    custom_settings = {  # noqa: RUF012 - as Scrapy's documentation shows it
        "ADDONS": {"autostate.scrapy.Addon": 0},
        "TELNETCONSOLE_ENABLED": False,
    }

    def parse(self, response: Response, *_: Any, **__: Any) -> Iterator[dict[str, Any] | Request]:
        """Give the title of a page, and its links."""
        depth = f"depth {response.meta['depth']}"
        self.state[depth] = self.state.get(depth, 0) + 1
        yield {"url": response.url, "title": response.css("title::text").get()}
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)


@autostate.actor(in_step=True)
async def main() -> None:
    """Crawl from the start URLs on."""
    given = await Actor.get_input()
    starts = [each["url"] for each in given["start_urls"]]
    runner = AsyncCrawlerRunner(apply_apify_settings())
    await runner.crawl(TitleSpider, start_urls=starts)


if __name__ == "__main__":
    run_scrapy_actor(main())

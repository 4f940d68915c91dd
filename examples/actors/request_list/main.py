"""Prices from a long list of URLs: a RequestList in tandem with a request queue.

The list is read again in each container. The queue knows which of its requests are handled.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from apify import Actor
from apify.request_loaders import ApifyRequestList
from crawlee import ConcurrencySettings
from crawlee.crawlers import HttpCrawler, HttpCrawlingContext

import autostate


@autostate.persisted
@dataclass
class Summary:
    """What is known so far."""

    products: int = 0
    total: int = 0
    cheapest: dict[str, int] = field(default_factory=dict)


@autostate.actor(in_step=True)
async def main(summary: Summary) -> None:
    """Load all products of the list."""
    given = await Actor.get_input()
    requests = await ApifyRequestList.open(request_list_sources_input=given["sources"])
    crawler = HttpCrawler(
        request_manager=await requests.to_tandem(),
        concurrency_settings=ConcurrencySettings(desired_concurrency=5, max_concurrency=5),
    )

    @crawler.router.default_handler
    async def handle(context: HttpCrawlingContext) -> None:
        product = json.loads(await context.http_response.read())
        await context.push_data(product)
        brand, price = product["brand"], product["price"]
        summary.products += 1
        summary.total += price
        summary.cheapest[brand] = min(price, summary.cheapest.get(brand, price))

    await crawler.run()


if __name__ == "__main__":
    asyncio.run(main())

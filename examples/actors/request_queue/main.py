"""Products by their URLs: several workers take requests from one queue.

A request that is reclaimed takes back what was written for it. One that is marked as handled is
marked after the save that has its item and its price.
"""

from __future__ import annotations

import asyncio

from apify import Actor
from httpx import AsyncClient, HTTPError

import autostate
from autostate import PersistedCounter, PersistedDict

WORKERS = 4
ATTEMPTS = 3


@autostate.actor(in_step=True)
async def main(prices: PersistedCounter[str], failed: PersistedDict[str, str]) -> None:
    """Push each product, and add up the prices of each brand."""
    given = await Actor.get_input()
    queue = await Actor.open_request_queue()
    await queue.add_requests(given["urls"])

    async def work(client: AsyncClient) -> None:
        while not await queue.is_finished():
            request = await queue.fetch_next_request()
            if request is None:  # the others are at work on the last ones
                await asyncio.sleep(0.1)
                continue
            try:
                product = (await client.get(request.url)).raise_for_status().json()
            except HTTPError as error:
                request.retry_count += 1
                if request.retry_count < ATTEMPTS:
                    await queue.reclaim_request(request)
                    continue
                failed[request.url] = str(error)
            else:
                await Actor.push_data(product)
                prices[product["brand"]] += product["price"]
            await queue.mark_request_as_handled(request)

    async with AsyncClient() as client:
        await asyncio.gather(*(work(client) for _ in range(WORKERS)))
    await Actor.set_value("OUTPUT", {"prices": prices, "failed": failed})


if __name__ == "__main__":
    asyncio.run(main())

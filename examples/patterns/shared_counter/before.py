"""By hand: several runs count in one record, which each reads, adds to and writes back.

Two runs that read the same number both add to it, and one of the sums is lost.
"""

from __future__ import annotations

import asyncio

from apify import Actor

from examples.patterns import shop


async def main() -> None:
    """Add the products of this run to those of all runs."""
    async with Actor:
        totals = await Actor.open_key_value_store(name="totals")
        count = await totals.get_value("products") or 0
        page = 1
        while products := await shop.products(page):
            count += len(products)
            page += 1
        await totals.set_value("products", count)


if __name__ == "__main__":
    asyncio.run(main())

"""With autostate: a set is a set, and comes back together with the page that it belongs to."""

from __future__ import annotations

import asyncio

from apify import Actor

from autostate import PersistedDict, PersistedSet
from examples.patterns import shop


async def main() -> None:
    """Push each product on offer once."""
    async with Actor:
        state = PersistedDict("shop", page=1)
        seen = PersistedSet[int]("seen")
        while products := await shop.offers(state["page"]):
            await Actor.push_data([product for product in products if product["id"] not in seen])
            seen.update(product["id"] for product in products)
            state["page"] += 1


if __name__ == "__main__":
    asyncio.run(main())

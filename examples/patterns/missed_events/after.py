"""With autostate: no events. Whatever comes, what changed is saved, once."""

from __future__ import annotations

import asyncio

from apify import Actor

from autostate import PersistedDict
from examples.patterns import shop


async def main() -> None:
    """Push all products, page by page."""
    async with Actor:
        state = PersistedDict("shop", page=1)
        while products := await shop.products(state["page"]):
            await Actor.push_data(products)
            state["page"] += 1


if __name__ == "__main__":
    asyncio.run(main())

"""By hand: the page is advanced and saved, then its products are pushed.

A kill in between loses them: the next container goes on with the page after.
"""

from __future__ import annotations

import asyncio

from apify import Actor

from examples.patterns import shop


async def main() -> None:
    """Push all products, page by page."""
    async with Actor:
        state = await Actor.get_value("STATE") or {"page": 1}
        while products := await shop.products(state["page"]):
            state["page"] += 1
            await Actor.set_value("STATE", state)
            await Actor.push_data(products)


if __name__ == "__main__":
    asyncio.run(main())

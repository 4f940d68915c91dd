"""By hand: the state is saved under one key and looked for under another.

Nothing fails. After a migration the Actor begins at page 1 again, and pays for all of it twice.
"""

from __future__ import annotations

import asyncio

from apify import Actor, Event

from examples.patterns import shop

STATE_KEY = "SHOP_STATE"


async def main() -> None:
    """Push all products, page by page."""
    async with Actor:
        state = await Actor.get_value("STATE") or {"page": 1}  # its name before it was renamed

        async def save(event: object = None) -> None:
            await Actor.set_value(STATE_KEY, state)

        Actor.on(Event.PERSIST_STATE, save)

        while products := await shop.products(state["page"]):
            await Actor.push_data(products)
            state["page"] += 1
        await save()


if __name__ == "__main__":
    asyncio.run(main())

"""By hand: whatever goes wrong while the state is loaded means that there is none.

One answer of 402 or 403, or a record of another build, and the Actor begins at page 1; its first
save then overwrites the good record.
"""

from __future__ import annotations

import asyncio

from apify import Actor, Event

from examples.patterns import shop


async def main() -> None:
    """Push all products, page by page."""
    async with Actor:
        try:
            state = await Actor.get_value("STATE")
            page = state["page"]
        except Exception:  # there is no state yet
            page = 1

        async def save(event: object = None) -> None:
            await Actor.set_value("STATE", {"page": page})

        Actor.on(Event.PERSIST_STATE, save)

        while products := await shop.products(page):
            await Actor.push_data(products)
            page += 1
        await save()


if __name__ == "__main__":
    asyncio.run(main())

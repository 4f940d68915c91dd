"""By hand: all events are handled, so everything is written twice.

The SDK sends PERSIST_STATE along with MIGRATING, the platform along with ABORTING; and each minute,
whether anything has changed or not. Every write is paid for.
"""

from __future__ import annotations

import asyncio

from apify import Actor, Event

from examples.patterns import shop


async def main() -> None:
    """Push all products, page by page."""
    async with Actor:
        state = await Actor.get_value("STATE") or {"page": 1}

        async def save(event: object = None) -> None:
            await Actor.set_value("STATE", state)

        Actor.on(Event.MIGRATING, save)
        Actor.on(Event.ABORTING, save)
        Actor.on(Event.PERSIST_STATE, save)

        while products := await shop.products(state["page"]):
            await Actor.push_data(products)
            state["page"] += 1
        await save()


if __name__ == "__main__":
    asyncio.run(main())

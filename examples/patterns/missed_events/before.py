"""By hand: the state is saved when the run migrates, and at no other time.

A run that is aborted gracefully, to be resurrected later, has saved nothing and begins anew.
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

        while products := await shop.products(state["page"]):
            await Actor.push_data(products)
            state["page"] += 1
        await save()


if __name__ == "__main__":
    asyncio.run(main())

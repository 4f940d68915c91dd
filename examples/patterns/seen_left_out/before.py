"""By hand: the page is saved, the set of what was seen is not.

JSON has no sets, so it was left out. After a migration nothing has been seen, and products that
occur on several pages are pushed again.
"""

from __future__ import annotations

import asyncio

from apify import Actor, Event

from examples.patterns import shop


async def main() -> None:
    """Push each product on offer once."""
    async with Actor:
        state = await Actor.get_value("STATE") or {"page": 1}
        seen: set[int] = set()

        async def save(event: object = None) -> None:
            await Actor.set_value("STATE", state)

        Actor.on(Event.PERSIST_STATE, save)

        while products := await shop.offers(state["page"]):
            await Actor.push_data([product for product in products if product["id"] not in seen])
            seen.update(product["id"] for product in products)
            state["page"] += 1
        await save()


if __name__ == "__main__":
    asyncio.run(main())

"""By hand: what was pushed is read at the start of a run, and written at its end.

A run that begins before the former one has ended knows nothing of what that one pushes, and
overwrites what it has written.
"""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor

from examples.patterns import shop


async def main() -> None:
    """Push the products that no former run has pushed."""
    async with Actor:
        store = await Actor.open_key_value_store(name="pushed")
        seen = set(await store.get_value("ids") or [])
        for page in count(1):
            products = await shop.products(page)
            if not products:
                break
            await Actor.push_data([product for product in products if product["id"] not in seen])
            seen.update(product["id"] for product in products)
        await store.set_value("ids", sorted(seen))


if __name__ == "__main__":
    asyncio.run(main())

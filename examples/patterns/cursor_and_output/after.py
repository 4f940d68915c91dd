"""With autostate: the page follows the push, and the dataset is asked what it has already.

No state can be saved in the same instant as a push, so a kill between the two is always possible.
What a killed container pushed and could not save stands at the end of the dataset; there it is read
once, at the start. `len(pushed)` is where the saved part ends.
"""

from __future__ import annotations

import asyncio
from typing import Any

from apify import Actor

from autostate import PersistedDict, PersistedSet
from examples.patterns import shop


async def main() -> None:
    """Push all products, page by page."""
    async with Actor:
        state = PersistedDict("shop", page=1)
        pushed = PersistedSet[Any]("pushed")

        dataset = await Actor.open_dataset()
        async for product in dataset.iterate_items(offset=len(pushed)):
            pushed.add(product["id"])

        while products := await shop.products(state["page"]):
            new = [product for product in products if product["id"] not in pushed]
            await Actor.push_data(new)
            pushed.update(product["id"] for product in new)
            state["page"] += 1


if __name__ == "__main__":
    asyncio.run(main())

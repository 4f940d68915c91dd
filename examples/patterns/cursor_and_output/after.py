"""With autostate: a page is done after its push, and the dataset is asked what it has already.

No state can be saved in the same instant as a push, so a kill between the two is always possible.
What a killed container pushed and could not save stands at the end of the dataset; there it is read
once, at the start. `len(pushed)` is where the saved part ends.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from apify import Actor

import autostate
from autostate import PersistedSet
from examples.patterns import shop


@autostate.actor
async def main(pushed: PersistedSet[Any]) -> None:
    """Push all products, page by page."""
    dataset = await Actor.open_dataset()
    async for product in dataset.iterate_items(offset=len(pushed)):
        pushed.add(product["id"])

    for page in autostate.resume("pages", count(1)):
        products = await shop.products(page)
        if not products:
            break
        new = [product for product in products if product["id"] not in pushed]
        await Actor.push_data(new)
        pushed.update(product["id"] for product in new)


if __name__ == "__main__":
    asyncio.run(main())

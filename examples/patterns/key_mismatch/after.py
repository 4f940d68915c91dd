"""With autostate: the loop has one name, in one place, and remembers by itself how far it is."""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor

import autostate
from examples.patterns import shop


@autostate.actor
async def main() -> None:
    """Push all products, page by page."""
    for page in autostate.resume("pages", count(1)):
        products = await shop.products(page)
        if not products:
            break
        await Actor.push_data(products)


if __name__ == "__main__":
    asyncio.run(main())

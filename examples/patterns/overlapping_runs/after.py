"""With autostate: all runs share one set of what they have pushed, while they run.

A run looks at it before each page, and tells the others after each. Two runs that come to the same
page at the same moment both push it: a set is no lock. To work on each page in one run only, put
the pages into a request queue with a name, which all runs take from.
"""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor

import autostate
from autostate import SharedSet
from examples.patterns import shop

autostate.configure(shared="apify:pushed")


@autostate.actor
async def main() -> None:
    """Push the products that no other run has pushed."""
    seen = SharedSet[int]("ids")
    for page in count(1):
        products = await shop.products(page)
        if not products:
            break
        await asyncio.to_thread(seen.refresh)
        await Actor.push_data([product for product in products if product["id"] not in seen])
        seen.update(product["id"] for product in products)
        await autostate.durable()


if __name__ == "__main__":
    asyncio.run(main())

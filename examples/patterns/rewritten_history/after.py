"""With autostate: what is written is what changed since the last save.

After a kill without notice it goes on where the last save was, at most half a minute ago; pages and
history go back together, so nothing is missing and nothing is there twice.
"""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor

import autostate
from autostate import PersistedList
from examples.patterns import shop


@autostate.actor
async def main(history: PersistedList[shop.Product]) -> None:
    """Keep what each product was like, in the order of the catalogue."""
    for page in autostate.resume("pages", count(1)):
        products = await shop.products(page)
        if not products:
            break
        history.extend(products)
    await Actor.set_value("HISTORY", history)  # for others to read


if __name__ == "__main__":
    asyncio.run(main())

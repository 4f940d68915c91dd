"""With autostate: what is written is what changed since the last save.

After a kill without notice it goes on where the last save was, at most half a minute ago; page and
history go back together, so nothing is missing and nothing is there twice.
"""

from __future__ import annotations

import asyncio

from apify import Actor

from autostate import PersistedDict, PersistedList
from examples.patterns import shop


async def main() -> None:
    """Keep what each product was like, in the order of the catalogue."""
    async with Actor:
        state = PersistedDict("shop", page=1)
        history = PersistedList[shop.Product]("history")
        while products := await shop.products(state["page"]):
            history.extend(products)
            state["page"] += 1
        await Actor.set_value("HISTORY", history)  # for others to read


if __name__ == "__main__":
    asyncio.run(main())

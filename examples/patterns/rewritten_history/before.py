"""By hand: after each product the whole history is written again.

A thousand products are half a million over the wire, and each write is paid for.
"""

from __future__ import annotations

import asyncio

from apify import Actor

from examples.patterns import shop


async def main() -> None:
    """Keep what each product was like, in the order of the catalogue."""
    async with Actor:
        history = await Actor.get_value("HISTORY") or []
        page = len(history) // shop.PER_PAGE + 1  # what follows the last full page
        while products := await shop.products(page):
            del history[(page - 1) * shop.PER_PAGE :]
            for product in products:
                history.append(product)
                await Actor.set_value("HISTORY", history)
            page += 1


if __name__ == "__main__":
    asyncio.run(main())

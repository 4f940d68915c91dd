"""With autostate: state that is there and cannot be read is an error, and stays as it is.

The run fails, loudly. When it is resurrected it goes on where it was.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from apify import Actor

import autostate
from examples.patterns import shop


@autostate.persisted
@dataclass
class Progress:
    """How far the Actor is."""

    page: int = 1


@autostate.actor
async def main(progress: Progress) -> None:
    """Push all products, page by page."""
    while products := await shop.products(progress.page):
        await Actor.push_data(products)
        progress.page += 1


if __name__ == "__main__":
    asyncio.run(main())

"""With autostate: a set is state like any other, and comes back together with its page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from apify import Actor

import autostate
from examples.patterns import shop


@autostate.persisted
@dataclass
class Progress:
    """How far the Actor is."""

    page: int = 1
    seen: set[int] = field(default_factory=set)


@autostate.actor
async def main(progress: Progress) -> None:
    """Push each product on offer once."""
    while products := await shop.offers(progress.page):
        await Actor.push_data([each for each in products if each["id"] not in progress.seen])
        progress.seen.update(product["id"] for product in products)
        progress.page += 1


if __name__ == "__main__":
    asyncio.run(main())

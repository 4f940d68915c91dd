"""Details from another Actor: a child run for each category, three at a time.

Each child run is started once, whatever happens to this one, and its items are pushed once.
"""

from __future__ import annotations

import asyncio

from apify import Actor

import autostate
from autostate import PersistedDict


@autostate.actor(in_step=True)
async def main(found: PersistedDict[str, int]) -> None:
    """Run the Actor for each category, and collect what the runs have found."""
    given = await Actor.get_input()
    at_once = asyncio.Semaphore(3)

    async def collect(category: str) -> None:
        async with at_once:
            run = await autostate.call(
                given["actor"], {"category": category}, name=category, logger=None
            )
        page = await Actor.apify_client.dataset(run.default_dataset_id).list_items()
        with autostate.atomic():
            await Actor.push_data([{"category": category, **item} for item in page.items])
            found[category] = len(page.items)

    left = [category for category in given["categories"] if category not in found]
    await asyncio.gather(*map(collect, left))


if __name__ == "__main__":
    asyncio.run(main())

"""With autostate: each run counts for itself, and publishes its count under a key of its own.

A store with state has one writer, so runs cannot share a counter; nor need they. `total.py` adds
up what they published. Publishing twice, after a kill, changes nothing.
"""

from __future__ import annotations

import asyncio

from apify import Actor

from autostate import PersistedCounter, PersistedDict
from examples.patterns import shop


async def main() -> None:
    """Count the products of this run, and publish the count."""
    async with Actor:
        state = PersistedDict("shop", page=1)
        counts = PersistedCounter[str]("counts")
        while products := await shop.products(state["page"]):
            counts["products"] += len(products)
            state["page"] += 1

        totals = await Actor.open_key_value_store(name="totals")
        await totals.set_value(f"run-{Actor.configuration.actor_run_id or 'local'}", counts)


if __name__ == "__main__":
    asyncio.run(main())

"""With autostate: each run counts for itself, and publishes its count under a key of its own.

A store with state has one writer, so runs cannot share a counter; nor need they. `total.py` adds
up what they published. Publishing twice, after a kill, changes nothing.
"""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor

import autostate
from autostate import PersistedCounter
from examples.patterns import shop


@autostate.actor
async def main(counts: PersistedCounter[str]) -> None:
    """Count the products of this run, and publish the count."""
    for page in autostate.resume("pages", count(1)):
        products = await shop.products(page)
        if not products:
            break
        counts["products"] += len(products)

    totals = await Actor.open_key_value_store(name="totals")
    await totals.set_value(f"run-{Actor.configuration.actor_run_id or 'local'}", counts)


if __name__ == "__main__":
    asyncio.run(main())

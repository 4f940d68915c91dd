"""Add up what the runs have counted, at any time: finished runs count, others not yet."""

from __future__ import annotations

import asyncio
from collections import Counter

from apify import Actor


async def main() -> None:
    """Give the sum over all runs as the output of this one."""
    async with Actor:
        totals = await Actor.open_key_value_store(name="totals")
        total = Counter[str]()
        async for key in totals.iterate_keys():
            total.update(await totals.get_value(key.key))
        await Actor.set_value("OUTPUT", total)


if __name__ == "__main__":
    asyncio.run(main())

"""With autostate: all runs count in one shared counter, at the same time.

What a run has counted is published after the save that has it. So a page that is done again, after
a kill, counts once; and a run that is resurrected after its end counts nothing again.
"""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor

import autostate
from autostate import SharedCounter
from examples.patterns import shop

autostate.configure(shared="apify:totals")  # a store with a name: runs share no other one


@autostate.actor
async def main() -> None:
    """Count the products of this run, and show those of all runs."""
    totals = SharedCounter[str]("totals")
    for page in autostate.resume("pages", count(1)):
        products = await shop.products(page)
        if not products:
            break
        totals["products"] += len(products)

    await autostate.durable()
    await asyncio.to_thread(totals.refresh)
    await Actor.set_value("OUTPUT", totals)


if __name__ == "__main__":
    asyncio.run(main())

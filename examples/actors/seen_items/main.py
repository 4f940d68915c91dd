"""New offers only: what a former run has pushed is not pushed again.

The state is in a store with a name, which all runs share, one at a time. What is new goes to the
dataset of the run and to a webhook, once each, and is known from then on.
"""

from __future__ import annotations

import asyncio
from itertools import count

from apify import Actor
from httpx import AsyncClient

import autostate
from autostate import PersistedSet
from autostate.delivery import HttpEndpoint

autostate.configure("apify:seen-items")


@autostate.actor(in_step=True)
async def main(seen: PersistedSet[str]) -> None:
    """Go through the pages of offers, and push those that no run has pushed."""
    given = await Actor.get_input()
    news = autostate.outbox("news", HttpEndpoint(given["webhook"]))
    async with AsyncClient() as client:
        for page in count(1):
            response = await client.get(given["url"], params={"page": page})
            offers = response.raise_for_status().json()
            if not offers:
                break
            new = [offer for offer in offers if offer["id"] not in seen]
            with autostate.atomic():
                await Actor.push_data(new)
                news.put(*new)
                seen.update(offer["id"] for offer in new)


if __name__ == "__main__":
    asyncio.run(main())

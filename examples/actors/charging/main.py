"""Pages as items that are paid for: pay per event, with a limit.

The start of the run is charged once, also if it has many containers. A page is charged, pushed and
done in one step.
"""

from __future__ import annotations

import asyncio

from apify import Actor
from httpx import AsyncClient

import autostate
from autostate import PersistedDict


@autostate.actor(in_step=True)
async def main(charged: PersistedDict[str, bool]) -> None:
    """Push pages until all are there, or the user's limit is reached."""
    given = await Actor.get_input()
    if not charged.get("start"):
        with autostate.atomic():
            await Actor.charge("start")
            charged["start"] = True

    money = Actor.get_charging_manager()
    async with AsyncClient(follow_redirects=True) as client:
        pages = autostate.resume("pages", given["urls"])
        async for url in pages:
            if money.calculate_max_event_charge_count_within_limit("page") == 0:
                await Actor.set_status_message("The limit is reached")
                break
            response = await client.get(url)
            with autostate.atomic():
                item = {"url": url, "status": response.status_code, "length": len(response.content)}
                await Actor.push_data(item, charged_event_name="page")
                pages.done()


if __name__ == "__main__":
    asyncio.run(main())

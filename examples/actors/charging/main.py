"""Pages as items that are paid for: pay per event, with a limit.

The start of the run is charged once, also if it has many containers. A page is charged, pushed and
done in one step. A page that is not reached is left out.
"""

from __future__ import annotations

import asyncio

from apify import Actor
from httpx import AsyncClient, HTTPError

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

    is_paid = Actor.get_charging_manager().get_pricing_info().is_pay_per_event
    async with AsyncClient(follow_redirects=True) as client:
        pages = autostate.resume("pages", given["urls"])
        async for url in pages:
            try:
                response = await client.get(url)
            except HTTPError as error:
                Actor.log.warning("%s is left out: %r", url, error)
                continue
            item = {"url": url, "status": response.status_code, "length": len(response.content)}
            with autostate.atomic():
                result = await Actor.push_data(item, charged_event_name="page")
                is_over = is_paid and result.charged_count == 0  # then nothing was pushed
                if not is_over:
                    pages.done()
            if is_over:
                await Actor.set_status_message("The limit is reached")
                break


if __name__ == "__main__":
    asyncio.run(main())

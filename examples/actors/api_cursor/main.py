"""All records of a JSON API, page by page: each answer has the cursor of the next page.

The records of a page and the cursor after it are one step: the next container goes on exactly
behind what is in the dataset.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from apify import Actor
from httpx import AsyncClient, AsyncHTTPTransport

import autostate


@autostate.persisted
@dataclass
class Progress:
    """How far the Actor is."""

    cursor: str | None = ""
    pages: int = 0
    records: int = 0


@autostate.actor(in_step=True)
async def main(progress: Progress) -> None:
    """Push the records of all pages."""
    given = await Actor.get_input()
    async with AsyncClient(transport=AsyncHTTPTransport(retries=3)) as client:
        while progress.cursor is not None:
            response = await client.get(given["url"], params={"cursor": progress.cursor})
            page = response.raise_for_status().json()
            with autostate.atomic():
                await Actor.push_data(page["records"])
                progress.cursor = page["next"]
                progress.pages += 1
                progress.records += len(page["records"])
            await Actor.set_status_message(f"{progress.records} of {page['total']} records")


if __name__ == "__main__":
    asyncio.run(main())

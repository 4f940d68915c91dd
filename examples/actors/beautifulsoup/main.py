"""Headings of all pages of a site, and the words in them: BeautifulSoup, httpx, a request queue.

The item of a page, its words, its links in the queue and its mark as handled are one step: each
page counts once, however often the Actor is killed or moved.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urljoin, urlsplit

from apify import Actor
from bs4 import BeautifulSoup
from httpx import AsyncClient, HTTPError

import autostate
from autostate import PersistedCounter


@autostate.actor(in_step=True)
async def main(words: PersistedCounter[str]) -> None:
    """Follow the links within the sites of the start URLs."""
    given = await Actor.get_input()
    starts = [each["url"] for each in given["start_urls"]]
    hosts = {urlsplit(url).netloc for url in starts}
    queue = await Actor.open_request_queue()
    await queue.add_requests(starts)  # those that are there already are not added again

    async with AsyncClient(follow_redirects=True) as client:
        while request := await queue.fetch_next_request():
            try:
                response = (await client.get(request.url)).raise_for_status()
            except HTTPError as error:
                Actor.log.warning(f"{request.url} cannot be loaded: {error}")
            else:
                soup = BeautifulSoup(response.content, "html.parser")
                headings = [each.get_text() for each in soup.find_all(["h1", "h2", "h3"])]
                links = [
                    urljoin(request.url, str(a["href"])) for a in soup.find_all("a", href=True)
                ]
                await queue.add_requests([url for url in links if urlsplit(url).netloc in hosts])
                await Actor.push_data({"url": request.url, "headings": headings})
                words.update(word for heading in headings for word in heading.lower().split())
            await queue.mark_request_as_handled(request)

    await Actor.set_value("OUTPUT", dict(words.most_common(10)))


if __name__ == "__main__":
    asyncio.run(main())

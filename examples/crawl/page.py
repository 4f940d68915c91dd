"""What the crawlers read from a page of the documentation."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urldefrag, urljoin

from crawlee import Request
from crawlee.crawlers import ParselCrawlingContext


class DocumentationError(Exception):
    """The site has no documentation of that name."""


def request(url: str) -> Request:
    """Make the request for a page; Crawlee's own key would take `key=NONE` for `key=None`."""
    return Request.from_url(url, unique_key=url)


@dataclass(frozen=True)
class Page:
    """The facts of one page.

    Attributes:
        title: Its title.
        words: How often each word occurs.
        links: The pages of the same site that it links to.
        cookies: What the site wants to be reminded of.
    """

    title: str
    words: Counter[str]
    links: set[str]
    cookies: dict[str, str]


def read(context: ParselCrawlingContext) -> Page:
    """Read the page that was just loaded.

    Raises:
        DocumentationError: The site answered with its error page.
    """
    title = context.selector.css("title::text").get("").removeprefix("Pydoc: ")
    text = " ".join(context.selector.css("body ::text").getall())
    if title.startswith("Error"):
        raise DocumentationError(title)
    url = context.request.loaded_url or context.request.url
    hrefs = context.selector.css("a::attr(href)").getall()
    targets = {urldefrag(urljoin(url, href)).url for href in hrefs}
    session = context.session
    return Page(
        title=title,
        words=Counter(re.findall(r"[a-z]{3,}", text.lower())),
        links={target for target in targets if target.startswith(urljoin(url, "/"))},
        cookies={
            cookie["name"]: cookie.get("value", "")
            for cookie in (session.cookies.get_cookies_as_dicts() if session else [])
        },
    )

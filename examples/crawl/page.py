"""What all forms of the crawl read from a page."""

from __future__ import annotations

from crawlee.crawlers import ParselCrawlingContext


def title_of(context: ParselCrawlingContext) -> str:
    """Return the title of a page.

    Raises:
        ValueError: The page is not complete; Crawlee visits it again.
    """
    title = context.selector.css("title::text").get()
    if title is None:
        raise ValueError("the page has no title")
    return title

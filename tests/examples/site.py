"""A web site for the Actors of the examples: pages, products, an API, and offers."""

from __future__ import annotations

import json
import threading
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.scrapy.site import Site

BRANDS: Final = ("Acme", "Globex", "Initech")
PER_PAGE: Final = 3

Answer = tuple[int, dict[str, str], bytes]


class ExampleSite(Site):
    """The site.

    - `/pages/N` is HTML, and links to two others and, but for the first one, to itself.
    - `/shaky/N` are the same. One in five is unavailable at the first visit; page 3 links to one
      that is not there.
    - `/products/N` is JSON; one in five is unavailable at the first visit.
    - `/api?cursor=…` gives records, and the next cursor.
    - `/offers?page=N` gives offers, those with the largest ids first.

    Args:
        size: The number of pages, products, records, or offers.

    Attributes:
        latency: Seconds until an answer.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.latency = 0.03
        self._silence = threading.Event()

    def pause(self) -> None:
        """Let time pass, as on the way to a server."""
        self._silence.wait(self.latency)

    def answer(self, path: str) -> Answer:
        """Return status, headers and body."""
        self.pause()
        with self._lock:
            self.served += 1
            self.visits[path] += 1
            is_first = self.visits[path] == 1
        parts = urlsplit(path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        kind, _, number = parts.path[1:].partition("/")
        if kind in ("shaky", "products") and number.endswith(("4", "9")) and is_first:
            return 503, {}, b""
        match kind:
            case "pages" | "shaky" if number.isdigit():
                return _html(self._page(kind, int(number)))
            case "products" if number.isdigit():
                return _json(product(int(number)))
            case "api":
                return _json(self._records(int(given.get("cursor") or "0")))
            case "offers":
                first = self.pages - (int(given["page"]) - 1) * PER_PAGE
                ids = range(first - 1, max(first - PER_PAGE, 0) - 1, -1)
                return _json([{"id": f"offer {n}", "price": 10 * n} for n in ids])
        return 404, {}, b""

    def _page(self, kind: str, number: int) -> str:
        links = [n for n in (2 * number + 1, 2 * number + 2) if n < self.pages]
        links += [number] if number else []  # Scrapy visits the pages of its start twice, if linked
        names = [*map(str, links), *(["missing"] if (kind, number) == ("shaky", 3) else [])]
        anchors = "".join(f'<a href="/{kind}/{name}">{name}</a>' for name in names)
        return f"<title>Page {number}</title><h1>Page {number}</h1><h2>Links</h2>{anchors}"

    def _records(self, cursor: int) -> dict[str, Any]:
        end = cursor + PER_PAGE
        records = [{"record": n} for n in range(cursor, min(end, self.pages))]
        return {
            "records": records,
            "total": self.pages,
            "next": str(end) if end < self.pages else None,
        }


def product(number: int) -> dict[str, Any]:
    """The product of a number."""
    return {"id": number, "brand": BRANDS[number % len(BRANDS)], "price": 100 + 7 * number}


def depth(number: int) -> int:
    """How many links lead from the first page to this one."""
    return (number + 1).bit_length() - 1


def _html(text: str) -> Answer:
    return 200, {"Content-Type": "text/html"}, text.encode()


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

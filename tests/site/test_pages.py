"""The pages that `make docs` has built have no dead link, and no error in a browser."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.site import browser

if not os.environ.get("WITH_SITE"):
    pytest.skip("`make docs` builds the pages, and tries them", allow_module_level=True)

SITE = Path(__file__).parents[2] / "build" / "docs"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
PHONE, DESKTOP = 390, 1280
HIDDEN = """[document.documentElement, ...document.querySelectorAll(".content")]
    .map(each => each.scrollWidth - each.clientWidth).reduce((a, b) => Math.max(a, b))"""
"""How many pixels of a page one has to scroll to; tables and code scroll by themselves."""


class Parts(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in {"href", "src"}:
                self.links.append(value)
            elif value and name == "id":
                self.anchors.add(value)


@cache
def _parts(path: Path) -> Parts:
    parts = Parts()
    parts.feed(path.read_text(encoding="utf-8"))
    return parts


def test_the_pages_are_there() -> None:
    """Else nothing of the rest says anything."""
    assert {"index.html", "tutorial.html", "api/state.html", "search.html"} <= set(PAGES)


def test_no_link_is_dead() -> None:
    """Each leads to a file of the site, and to an anchor of it."""
    dead = []
    for page in PAGES:
        for link in _parts(SITE / page).links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (SITE / page).parent / unquote(url.path) if url.path else SITE / page
            if not target.is_file():
                dead.append((page, link))
            elif url.fragment and target.suffix == ".html":
                anchor = unquote(url.fragment)
                if anchor not in _parts(target.resolve()).anchors:
                    dead.append((page, link))
    assert dead == []


class Quiet(SimpleHTTPRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def served() -> Iterator[str]:
    """The URL of a server of the pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(served: str, tmp_path: Path) -> Iterator[browser.Page]:
    """A tab of a real browser, which ends before the server does."""
    program = browser.found()
    if program is None:
        pytest.skip("there is no Chromium: `apt-get install chromium`, or set CHROMIUM to its path")
    with browser.opened(program, tmp_path / "profile") as opened:
        yield opened


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_page_has_an_error_or_is_too_wide(served: str, page: browser.Page, width: int) -> None:
    """Nothing fails in the console, nothing comes from elsewhere, and nobody scrolls sideways."""
    wrong = []
    for name in PAGES:
        page.visit(served + name, width=width)
        hidden = page.value(HIDDEN)
        strangers = [each for each in page.requested if not each.startswith((served, "data:"))]
        if page.problems or strangers or hidden:
            wrong.append((name, page.problems[:], strangers, hidden))
        if folder := os.environ.get("PICTURES_INTO"):
            page.picture(Path(folder) / f"{name.replace('/', '-')}-{width}.png")
    assert wrong == []


def test_the_search_finds_a_page(served: str, page: browser.Page) -> None:
    """Without a server that would have to answer."""
    page.visit(f"{served}search.html?q=outbox", width=DESKTOP)
    page.value(
        """new Promise(done => {
            const look = () => document.querySelector("#search-results a[href*='outbox.html']")
                ? done() : setTimeout(look, 50);
            look();
        })"""
    )
    assert page.problems == []

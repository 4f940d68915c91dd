"""A web site of numbered pages, and the spider programs that crawl it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import autostate
from autostate import PersistedDict
from autostate.runtime.api import close_default

LONGEST: Final = 60.0
"""Seconds after which a program counts as hung."""

SPIDER: Final = """
import asyncio, contextvars, os, signal, sys

import scrapy
from scrapy.crawler import AsyncCrawlerProcess

import autostate

URL = sys.argv[1]


class Pages(scrapy.Spider):
    name = "pages"
    custom_settings = {
        "ADDONS": {"autostate.scrapy.Addon": 0},
        "AUTOSTATE_ITEMS": "items.jsonl",
        "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
        "DOWNLOAD_DELAY": 0,
        "LOG_LEVEL": "INFO",
        "REMOTE_CONTROL_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
    }
    start_urls = [URL + "/0"]

    async def parse(self, response):
        page = response.url.rpartition("/")[2]
        self.state["begun"] = self.state.get("begun", 0) + 1
        self.state["page " + page] = self.state.get("page " + page, 0) + 1
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)
        await asyncio.sleep(0.002)  # a save finds pages that are half done
        yield {"page": int(page)}
        self.state["done"] = self.state.get("done", 0) + 1
"""

RUN: Final = """
autostate.configure("sqlite:///state.db", debounce=0.01, max_delay=0.05)
process = AsyncCrawlerProcess()
process.crawl(Pages)
process.start()
"""


class Site:
    """A server of pages that link to each other.

    Page n links to 2n+1, 2n+2 and n+1. Every seventh one is reached by a redirect, and every
    eleventh one is unavailable at the first visit.

    Args:
        pages: The number of pages.
        rng: Chooses visits that get no page, at most two of each page, as many as Scrapy's retry
            middleware makes good: it is unavailable, too busy, or breaks off. None: no visits.

    Attributes:
        served: The number of requests so far.
        visits: How often each path was asked for.
        hook: Called with `served` before each answer.
    """

    def __init__(self, pages: int, rng: random.Random | None = None) -> None:
        self.pages = pages
        ways = (*["none"] * 4, "unavailable", "busy", "no answer", "half an answer")
        self._faults = [] if rng is None else [rng.choices(ways, k=2) for _ in range(pages)]
        self.served = 0
        self.visits: Counter[str] = Counter()
        self.hook: Callable[[int], None] = lambda _: None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # killed clients
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = site.answer(self.path)
                if not status:
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a page; status 0 for no answer."""
        with self._lock:
            self.served += 1
            self.visits[path] += 1
            self.hook(self.served)
            visit = self.visits[path]
        if path.startswith("/go/"):
            return 302, {"Location": path[3:]}, b""
        page = int(path[1:])
        fault = self._faults[page][visit - 1] if self._faults and visit <= 2 else "none"
        if fault == "no answer":
            return 0, {}, b""
        if fault == "busy":
            return 429, {}, b""
        if fault == "unavailable" or (not self._faults and page % 11 == 10 and visit == 1):
            return 503, {}, b""
        links = (at for at in (2 * page + 1, 2 * page + 2, page + 1) if at < self.pages)
        body = "".join(f'<a href="{"/go" if at % 7 == 6 else ""}/{at}">{at}</a>' for at in links)
        headers = {"Content-Type": "text/html", "Content-Length": str(len(body))}
        return 200, headers, body[: len(body) // 2 if fault == "half an answer" else None].encode()


class Program:
    """A spider that runs in a process of its own, in the current folder.

    Args:
        site: What it crawls.
        spider: Its code, up to the class `Pages`.
        run: What runs it.
    """

    def __init__(self, site: Site, spider: str = SPIDER, run: str = RUN) -> None:
        Path("spider.py").write_text(spider + run, encoding="utf-8")
        with Path("log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "spider.py", site.url],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ,
            )

    def end(self) -> int:
        """Wait for the end; return the exit status."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the spider hangs: {log()[-3000:]}") from None

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


def log() -> str:
    """Return what the programs have logged."""
    return Path("log").read_text(encoding="utf-8")


def state() -> dict[str, Any]:
    """Return `spider.state` as it is saved."""
    autostate.configure("sqlite:///state.db")
    found = dict(PersistedDict[str, Any]("scrapy.pages.state"))
    close_default()
    return found


def left() -> int:
    """Return the number of requests that are not done."""
    autostate.configure("sqlite:///state.db")
    found = len(PersistedDict("scrapy.pages.requests"))
    close_default()
    return found


def items() -> list[int]:
    """Return the numbers of the pages whose items have arrived, in order."""
    path = Path("items.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return sorted(json.loads(line)["page"] for line in lines)


def check_exact(pages: int) -> None:
    """Fail unless each page counts once, and its item is there once."""
    numbers = range(pages)
    found = items()
    assert found == [*numbers], (
        set(numbers) - set(found),
        [n for n in numbers if found.count(n) > 1],
    )
    counts = {f"page {page}": 1 for page in numbers}
    assert left() == 0
    assert state() == {"begun": pages, "done": pages, **counts}

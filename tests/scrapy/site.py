"""Spider programs that crawl a web site of numbered pages."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import autostate
from autostate import PersistedDict
from autostate.runtime.api import close_default
from examples.crawl.site import Site

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


class FaultySite(Site):
    """A site of which some visits get no page: as many as Scrapy's retry middleware makes good.

    Args:
        pages: The number of pages.
        rng: Chooses these visits, at most two of each page: it is unavailable, too busy, or breaks
            off before or in the midst of the answer.
    """

    def __init__(self, pages: int, rng: random.Random) -> None:
        super().__init__(pages)
        ways = (*["none"] * 4, "unavailable", "busy", "no answer", "half an answer")
        self._faults = [rng.choices(ways, k=2) for _ in range(pages)]

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a page; raise an error for no answer."""
        status, headers, body = super().answer(path)
        visit = self.visits[path]
        if path.startswith("/go/") or visit > 2:
            return status, headers, body
        fault = self._faults[int(path[1:])][visit - 1]
        if fault == "no answer":
            raise ConnectionAbortedError
        if fault in ("busy", "unavailable"):
            return (429 if fault == "busy" else 503), {}, b""
        headers = {**headers, "Content-Length": str(len(body))}
        return status, headers, body[: len(body) // 2 if fault == "half an answer" else None]


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

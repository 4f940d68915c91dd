"""Crawls that end again and again while requests fail, and what is left of them."""

from __future__ import annotations

import contextlib
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from autostate.testing import LocalPlatform, Run
from examples.crawl.books import Books, look
from examples.crawl.site import Site
from tests.campaign import size
from tests.in_step.crawls import NAME
from tests.in_step.ends import Ends

ROOT: Final = Path(__file__).parent.parent.parent
ALL_ENDS: Final = size("INSTEP", 0)
"""How many ends a campaign has; 0: this is a short run, with one crawl of each shape."""
CRAWLS: Final = max(2, ALL_ENDS // 10) if ALL_ENDS else 0
IS_FULL: Final = CRAWLS >= 10
"""Whether there is time for crawls beside those that are tried."""
ENDS: Final = ALL_ENDS // CRAWLS if CRAWLS else 2
"""How many containers of a crawl end."""
PAGES: Final = 60 * ENDS if CRAWLS else 36
NOTICE: Final = (0.3, 5.0) if CRAWLS else (0.3, 1.0)
"""The shortest and the longest notice of a migration and of an abort, in seconds."""
FAULTS: Final = 0.3 if CRAWLS else 0.1
"""The share of the requests to the platform that fail."""
SETTLE: Final = 2.0 if CRAWLS else 0.3
"""Seconds after which no request is late."""
PRICES: Final = {"page": 0.01, "apify-default-dataset-item": 0.001}
JSONL: Final = Path("items.jsonl")
"""Where the spider's items go, besides the dataset."""
SAVES: Final = {
    "AUTOSTATE_DEBOUNCE": "0.5",
    "AUTOSTATE_MAX_DELAY": "1.5",
    "APIFY_PERSIST_STATE_INTERVAL_MILLIS": "1500",
}
"""A campaign cannot wait for the minute after which an Actor saves."""


@dataclass(frozen=True)
class Case:
    """A crawl.

    Attributes:
        shape: Its shape: see `crawls.py`, and `spider.py`.
        at_once: How many pages are in work at a time.
        keeper: Who keeps its state.
    """

    shape: str
    at_once: int
    keeper: str = "autostate"

    def __str__(self) -> str:
        return f"{self.shape}, {self.at_once} at once, {self.keeper}"

    @property
    def failing(self) -> int:
        """How many pages fail for good."""
        return 0 if self.shape in {"loop", "plain", "spider"} else 2

    @property
    def others(self) -> dict[str, int]:
        """What it counts in the end besides pages."""
        if self.shape in {"plain", "spider"}:
            return {"next" if self.shape == "plain" else "sum": PAGES}
        return {f"failed {PAGES - n}": 1 for n in range(self.failing, 0, -1)}

    @property
    def command(self) -> list[str]:
        """What runs it."""
        module = "spider" if self.shape == "spider" else "crawls"
        program = f"tests.in_step.{module}"
        return [sys.executable, "-m", program, self.shape, self.keeper, str(SETTLE)]

    def counts(self, run: Run) -> dict[str, int]:
        """Return what it has counted."""
        match self.keeper, self.shape:
            case "autostate", "spider":
                found: Any = run.state("scrapy.pages.state")
            case "autostate", _:
                found = run.state(NAME)
            case "use_state", _:
                found = run.store.get_json("APIFY_GLOBAL_STATE")
            case _:
                found = run.store.get_json(NAME)
        return dict(found)


@dataclass(frozen=True)
class Outcome:
    """How a crawl has ended.

    Attributes:
        run: Its run.
        books: What is there twice, or missing.
        others: What it has counted besides the pages.
        ends: How many containers have ended in which way.
        failures: How often the Actor has failed by itself, as nobody has tried a request again.
    """

    run: Run
    books: Books
    others: dict[str, int]
    ends: Counter[str]
    failures: int


@contextlib.contextmanager
def _site(shape: str) -> Iterator[dict[str, str]]:
    """Serve the pages, if the shape needs a server; give what the Actor is told of it."""
    if shape not in {"parsel", "spider"}:
        yield {}
        return
    with Site(PAGES) as site:
        yield {
            "url": f"{site.url}/",
            **({"items": str(JSONL.absolute())} if shape == "spider" else {}),
        }


def crawl(case: Case, platform: LocalPlatform, rng: random.Random) -> Outcome:
    """Run a crawl whose containers end again and again."""
    given = {"pages": PAGES, "failing": case.failing, "at_once": case.at_once}
    with _site(case.shape) as told:
        platform.faults(probability=FAULTS, seed=rng.randrange(1_000_000))
        run = platform.start_run(
            case.command, env=SAVES, cwd=ROOT, input=given | told, prices=PRICES
        )
        ends = Ends(run, rng, PAGES - case.failing, max(1, PAGES // (ENDS + 2)), NOTICE)
        code, failures = ends.carry_out(ENDS), 0
        while code and case.keeper != "autostate" and failures < ENDS:
            failures += 1
            run.resurrect()  # as somebody does who looks after the run
            code = run.wait(600)
        platform.traffic.heal()
    assert code == 0, run.output
    counts = case.counts(run)
    counted = Counter({int(key): count for key, count in counts.items() if key.isdigit()})
    items = Counter(item["page"] for item in run.dataset.items)
    books = look(range(PAGES - case.failing), counted, items, run)
    others = {key: count for key, count in counts.items() if not key.isdigit()}
    return Outcome(run, books, others, ends.kinds, failures)

"""A spider as an Actor on the local platform."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final

from autostate.testing import LocalPlatform, Run
from tests.actor_runs import script
from tests.scrapy.site import SPIDER, Site

ACTOR: Final = """
import asyncio, sys
from apify.scrapy import run_scrapy_actor

async def main():
    from apify import Actor
    from apify.scrapy.utils import apply_apify_settings
    from scrapy.crawler import AsyncCrawlerRunner
    from scrapy.settings import Settings
    from my_spider import Pages

    async with Actor:
        Pages.custom_settings.pop("AUTOSTATE_ITEMS")
        settings = apply_apify_settings(settings=Settings())
        await AsyncCrawlerRunner(settings).crawl(Pages)
        state = autostate.PersistedDict("scrapy.pages.state")
        print("pages", state["begun"], state["done"], max(state[k] for k in state if " " in k))

import autostate
from autostate.apify.charges import PlatformCharges
from autostate.apify.dataset import PlatformDataset

PlatformDataset.settle = PlatformCharges.settle = 0.3  # no request is late here
autostate.configure(debounce=0.05, max_delay=0.2)
run_scrapy_actor(main())
"""


def start(
    platform: LocalPlatform, site: Site, folder: Path, *, prelude: str = "", **options: Any
) -> Run:
    """Start the Actor, behind some lines of its own; the options are those of the run."""
    spider = SPIDER.replace("sys.argv[1]", repr(site.url))
    (folder / "my_spider.py").write_text(spider, encoding="utf-8")
    command = script(folder, "pass")
    Path(command[1]).write_text(prelude + ACTOR, encoding="utf-8")
    return platform.start_run(command, **options)


def reaching(site: Site, count: int) -> threading.Event:
    """Return an event that is set when so many requests have come."""
    reached = threading.Event()

    def hook(served: int) -> None:
        if served >= count:
            reached.set()

    site.hook = hook
    return reached


def pages_in(run: Run) -> Counter[int]:
    """Count the items in the dataset."""
    return Counter(item["page"] for item in run.dataset.items)

"""A spider as an Actor: killed, moved and aborted, on the local platform."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

from autostate.apify.in_step import DATASET_ITEM
from autostate.testing import LocalPlatform, Run
from examples.crawl.site import Site
from tests.actor_runs import script
from tests.scrapy.site import SPIDER

PAGES = 60

ACTOR = """
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


def start(platform: LocalPlatform, site: Site, folder: Path, **options: Any) -> Run:
    """Start the Actor."""
    spider = SPIDER.replace("sys.argv[1]", repr(site.url))
    (folder / "my_spider.py").write_text(spider, encoding="utf-8")
    command = script(folder, "pass")
    Path(command[1]).write_text(ACTOR, encoding="utf-8")
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


def test_a_migration_in_the_midst(platform: LocalPlatform, tmp_path: Path) -> None:
    """The container waits for the kill without new requests, and the next one goes on."""
    with Site(PAGES) as site:
        reached = reaching(site, 20)
        run = start(platform, site, tmp_path)
        assert reached.wait(60), run.output
        run.wait_connected()
        run.migrate(notice=1.5)
        assert run.wait() == 0, run.output
        # Once: the first container did not come to its end while it waited.
        assert run.output.count(f"pages {PAGES} {PAGES} 1") == 1
        assert len(run.containers) == 2
    assert pages_in(run) == Counter(range(PAGES))


def test_kills_without_notice(platform: LocalPlatform, tmp_path: Path) -> None:
    """Each page counts once, is in the dataset once, and is charged once."""
    with Site(PAGES) as site:
        reached = reaching(site, 15)
        run = start(platform, site, tmp_path, prices={DATASET_ITEM: 0.001})
        for count in (30, 45):
            assert reached.wait(60), run.output
            run.kill()
            reached = reaching(site, count)
            run.start_next_container()
        assert run.wait() == 0, run.output
        assert f"pages {PAGES} {PAGES} 1" in run.output
    assert pages_in(run) == Counter(range(PAGES))
    assert run.charging.counts == {DATASET_ITEM: PAGES}


def test_a_graceful_abort_ends_the_crawl(platform: LocalPlatform, tmp_path: Path) -> None:
    """What is in work is finished, the rest is there if the run is resurrected."""
    with Site(PAGES) as site:
        reached = reaching(site, 20)
        run = start(platform, site, tmp_path)
        assert reached.wait(60), run.output
        run.abort(gracefully=True)
        container = run.start_next_container()
        assert container.wait() == 0, run.output
        assert f"pages {PAGES} {PAGES} 1" in run.output
    assert pages_in(run) == Counter(range(PAGES))

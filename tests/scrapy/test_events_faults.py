"""A spider as an Actor: ended at random moments, on a platform and a site where requests fail."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autostate.apify.in_step import DATASET_ITEM
from autostate.testing import LocalPlatform, Run
from tests.campaign import Tally, size
from tests.scrapy.actor import pages_in, reaching, start
from tests.scrapy.site import Site

CRAWLS = size("SCRAPY", 1)
PAGES = 60
ENDS = 4 if CRAWLS > 1 else 2
FAULTS = {"*/items*": 0.3, "*/charge": 0.3, "*/records/*": 0.3 if CRAWLS > 1 else 0.1}
"""The share of the requests that fail. With more a state takes longer to be opened and saved."""


def end_somehow(run: Run, site: Site, rng: random.Random) -> str:
    """End a container when some more pages were asked for; return how."""
    reached = reaching(site, site.served + rng.randint(1, 25))
    container = run.container
    while container.alive and not reached.wait(0.05):
        pass
    container.ended_within(rng.uniform(0.0, 0.5))
    if not container.alive:
        return "ended"
    way = rng.choice(["killed", "migrated", "aborted"])
    if way == "killed" or not run.is_connected or "Exiting Actor" in container.output:
        run.kill()
        run.start_next_container()
        return "killed"
    if way == "migrated":
        run.migrate(notice=rng.uniform(0.1, 2.0))
    else:
        run.abort(gracefully=True, notice=rng.uniform(0.1, 5.0))
        run.resurrect()
    return way


def finish(run: Run) -> None:
    """Wait for the end. A container that cannot open its state in a minute fails, and says so."""
    for _ in range(3):
        if run.wait(180) == 0:
            return
        assert "the state could not be read" in run.container.output, run.output[-5000:]
        run.start_next_container()
    raise AssertionError("no state can be opened")


def wrong_in(run: Run) -> tuple[list[str], list[str]]:
    """Return what was lost, and what is there twice or left."""
    state = run.state("scrapy.pages.state")
    counted = Counter({int(key[5:]): n for key, n in state.items() if key.startswith("page ")})
    expected, charged = Counter(range(PAGES)), Counter(run.charging.counts)
    charges = Counter({DATASET_ITEM: PAGES})
    pairs: dict[str, tuple[Counter[Any], Counter[Any]]] = {
        "counted": (counted, expected),
        "items": (pages_in(run), expected),
        "charged": (charged, charges),
    }
    lost = [f"{name}: {want - found}" for name, (found, want) in pairs.items() if want - found]
    extra = [f"{name}: {found - want}" for name, (found, want) in pairs.items() if found - want]
    if pending := run.state("scrapy.pages.requests"):
        extra.append(f"pending: {pending}")
    if state["begun"] != state["done"]:
        extra.append(f"half done: {state['begun'] - state['done']}")
    return lost, extra


@pytest.mark.campaign(name="scrapy")
@pytest.mark.usefixtures("forked_actors")
@pytest.mark.parametrize("number", range(CRAWLS))
def test_each_page_counts_once_and_each_item_arrives_once(
    number: int, platform: LocalPlatform, tmp_path: Path, rng: random.Random, tally: Tally
) -> None:
    """After kills, migrations and aborts; three requests to the platform in ten fail."""
    with Site(PAGES, rng) as site:
        run = start(platform, site, tmp_path, prices={DATASET_ITEM: 0.001})
        for path, share in FAULTS.items():
            platform.faults(probability=share, seed=rng.randrange(1000), path=path)
        ends = [end_somehow(run, site, rng) for _ in range(ENDS)]
        finish(run)
    tally.kinds.update(ends)
    lost, extra = wrong_in(run)
    tally.found(f"{ends}: {lost} {extra}", lost=bool(lost), silent=bool(extra))
    tally.trials += len(ends) - 1
    tally.check()


@pytest.mark.campaign(name="scrapy")
@pytest.mark.skipif(CRAWLS == 1, reason="a check of the campaign itself, in `make scrapy`")
def test_without_the_outbox_items_arrive_twice(
    platform: LocalPlatform, tmp_path: Path, rng: random.Random
) -> None:
    """The campaign finds what the outbox is for."""
    direct = """
from autostate.apify import in_step

async def push_data(item):
    from apify import Actor
    await Actor.push_data(item)

in_step.push_data = push_data
"""
    with Site(PAGES) as site:
        run = start(platform, site, tmp_path, prelude=direct)
        for _ in range(5):
            assert reaching(site, site.served + 10).wait(60), run.output[-5000:]
            run.kill()
            run.start_next_container()
        assert run.wait(120) == 0, run.output[-5000:]
    assert pages_in(run) - Counter(range(PAGES))

"""Kills at random moments: state, dataset and charges agree afterwards."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform, Run
from tests.actor_runs import script
from tests.campaign import LONG

pytestmark = pytest.mark.usefixtures("forked_actors")

PAGES = 200 if LONG else 60
ENDS = 5 if LONG else 3
PRICES = {"page": 0.01, "apify-default-dataset-item": 0.001}
PRELUDE = """
import asyncio
import autostate
from apify import Actor
from autostate.apify import api
from autostate.apify.charges import PlatformCharges
from autostate.apify.dataset import PlatformDataset

PlatformDataset.settle = PlatformCharges.settle = 0.3  # no request is late here
autostate.configure(debounce=0.05, max_delay=0.2, in_step=True)
"""
CRAWL = """
    async with Actor:
        counted = autostate.PersistedCounter("counted")
        for page in range(counted["pages"], {pages}):
            with autostate.atomic():
                counted["pages"] += 1
                await Actor.push_data({{"page": page, "t": "háček"}}, charged_event_name={event})
                {charge}
            await asyncio.sleep(0.02)
        await Actor.set_value("COUNTED", counted["pages"])
"""


def progress(run: Run) -> int:
    """How much of the run has arrived."""
    return len(run.dataset.items) + sum(run.charging.counts.values())


def end_somehow(run: Run, rng: random.Random) -> None:
    """Kill the container, or migrate it with notice, at a random moment after some progress."""
    before = progress(run)
    container = run.container
    while container.alive and progress(run) == before:
        container.ended_within(0.02)
    container.ended_within(rng.uniform(0.0, 0.6))
    if not container.alive:
        return
    if rng.random() < 0.5 or "Exiting Actor" in container.output:  # that hears no events
        run.kill()
        run.start_next_container()
    else:
        run.migrate(notice=rng.uniform(0.1, 1.0))


@pytest.mark.parametrize("way", ["charge", "charged event"])
def test_each_item_and_each_event_arrives_once(
    platform: LocalPlatform, tmp_path: Path, rng: random.Random, way: str
) -> None:
    """After kills and migrations, with 30 % of the requests failing."""
    body = CRAWL.format(
        pages=PAGES,
        event='"page"' if way == "charged event" else "None",
        charge='await Actor.charge("page")' if way == "charge" else "",
    )
    run = platform.start_run(script(tmp_path, body, PRELUDE), prices=PRICES)
    run.container.wait_for_output("Initializing")
    seed = rng.randrange(1000)
    for path in ("*/items", "*/charge"):
        platform.faults(probability=0.3, seed=seed, path=path)
    platform.faults(probability=0.05, seed=seed, path="*/records/*")  # more make saves wait
    for _ in range(ENDS):
        end_somehow(run, rng)
    assert run.wait(180) == 0, run.output
    pages = Counter(item["page"] for item in run.dataset.items)
    assert {page: n for page, n in pages.items() if n > 1} == {}, "items are there twice"
    assert sorted(pages) == list(range(PAGES))
    assert run.charging.counts == {"page": PAGES, "apify-default-dataset-item": PAGES}
    assert run.store.get_json("COUNTED") == PAGES

"""Pushes off the platform go to local files, each once however often the process is killed."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from autostate.testing.container import Container, actor_environment
from tests import programs
from tests.campaign import LONG

PAGES = 300 if LONG else 120
PROGRAM = """
import asyncio
import autostate
from apify import Actor

@autostate.actor(in_step=True, debounce=0.02, max_delay=0.1)
async def main():
    counted = autostate.PersistedCounter("counted")
    for page in range(counted["pages"], {pages}):
        with autostate.atomic():
            counted["pages"] += 1
            await Actor.push_data({{"page": page}})
            await Actor.charge("page", count=2)
        await asyncio.sleep(0.005)
    print("COUNTED", counted["pages"])

asyncio.run(main())
"""


def stored(folder: Path, name: str) -> list[dict[str, object]]:
    """The items of a local dataset, in order."""
    files = sorted((folder / "storage/datasets" / name).glob("0*.json"))
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.usefixtures("forked_actors")
def test_files_have_each_item_once(tmp_path: Path, rng: random.Random) -> None:
    """After kills at random moments: items, and what is charged in the local log of charges."""
    program = tmp_path / "main.py"
    program.write_text(PROGRAM.format(pages=PAGES))
    env = actor_environment(
        {"APIFY_PURGE_ON_START": "0", "ACTOR_TEST_PAY_PER_EVENT": "1", "PYTHONUNBUFFERED": "1"},
        {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    kills = 0
    while kills < 5:
        container = Container([sys.executable, str(program)], env, tmp_path)
        before = len(stored(tmp_path, "default"))
        while container.alive and len(stored(tmp_path, "default")) == before:
            container.ended_within(0.02)
        container.ended_within(rng.uniform(0.0, 0.3))
        if not container.alive:
            break
        container.kill()
        kills += 1
    container = Container([sys.executable, str(program)], env, tmp_path)
    assert container.wait(60) == 0, container.output
    assert f"COUNTED {PAGES}" in container.output
    pages = Counter(item["page"] for item in stored(tmp_path, "default"))
    assert pages == dict.fromkeys(range(PAGES), 1)
    events: Counter[object] = Counter()
    for charge in stored(tmp_path, "charging-log"):
        events[charge["event_name"]] += int(str(charge["charged_count"]))
    assert events == {"page": 2 * PAGES, "apify-default-dataset-item": PAGES}


@pytest.mark.usefixtures("forked_programs")
def test_files_that_were_not_counted_are_kept(tmp_path: Path) -> None:
    """A kill between the files of a push and their number: the next push keeps them."""
    code = """
import asyncio, sys
from crawlee.configuration import Configuration
from crawlee.storage_clients._file_system import FileSystemDatasetClient
from autostate.apify.items import encode_item
from autostate.apify.local_dataset import LocalDataset
from autostate.delivery.destination import OutboxItem

async def main():
    given = dict(id=None, name="d", alias=None, configuration=Configuration(storage_dir="storage"))
    client = await FileSystemDatasetClient.open(**given)
    await client.push_data([{"n": 0}, "no dict, which the client writes and cannot read"])
    await client._push_item({"n": 1}, 3)  # and killed
    items = [OutboxItem(f"x-{n}", n, encode_item({"n": n})) for n in (1, 2)]
    client = await FileSystemDatasetClient.open(**given)
    destination = LocalDataset(client)
    arrived, place = await destination.find(items, 1)
    assert (list(arrived), place) == ([1], 3), (arrived, place)
    assert await destination.deliver(items[1:], place) == 4
    assert (await client.get_data(offset=2)).items == [{"n": 1}, {"n": 2}]
    assert (await client.get_metadata()).item_count == 4

asyncio.run(main())
"""
    done = programs.run(code, tmp_path)
    assert done.returncode == 0, done.stderr

"""The history of a state on a server."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict
from tests.campaign import Tally, size

KILLS = size("STORES", 2)
PROGRAM = """
import os
import autostate
from autostate import PersistedDict
with autostate.open(os.environ["URL"], history=1000, debounce=1000, lease=0.5):
    d = PersistedDict("d")
    while True:
        page = d.get("page", 0) + 1
        d["page"], d[f"p{page % 3}"] = page, f"{page}" * 4000
        autostate.flush()
        print(page, flush=True)
"""


def test_commits_are_kept_and_restored(url: str) -> None:
    """Over processes and compactions."""
    for pages in (range(1, 20), range(20, 31)):
        with autostate.open(url, history=1000, debounce=1000):
            d = PersistedDict("d")
            for page in pages:
                d["page"], d[f"p{page % 3}"] = page, f"{page}" * 4000
                autostate.flush()
    assert [each.number for each in autostate.history(url)] == [*range(1, 31)]
    for number in (1, 7, 19, 20, 30):
        with autostate.open(url, at=number, readonly=True):
            assert PersistedDict("d")["page"] == number
    assert autostate.restore(url, at=7) == 31
    with autostate.open(url, readonly=True):
        d = PersistedDict("d")
        assert (d["page"], d["p1"]) == (7, "7" * 4000)


@pytest.mark.campaign(name="stores")
def test_kills_lose_no_commit(url: str, rng: random.Random, tally: Tally) -> None:
    """Each that was acknowledged is listed and opens, wherever a commit or a compaction was."""
    acknowledged = 0
    environment = {**os.environ, "URL": url, "PYTHONPATH": str(Path(__file__).parents[2])}
    ends = list[int]()
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            for _ in range(rng.randint(1, 25)):
                acknowledged = int(program.stdout.readline())
            time.sleep(rng.random() / 50)
            program.kill()
            heard = program.stdout.read().split()
        acknowledged = int(heard[-1]) if heard else acknowledged
        ends.append(acknowledged)
        tally.tried()
    numbers = [each.number for each in autostate.history(url)]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert acknowledged <= len(numbers) <= acknowledged + 1
    for number in {*ends, *rng.sample(numbers, 3)}:
        with autostate.open(url, at=number, readonly=True):
            d = PersistedDict("d")
            assert (d["page"], d[f"p{number % 3}"]) == (number, f"{number}" * 4000)

"""kill -9 at random moments: what was acknowledged is there, and what is there is one moment.

A process is killed at work, or while it makes its store, recovers, or compacts the journal: it
notes which in memory that it shares with the test. `CAMPAIGN_KILLS` sets how many kills there are.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet
from tests.campaign import Tally, size
from tests.peers.forked import ProgramServer

ROOT = Path(__file__).parent.parent.parent
KILLS = size("KILLS", 16)
LIVES = 12
"""So many processes of one state are killed; then another state is begun."""
PHASES = {
    b"\0": "before it began",
    b"m": "in the first creation",
    b"r": "in a recovery",
    b"w": "at work",
    b"c": "in a compaction",
}

CLASSES = """
import dataclasses
import autostate

@autostate.persisted
class Crawl:
    def __init__(self):
        self.n, self.odd, self.last = 0, [], None

@autostate.persisted(name="shop-{number}")
@dataclasses.dataclass(slots=True)
class Shop:
    number: int
    n: int = 0
    visits: dict[str, int] = dataclasses.field(default_factory=dict)
    crawl: Crawl | None = None
"""

WORKER = """
import mmap, random, sys, threading
import autostate
from autostate.journal import Journal, compaction
from autostate.stores import apify_folder, sqlite_file
from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet
from classes import Crawl, Shop

url, seed = sys.argv[1], int(sys.argv[2])
with open("phase", "r+b") as file:
    phase = mmap.mmap(file.fileno(), 1)
def noted(function, letter):
    def call(*args, **options):
        before, phase[0] = phase[0], ord(letter)
        try:
            return function(*args, **options)
        finally:
            phase[0] = before
    return call
Journal.recover = noted(Journal.recover, "r")
Journal.compact = noted(Journal.compact, "c")
sqlite_file._make = noted(sqlite_file._make, "m")
apify_folder.ApifyFolderStore._make_folder = noted(apify_folder.ApifyFolderStore._make_folder, "m")
compaction.FLOOR = 2000  # else no journal of so short a life is compacted
print("ready", flush=True)
rng = random.Random(seed)
autostate.configure(url, debounce=0.005, max_delay=0.02, duty_cycle=0.9)
work = PersistedDict("work", n=0, nested={"by": {}})
seen, log, hits = PersistedSet("seen"), PersistedList("log"), PersistedCounter("hits")
padding = PersistedDict("padding")
crawl, shops = Crawl(), [Shop(number) for number in range(3)]
phase[0] = ord("w")
while True:
    with autostate.atomic():
        n = work["n"] + 1
        work["n"] = n
        work["nested"]["by"].setdefault(str(n % 50), []).append(n)
        seen.add(n)
        log.append(n)
        hits[n % 7] += 1
        padding[rng.randrange(400)] = "x" * rng.randrange(200)
        crawl.n = n
        crawl.last = shop = shops[n % 3]
        if n % 2:
            crawl.odd.append(n)
        shop.n, shop.crawl = n, crawl
        shop.visits[str(n)] = n
    if rng.random() < 0.05:
        autostate.flush()
        print(n, flush=True)
"""


def _wait(rng: random.Random) -> None:
    """Let a worker live for a random while, or until it is in some phase, and a little longer."""
    wanted = rng.choice([None, *PHASES])
    end = time.monotonic() + rng.uniform(0.0, 0.12)
    with (
        Path("phase").open("rb") as file,
        mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ) as phase,
    ):
        while phase[:] != wanted and time.monotonic() < end:
            time.sleep(0.0002)  # the moment of the kill is what is tried here
    time.sleep(rng.uniform(0.0, rng.choice([0.0001, 0.002])))


def _live_and_die(server: ProgramServer, url: str, rng: random.Random) -> tuple[int, str]:
    """Run a worker for a random while, kill it.

    Returns:
        The last number that it acknowledged, and in which phase it was killed.
    """
    Path("phase").write_bytes(b"\0")
    seed = str(rng.randrange(2**32))
    process = server.popen(
        [sys.executable, "worker.py", url, seed],
        env={**os.environ, "PYTHONPATH": str(ROOT), "AUTOSTATE_URL": ""},
        cwd=None,
    )
    assert process.stdout.readline() == "ready\n"
    _wait(rng)
    process.kill()
    lines = process.stdout.read().split("\n")
    process.stdout.close()
    assert process.wait() == -9
    phase = PHASES[Path("phase").read_bytes()]
    return int(lines[-2]) if len(lines) > 1 else 0, phase  # a line without its end does not count


def _resume(url: str) -> int:
    """Resume as a next process would; check that it is one moment; give its number."""
    with autostate.open(url):
        work: PersistedDict[str, Any] = PersistedDict("work", n=0, nested={"by": {}})
        n = int(work["n"])
        by: dict[str, list[int]] = {}
        for number in range(1, n + 1):
            by.setdefault(str(number % 50), []).append(number)
        assert work["nested"] == {"by": by}
        assert PersistedSet("seen") == set(range(1, n + 1))
        assert PersistedList("log") == list(range(1, n + 1))
        assert PersistedCounter("hits") == Counter(number % 7 for number in range(1, n + 1))
        PersistedDict("padding")
        _check_objects(n)
    return n


def _check_objects(n: int) -> None:
    """See that objects of classes are of the same moment, and still the same objects."""
    import classes  # type: ignore[import-not-found] # ty: ignore[unresolved-import]

    crawl, shops = classes.Crawl(), [classes.Shop(number) for number in range(3)]
    assert crawl.n == n
    assert crawl.odd == list(range(1, n + 1, 2))
    assert crawl.last is (shops[n % 3] if n else None)
    for number, shop in enumerate(shops):
        visits = {str(visit): visit for visit in range(1, n + 1) if visit % 3 == number}
        assert shop.visits == visits
        assert shop.n == max(visits.values(), default=0)
        assert shop.crawl is (crawl if visits else None)


@pytest.mark.campaign(name="kills")
@pytest.mark.parametrize("url", ["sqlite:///kills-{}.db", "apify:kills-{}"])
def test_nothing_acknowledged_is_lost_by_kill_9(
    url: str,
    *,
    isolated: Path,
    rng: random.Random,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
    forked_programs: ProgramServer,
) -> None:
    """Over many lives of a state; all objects always agree."""
    (isolated / "worker.py").write_text(WORKER)
    (isolated / "classes.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(isolated)
    monkeypatch.delitem(sys.modules, "classes", raising=False)
    for kill in range(KILLS // 2):
        state = url.format(kill // LIVES)
        least, phase = _live_and_die(forked_programs, state, rng)
        found = _resume(state)
        tally.found(f"{phase}: {found}, not {least}", lost=found < least, silent=found < least)
        tally.kinds[phase] += 1
    tally.check()

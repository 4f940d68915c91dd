"""kill -9 at random moments: what was acknowledged is there, and what is there is one moment.

`AUTOSTATE_KILLS` sets how many kills there are for each store.
"""

from __future__ import annotations

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
from tests.peers.forked import ProgramServer

ROOT = Path(__file__).parent.parent.parent
KILLS = int(os.environ.get("AUTOSTATE_KILLS", "6"))

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
import random, sys, threading
import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet
from classes import Crawl, Shop

url, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
autostate.configure(url, debounce=0.005, max_delay=0.02, duty_cycle=0.9)
work = PersistedDict("work", n=0, nested={"by": {}})
seen, log, hits = PersistedSet("seen"), PersistedList("log"), PersistedCounter("hits")
padding = PersistedDict("padding")
crawl, shops = Crawl(), [Shop(number) for number in range(3)]
print("ready", flush=True)
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


def _live_and_die(server: ProgramServer, url: str, rng: random.Random) -> int:
    """Run a worker for a random while, kill it; give the last number that it acknowledged."""
    seed = str(rng.randrange(2**32))
    process = server.popen(
        [sys.executable, "worker.py", url, seed],
        env={**os.environ, "PYTHONPATH": str(ROOT), "AUTOSTATE_URL": ""},
        cwd=None,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(rng.uniform(0.0, 0.25))  # the moment of the kill is what is tried here
    process.kill()
    lines = process.stdout.read().split("\n")
    process.stdout.close()
    assert process.wait() == -9
    return int(lines[-2]) if len(lines) > 1 else 0  # a last line without its end does not count


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


@pytest.mark.parametrize("url", ["sqlite:///kills.db", "apify:kills"])
def test_nothing_acknowledged_is_lost_by_kill_9(
    isolated: Path,
    rng: random.Random,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    forked_programs: ProgramServer,
) -> None:
    """Over many lives of one state; all objects always agree."""
    (isolated / "worker.py").write_text(WORKER)
    (isolated / "classes.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(isolated)
    monkeypatch.delitem(sys.modules, "classes", raising=False)
    for _ in range(KILLS):
        acknowledged = _live_and_die(forked_programs, url, rng)
        assert _resume(url) >= acknowledged
    assert _resume(url) > 0

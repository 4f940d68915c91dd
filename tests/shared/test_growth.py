"""Writers come and go, and what is stored and read stays as much as it was."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import pytest

from autostate.shared import fold as folding, shelf as shelves
from autostate.shared.kinds import COUNTER, Kind
from autostate.shared.replica import Replica
from tests.campaign import Tally, size
from tests.faulty import STORES, FaultyStore, Promises, Records

WRITERS: Final = size("SHARED", 300)
IS_LONG: Final = WRITERS >= 10_000
"""Whether it is as in a program; else folds are due much earlier."""


class Writers:
    """Processes that come and go, at times that a test chooses.

    Args:
        promises: What the store promises.
    """

    def __init__(self, promises: Promises) -> None:
        self.promises = promises
        self.records: Records = {}
        self.now = 1e9

    def new(self, store: FaultyStore | None = None) -> Replica:
        """Begin a process."""
        made = store or FaultyStore(self.records, **self.promises)
        return Replica(made, now=lambda: self.now)

    def open(self, replica: Replica, name: str, kind: Kind) -> tuple[Any, Any]:
        """Open an object of a process; give its handle and its container."""
        builtin = {"counter": Counter, "set": set, "dict": dict}[kind.name]
        container = replica.open(name, kind, lambda _: builtin())
        return replica.objects[name], container


@pytest.mark.campaign(name="shared")
@pytest.mark.parametrize("store", ["one by one", "conditional"])
def test_past_writers_cost_a_reader_nothing(
    store: str, monkeypatch: pytest.MonkeyPatch, rng: random.Random, tally: Tally
) -> None:
    """Records, bytes and steps have limits that do not depend on how many there were."""
    if not IS_LONG:
        monkeypatch.setattr(folding, "MANY", 4)
        monkeypatch.setattr(folding, "REMEMBERED", 32)
        monkeypatch.setattr(shelves, "ERA", 8)
    writers = Writers(STORES[store])
    most: Counter[str] = Counter()
    for number in range(WRITERS):
        replica = writers.new()
        hits, _ = writers.open(replica, "hits", COUNTER)
        hits.write({"page": 1})
        replica.flush(5.0)
        if rng.random() < 20 / WRITERS or number == WRITERS - 1:
            reading = FaultyStore(writers.records, **writers.promises)
            _, seen = writers.open(writers.new(reading), "hits", COUNTER)
            assert seen == {"page": number + 1}
            most |= Counter(
                records=len(writers.records),
                bytes=sum(map(len, writers.records.values())),
                steps=reading.steps,
            )
    tally.tried(WRITERS)
    tally.note(f"{WRITERS:,} past writers, {store}: at most {dict(most)}")
    assert most["records"] <= folding.MANY + shelves.ERA + 40
    assert most["steps"] <= folding.MANY + 40
    assert most["bytes"] <= 200 * (folding.REMEMBERED + folding.MANY + 64)

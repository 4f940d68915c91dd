"""Writers come and go, and what is stored and read stays as much as it was."""

from __future__ import annotations

import random
from collections import Counter
from typing import Final

import pytest

from autostate.errors import StateTypeError
from autostate.shared import fold as folding, shelf as shelves
from autostate.shared.kinds import COUNTER, SET, DictKind, Kind
from tests.campaign import Tally, size
from tests.faulty import STORES, FaultyStore
from tests.shared.writers import Writers

WRITERS: Final = size("SHARED", 300)
IS_LONG: Final = WRITERS >= 10_000
"""Whether it is as in a program; else folds are due much earlier."""


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
        writers.now += 60.0
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


def test_living_writers_fold_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fold lets all of them wait, and publish again."""
    monkeypatch.setattr(folding, "MANY", 4)
    writers = Writers(STORES["conditional"])
    replicas = [writers.new() for _ in range(40)]
    counters = []
    for replica in replicas:
        counters.append(writers.open(replica, "hits", COUNTER)[0])
        counters[-1].write({"page": 1})
        replica.flush(5.0)
    for _ in range(4):
        for hits, replica in zip(counters, replicas, strict=True):
            hits.write({"page": 1})
            replica.flush(5.0)
    assert replicas[0].shelf.survey().base.through == 1
    for _ in range(5):
        writers.now += folding.INTERVAL
        for hits, replica in zip(counters, replicas, strict=True):
            hits.write({"page": 1})
            replica.flush(5.0)
    assert replicas[0].shelf.survey().base.through <= 4, "it is known how many they are"
    _, seen = writers.open(writers.new(), "hits", COUNTER)
    assert seen == {"page": 400}


def test_writers_that_begin_together_are_no_reason_to_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They live, as far as anybody knows."""
    monkeypatch.setattr(folding, "MANY", 4)
    writers = Writers(STORES["one by one"])
    writers.now = 2e9
    replicas = [writers.new() for _ in range(40)]

    def publish() -> int:
        for replica in replicas:
            writers.open(replica, "hits", COUNTER)
            replica.objects["hits"].write({"page": 1})
            replica.flush(5.0)
        return replicas[0].shelf.survey().base.through

    assert publish() == publish() == 0
    writers.now += folding.INTERVAL
    assert publish() == 1


@pytest.mark.parametrize("skew", [-1e5, 1e5])
def test_writers_whose_clocks_differ_are_taken_for_old(
    skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would fold for those of a clock that is far ahead."""
    monkeypatch.setattr(folding, "MANY", 4)
    writers = Writers(STORES["one by one"])
    for clock in (2e9 + skew, 2e9):
        writers.now = clock
        for _ in range(5):
            replica = writers.new()
            writers.open(replica, "hits", COUNTER)[0].write({"page": 1})
            replica.flush(5.0)
    assert writers.new().shelf.survey().base.through == 1


def test_very_many_writers_at_once_let_a_fold_be_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would fill the store before the interval is over."""
    monkeypatch.setattr(folding, "MANY", 4)
    writers = Writers(STORES["conditional"])
    most = 0
    for _ in range(6 * folding.MOST * 4):
        replica = writers.new()
        hits, _ = writers.open(replica, "hits", COUNTER)
        hits.write({"page": 1})
        replica.flush(5.0)
        most = max(most, replica.shelf.survey().lineages)
    assert most <= folding.MOST * 4 + 1


def test_removals_are_forgotten() -> None:
    """Members that came and went leave nothing behind."""
    for promises in STORES.values():
        writers = Writers(promises)
        for turn in range(3):
            replica = writers.new()
            seen, _ = writers.open(replica, "seen", SET)
            for value in (True, False):
                seen.write({f"member {turn}": value})
            replica.flush(5.0)
            writers.fold()
            # Two processes remove the same member, and cannot know of each other.
            others = [writers.new() for _ in range(2)]
            removing = [writers.open(each, "seen", SET)[0] for each in others]
            removing[0].write({f"member {turn}": True})
            others[0].flush(5.0)
            others[1].refresh()
            for each in removing:
                each.write({f"member {turn}": False})
            others[0].flush(5.0)
            writers.fold()
            others[1].flush(5.0)
            writers.fold()
        writers.fold()
        base = writers.new().shelf.read().base
        assert base.objects.get("seen", {}).get("set", {}) == {}


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        (DictKind(min), DictKind(min), None),
        (DictKind(min), DictKind(), "in one program and not in another"),
        (DictKind(min), SET, "is a dict in one program and a set in another"),
    ],
    ids=["function", "in one only", "two kinds"],
)
def test_a_fold_waits_for_nobody_who_can_merge(one: Kind, other: Kind, error: str | None) -> None:
    """Programs that share other objects of the store go on; what they cannot merge is kept."""
    writers = Writers(STORES["conditional"])
    replicas = [writers.new(), writers.new()]
    handles = [
        writers.open(*each)[0]
        for each in ((replicas[0], "best", one), (replicas[1], "best", other))
    ]
    for replica, handle, value in zip(replicas, handles, (5, 7), strict=True):
        handle.write({"price": value})
        replica.flush(5.0)
    for _ in range(2):  # the second one has nothing new
        writers.fold()
    hits, seen = writers.open(later := writers.new(), "hits", COUNTER)
    hits.write({"page": 1})
    later.flush(5.0)
    assert seen == {"page": 1}
    for kind, told in ((one, error), (DictKind(), error or "merged by a function")):
        if told is None:
            assert writers.open(writers.new(), "best", kind)[1] == {"price": 5}
        else:
            with pytest.raises(StateTypeError, match=told):
                writers.open(writers.new(), "best", kind)
    if error is None:
        best, merged = writers.open(last := writers.new(), "best", one)
        best.write({"price": 6})
        last.flush(5.0)
        writers.fold()
        assert writers.open(writers.new(), "best", one)[1] == merged == {"price": 5}

"""Changes that are larger than one record: published in portions, or refused when they are made."""

from __future__ import annotations

import operator
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate.errors import UnsupportedTypeError
from autostate.shared.kinds import COUNTER, SET, DictKind, Kind
from autostate.shared.portions import FRAME, divided
from autostate.shared.replica import Replica, Shared
from autostate.shared.shelf import LargeLineError
from autostate.stores import open_store
from autostate.stores.sqlite import SqliteStore
from tests.faulty import SHARING_STORES, FaultyStore, Records, Step

RECORD = FRAME + 4_000


class Program:
    """A process that shares a counter, a set and a dict in small records."""

    def __init__(self, records: Records, promises: Any, merge: Any = None) -> None:
        self.store = FaultyStore(records, self._count, **promises, max_record=RECORD)
        self.records = records
        self.most = 0
        self.replica = Replica(self.store)
        self.objects: dict[str, Shared] = {}
        self.hits: Counter[Any] = self._open("hits", COUNTER, Counter())
        self.seen: set[Any] = self._open("seen", SET, set())
        self.best: dict[Any, Any] = self._open("best", DictKind(merge), {})

    def _open(self, name: str, kind: Kind, container: Any) -> Any:
        def made(shared: Shared) -> Any:
            self.objects[shared.name] = shared
            return container

        return self.replica.open(name, kind, made)

    def _count(self, step: Step) -> None:
        step.apply()
        self.most = max(self.most, *map(len, self.records.values()), 0)


@pytest.mark.parametrize("store", SHARING_STORES)
def test_a_large_update_is_published_whole(store: str) -> None:
    """Also beside others; no record is larger than one may be, and nothing counts twice."""
    records: Records = {}
    one, other = (Program(records, SHARING_STORES[store]) for _ in range(2))
    members = {f"https://example.com/{number}" for number in range(1_000)}
    for program in (one, other):
        program.objects["seen"].write(dict.fromkeys(members, True))
        program.objects["hits"].write({f"key {number}": 1 for number in range(300)})
        program.objects["best"].write({"last": "x" * 3_000})
    one.replica.flush(60.0)
    other.replica.flush(60.0)
    one.objects["hits"].write({"key 7": 1})
    one.replica.flush(60.0)
    found = Program(records, SHARING_STORES[store])
    assert found.seen == members
    assert found.hits == {f"key {number}": 3 if number == 7 else 2 for number in range(300)}
    assert found.best == {"last": "x" * 3_000}
    assert max(one.most, other.most) <= RECORD


def test_small_changes_are_not_divided() -> None:
    """What one call writes is there together, if it fits into a record."""
    records: Records = {}
    one = Program(records, SHARING_STORES["conditional"])
    for _ in range(3):
        one.objects["hits"].write({f"key {number}": 1 for number in range(100)})
        steps = one.store.steps
        one.replica.writer.publish()
        assert one.store.steps == steps + 1


@pytest.mark.parametrize("store", SHARING_STORES)
def test_an_entry_that_fits_into_no_record_is_refused(store: str) -> None:
    """When it is written; before, everybody who read the state afterwards got an error."""
    one = Program({}, SHARING_STORES[store])
    for name, operations in (
        ("best", {"large": "x" * RECORD}),
        ("best", {"x" * RECORD: 1}),
        ("seen", {"fine": True, "é" * (RECORD // 2): True}),
        ("hits", {"fine": 1, "x" * RECORD: 1}),
    ):
        with pytest.raises(UnsupportedTypeError, match=r"take [0-9,]+ bytes .* may have 4,000"):
            one.objects[name].write(operations)
    one.objects["best"].write({"large": "x" * 3_900})
    one.replica.flush(60.0)
    assert (one.hits, one.seen, one.best) == ({}, set(), {"large": "x" * 3_900})


def test_a_merged_value_that_fits_into_no_record_is_refused() -> None:
    """A function may make a large value of small ones."""
    one = Program({}, SHARING_STORES["conditional"], merge=operator.add)
    one.objects["best"].write({"log": "x" * 2_500})
    with pytest.raises(UnsupportedTypeError, match=r"take 5,0.. bytes"):
        one.objects["best"].write({"log": "x" * 2_500})
    assert one.best == {"log": "x" * 2_500}


def test_no_record_that_is_too_large_is_ever_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has made it: the change stays in memory, and nobody else is disturbed."""
    monkeypatch.setattr("autostate.shared.held.check_size", lambda *_: None)
    records: Records = {}
    one, other = (Program(records, SHARING_STORES["conditional"]) for _ in range(2))
    one.objects["best"].write({"large": "x" * RECORD})
    with pytest.raises(LargeLineError, match=r"take 4,... bytes, and a record may have 4,256"):
        one.replica.flush(1.0)
    other.objects["hits"].write({"page": 1})
    other.replica.flush(1.0)
    assert Program(records, SHARING_STORES["conditional"]).hits == {"page": 1}


def test_changes_are_divided_in_their_order() -> None:
    """Each portion has at least one entry, and none is lost."""
    objects: Any = {"a": ("counter", {"x": 1, "y" * 50: 2, "z": 3}), "b": ("set", {"x": [{}, {}]})}
    found, rest = [], objects
    while rest:
        portion, rest = divided(rest, 20)
        found += [(n, k, e) for n, (_, entries) in portion.items() for k, e in entries.items()]
    assert found == [(n, k, e) for n, (_, each) in objects.items() for k, e in each.items()]
    assert divided(objects, 10_000) == (objects, {})


def test_a_program_with_a_state_of_its_own_publishes_portions(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each item of its outbox fits into a record of the shared state."""
    monkeypatch.setattr(SqliteStore, "max_record", 20_000)
    autostate.configure(f"sqlite:///{isolated}/own.db", shared=f"sqlite:///{isolated}/shared.db")
    progress = autostate.PersistedDict("progress", page=1)
    seen, hits = autostate.SharedSet("seen"), autostate.SharedCounter("hits")
    members = {f"https://example.com/{number}" for number in range(2_000)}
    with autostate.atomic():
        seen.update(members)
        hits.update(members)
        progress["page"] += 1
    with pytest.raises(UnsupportedTypeError, match="may have 19,"):
        hits["x" * 20_000] += 1
    autostate.flush()
    reader = Replica(open_store(f"sqlite:///{isolated}/shared.db"))
    counts: Counter[Any] = reader.open("hits", COUNTER, lambda _: Counter())
    assert counts == dict.fromkeys(members, 1)
    reader.close()

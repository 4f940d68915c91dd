"""What it takes to make a further shared object."""

from __future__ import annotations

from typing import Any

import pytest

from autostate.shared import replica as replicas
from autostate.shared.kinds import COUNTER, SET
from tests.faulty import SHARING_STORES, FaultyStore
from tests.shared.writers import Writers


@pytest.mark.parametrize("metered", [True, False], ids=["metered", "free"])
@pytest.mark.parametrize("store", SHARING_STORES)
def test_a_further_object_asks_a_paid_store_for_nothing(
    store: str, metered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows what was read for the former one; after some seconds it reads again."""
    writers = Writers(SHARING_STORES[store])

    def publish(member: str) -> None:
        other = writers.new()
        writers.open(other, "seen", SET)[0].write({member: True})
        other.flush(5.0)

    publish("a")
    counted = FaultyStore(writers.records, **writers.promises, metered=metered)
    me = writers.new(counted)
    writers.open(me, "hits", COUNTER)
    before = counted.steps
    publish("b")
    _, seen = writers.open(me, "seen", SET)
    is_kept = metered and store != "conditional"  # where it would take a request for each lineage
    assert (counted.steps == before, seen) == (is_kept, {"a"} if is_kept else {"a", "b"})
    me.refresh()
    assert seen == {"a", "b"}
    publish("c")
    monkeypatch.setattr(replicas, "METERED_AGE", 0.0)
    writers.open(me, "again", COUNTER)
    assert seen == {"a", "b"}, "only the new object is filled"
    me.show()
    assert seen == {"a", "b", "c"}


def test_its_age_is_that_of_the_reading() -> None:
    """It does not look younger than it is."""
    writers = Writers(SHARING_STORES["one by one"])
    me = writers.new(FaultyStore(writers.records, **writers.promises, metered=True))
    made: dict[str, Any] = {name: writers.open(me, name, COUNTER)[0] for name in ("hits", "again")}
    assert made["hits"].read_at == made["again"].read_at
    me.refresh()
    assert made["hits"].read_at == made["again"].read_at


def test_a_reading_is_as_good_however_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second object of a large state would always be read for again."""
    writers = Writers(SHARING_STORES["one by one"])
    store = FaultyStore(writers.records, **writers.promises, metered=True)

    class Clock:
        def monotonic(self) -> float:
            return 7.0 * store.steps

    monkeypatch.setattr(replicas, "time", Clock())
    me = writers.new(store)
    hits, _ = writers.open(me, "hits", COUNTER)
    steps = store.steps
    again, _ = writers.open(me, "again", COUNTER)
    assert steps > 1
    assert store.steps == steps
    assert hits.read_at == again.read_at == 0.0

"""A store that was restored from a backup, or deleted, beside processes that go on."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from autostate.shared import setback
from autostate.shared.kinds import COUNTER
from autostate.shared.setback import Setback
from autostate.shared.shelf import Reading
from tests.faulty import SHARING_STORES
from tests.shared.writers import Writers, hits

TOLD = "of an earlier moment than before"


@pytest.mark.parametrize("folds", [0, 2])
@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize("store", SHARING_STORES)
def test_a_process_goes_on_from_what_is_there(
    store: str,
    is_deleted: bool,
    folds: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It shows what all others see, and tells it once; before, each refresh was an error."""
    monkeypatch.setattr(setback, "PATIENCE", 0.0)
    writers = Writers(SHARING_STORES[store])
    mine, other = writers.new(), writers.new()
    ours, seen = writers.open(mine, "hits", COUNTER)
    theirs, _ = writers.open(other, "hits", COUNTER)

    def count() -> None:
        for replica, counter, key in ((mine, ours, "mine"), (other, theirs, "other")):
            counter.write({key: 1})
            replica.flush(5.0)

    count()
    backup = {} if is_deleted else dict(writers.records)
    count()
    for _ in range(folds):
        writers.fold()
    mine.refresh()
    assert seen == {"mine": 2, "other": 2}
    writers.records.clear()
    writers.records.update(backup)
    for _ in range(2):
        mine.refresh(1.0)
        ours.write({"mine": 1})
        mine.flush(5.0)
    mine.refresh(1.0)
    assert caplog.text.count(TOLD) == 1
    assert seen == Counter(hits(writers))
    counted = 2 + (not folds or not is_deleted) + (not folds)
    assert seen["mine"] == counted
    assert seen["other"] == (not is_deleted)
    writers.fold()
    mine.refresh(1.0)
    assert seen == Counter(hits(writers))


def test_a_reading_that_was_overtaken_is_no_step_back(caplog: pytest.LogCaptureFixture) -> None:
    """Another thread has read later, and was faster."""
    writers = Writers(SHARING_STORES["conditional"])
    mine, other = writers.new(), writers.new()
    _, seen = writers.open(mine, "hits", COUNTER)
    theirs, _ = writers.open(other, "hits", COUNTER)
    read = mine.shelf.read

    def overtaken(timeout: float | None = None) -> Reading:
        found = read(timeout)
        mine.shelf.read = read  # type: ignore[method-assign]
        theirs.write({"page": 1})
        other.flush(5.0)
        mine._read(None)
        return found

    mine.shelf.read = overtaken  # type: ignore[method-assign]
    mine.refresh(1.0)
    assert seen == {"page": 1}
    assert TOLD not in caplog.text


def test_a_store_that_lags_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a reading is not of one moment, only what lasts is a step back."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(setback, "time", clock)
    found = Setback("memory:", is_one_step=False)
    assert not found.is_certain()
    clock.now += setback.PATIENCE - 1
    assert not found.is_certain()
    found.clear()
    clock.now += 2
    assert not found.is_certain()
    clock.now += setback.PATIENCE
    assert found.is_certain()

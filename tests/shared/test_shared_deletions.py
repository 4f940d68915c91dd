"""Deletions in shared dicts are remembered, whatever the clocks say."""

from __future__ import annotations

import pytest

from autostate.shared import kinds
from autostate.shared.handle import ABSENT
from autostate.shared.kinds import DictKind
from autostate.shared.replica import Replica
from tests.faulty import STORES
from tests.shared.writers import Writers

YEAR = 365 * 24 * 3600.0


@pytest.fixture(params=STORES.values(), ids=[*STORES])
def writers(request: pytest.FixtureRequest) -> Writers:
    """Processes over one store."""
    return Writers(request.param)


def change(writers: Writers, operations: dict[str, object]) -> Replica:
    """Change a dict in a process of its own, and publish."""
    replica = writers.new()
    writers.open(replica, "last", DictKind())[0].write(operations)
    replica.flush(5.0)
    return replica


def shown(writers: Writers) -> dict[str, object]:
    """What a new process sees."""
    return dict(writers.open(writers.new(), "last", DictKind())[1])


def stored(writers: Writers) -> dict[str, object]:
    """What the base has of the dict."""
    found: dict[str, object] = writers.new().shelf.read().base.objects["last"]["dict"]
    return found


@pytest.mark.parametrize("skew", [-YEAR, YEAR, 1e13], ids=["behind", "ahead", "far ahead"])
def test_no_clock_decides_which_deletion_is_forgotten(writers: Writers, skew: float) -> None:
    """A process whose clock is wrong writes and folds; a value that is late stays deleted."""
    change(writers, {"k": 1})
    writers.fold()
    late = writers.new()
    writers.open(late, "last", DictKind())[0].write({"k": 2})
    writers.now += 1.0
    change(writers, {"k": ABSENT})
    writers.fold()
    now, writers.now = writers.now, writers.now + skew
    for turn in range(3):
        change(writers, {"other": turn})
        writers.fold()
    writers.now = now
    late.flush(5.0)
    late.refresh()
    assert shown(writers) == {"other": 2}
    change(writers, {"k": 3})
    assert shown(writers) == {"other": 2, "k": 3}, "a later value counts"


def test_the_last_deletions_are_remembered(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are keys, and at least some thousands: here 4."""
    monkeypatch.setattr(kinds, "DELETIONS", 4)
    for number in range(10):
        change(writers, {f"key {number}": 1})
        change(writers, {f"key {number}": ABSENT})
        writers.fold()
    assert [*stored(writers)] == [f"key {number}" for number in range(6, 10)]
    change(writers, {f"there {number}": 1 for number in range(6)})
    for number in range(10, 20):
        change(writers, {f"key {number}": ABSENT})
        writers.fold()
    left = {key for key in stored(writers) if key.startswith("key")}
    assert left == {f"key {number}" for number in range(14, 20)}


def test_deletions_of_the_last_generations_stay(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: of those others have not heard yet."""
    monkeypatch.setattr(kinds, "DELETIONS", 4)
    many = dict.fromkeys((f"key {number}" for number in range(20)), ABSENT)
    change(writers, {**many})
    for _ in range(2):
        writers.fold()
        assert len(stored(writers)) == 20
    writers.fold()
    assert len(stored(writers)) == 4


def test_a_key_that_is_deleted_again_is_remembered_anew(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place is that of the last deletion."""
    monkeypatch.setattr(kinds, "DELETIONS", 2)
    for key in ("a", "b", "a", "c"):
        change(writers, {key: 1})
        change(writers, {key: ABSENT})
        writers.fold()
    for _ in range(2):
        writers.fold()
    assert {*stored(writers)} == {"a", "c"}


def test_a_fold_without_news_writes_no_deletions(writers: Writers) -> None:
    """What is remembered is written once."""
    change(writers, dict.fromkeys((f"key {number}" for number in range(100)), ABSENT))
    writers.fold()
    before = {key: len(data) for key, data in writers.records.items()}
    writers.fold()
    new = {key: len(data) for key, data in writers.records.items()}
    assert sum(new.values()) - sum(before.values()) < 1_000

"""Followers of the cuts: told what is durable, never before it is, and by the owner alone."""

from __future__ import annotations

from typing import Any

import pytest

import autostate
from autostate import PersistedDict
from autostate.deadline import Deadline
from autostate.errors import FencedError, StoreUnavailableError
from autostate.journal import Journal
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from tests.saving.flushing import CALM, Box, FaultyStore, failing


class Noted:
    """A follower that notes what it is told."""

    def __init__(self, *, waits: bool = True) -> None:
        self.waits = waits
        self.cuts: list[int] = []
        self.told: list[int] = []

    def taken(self, number: int) -> None:
        self.cuts.append(number)

    def durable(self, number: int) -> None:
        self.told.append(number)


class Saving:
    """A flush job that a test calls by hand, with a follower."""

    def __init__(self, *, conditional: bool = True, waits: bool = True) -> None:
        self.box, self.store = Box(), FaultyStore(conditional=conditional)
        self.journal = Journal(self.store)
        self.journal.recover()
        self.noted = Noted(waits=waits)
        self.box.followers.append(self.noted)
        tracker: Any = self.box
        self.policy = FlushPolicy(CALM)
        self.job = FlushJob(tracker, self.journal, self.policy, conditional=conditional)
        self.job.pause = lambda _: None

    def flush(self) -> None:
        self.job.flush((), Deadline.after(5.0))


def test_a_follower_is_told_the_cut_that_has_become_durable() -> None:
    """Each flush tells its number."""
    saving = Saving()
    for number in (1, 2):
        saving.box.write("page", number)
        saving.flush()
    assert saving.noted.told == [1, 2]


def test_a_follower_is_not_told_of_a_commit_that_failed() -> None:
    """The next commit, which has the same changes, tells it."""
    saving = Saving()
    saving.store.before_write = failing(1, OSError("no"))
    saving.box.write("page")
    with pytest.raises(OSError, match="no"):
        saving.flush()
    assert saving.noted.told == []
    saving.flush()
    assert saving.noted.told == [2]


def test_where_a_store_accepts_any_write_the_owner_is_checked_first() -> None:
    """A later process has begun: what this one writes is not kept, and nobody is told it is."""
    saving = Saving(conditional=False)
    saving.box.write("page")
    saving.flush()
    assert saving.noted.told == [1]
    Journal(saving.store).recover()  # another process takes over
    other = Journal(saving.store)
    other.recover()
    other.commit([b'{"id": 1, "kind": "dict", "name": "other", "assign": {}}'])
    saving.box.write("page", 2)
    with pytest.raises(FencedError):
        saving.flush()
    assert saving.noted.told == [1]


def test_nobody_waits_and_the_owner_is_not_asked() -> None:
    """The check costs a read: without a follower that waits it comes later, with many saves."""
    asking, other = Saving(conditional=False), Saving(conditional=False, waits=False)
    for saving in (asking, other):
        saving.box.write("page")
        saving.flush()
    assert (asking.policy.unchecked, other.policy.unchecked) == (False, True)
    assert other.noted.told == []


def test_a_silent_store_is_asked_again_and_then_the_follower_is_told() -> None:
    """The commit is done; only whose it is is not known yet."""
    saving = Saving(conditional=False)
    check, silent = saving.journal.check_owner, [StoreUnavailableError("silent")]

    def once_silent(*, timeout: float | None = None) -> None:
        if silent:
            raise silent.pop()
        check(timeout=timeout)

    saving.journal.check_owner = once_silent  # type: ignore[method-assign]
    saving.box.write("page")
    saving.flush()
    assert saving.noted.told == []
    saving.job.check_owner(Deadline.after(5.0))
    assert saving.noted.told == [1]


def test_a_follower_that_raises_does_not_hinder_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, and the save has succeeded."""
    saving = Saving()

    class Bad(Noted):
        def durable(self, number: int) -> None:
            raise ValueError("bad")

    saving.box.followers.insert(0, Bad())
    saving.box.write("page")
    saving.flush()
    assert saving.noted.told == [1]
    assert "a follower of saves raised" in caplog.text


async def test_a_cut_is_seen_without_the_writes_of_open_blocks() -> None:
    """An item of an open block is not in the cut, and so not durable."""
    seen: list[tuple[int, dict[str, int]]] = []
    async with autostate.open("memory:") as manager:
        state = PersistedDict[str, int]("state")

        class Looking(Noted):
            def taken(self, number: int) -> None:
                seen.append((number, dict(state)))

        manager._tracker().followers.append(Looking())
        with autostate.atomic():
            state["inside"] = 1
            capture = manager._tracker().cut()
            assert capture is not None
            capture.failed()
        await autostate.durable()
    assert [content for _, content in seen][:2] == [{}, {"inside": 1}]
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})

"""How much time a flush and a compaction of a large state have: no clock is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autostate.deadline import Deadline
from autostate.journal import Journal
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from tests.saving.flushing import CALM, Box, BoxCapture, FaultyStore


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A flush job on a machine that is slow to encode.

    Args:
        monkeypatch: For the captures of the box.
        seconds: What encoding takes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.clock, self.box, self.store = Clock(), Box(), FaultyStore()
        self.journal = Journal(self.store)
        self.journal.recover()
        self.policy = FlushPolicy(CALM)
        tracker: Any = self.box
        self.job = FlushJob(
            tracker,
            self.journal,
            self.policy,
            clock=self.clock,
        )
        self.job.pause = lambda _: None
        encode = BoxCapture.encode

        def slowly(capture: BoxCapture, pause: Callable[[], None] | None = None) -> list[bytes]:
            self.clock.now += seconds
            return encode(capture, pause)

        monkeypatch.setattr(BoxCapture, "encode", slowly)

    def flush(self) -> None:
        """Flush with the time that a flush has when nobody waits for it."""
        deadline = Deadline(self.policy.deadline(self.clock.now), self.clock)
        deadline.sooner = self.policy.kill_at
        self.job.flush((), deadline)


def test_the_store_has_its_own_time_after_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large first save takes longer than `flush_timeout` to encode, and is saved all the same."""
    slow = Slow(monkeypatch, CALM.flush_timeout * 3)
    slow.box.write("page")
    slow.flush()
    assert slow.job.statistics().flushes == 1
    [timeout] = slow.store.timeouts
    assert timeout is not None
    assert timeout >= CALM.flush_timeout / 2


def test_an_announced_kill_bounds_it_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left before the kill is all the time that the store gets."""
    slow = Slow(monkeypatch, 3.0)
    slow.box.write("page")
    slow.policy.announce_kill(slow.clock.now, 4.0)
    slow.flush()
    [timeout] = slow.store.timeouts
    assert timeout is not None
    assert timeout <= 1.0


def test_the_last_save_ends_when_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the process somebody waits, and goes when the time is over."""
    slow = Slow(monkeypatch, 3.0)
    slow.box.write("page")
    slow.policy.last = True
    slow.job.flush((), Deadline.after(4.0, slow.clock))
    [timeout] = slow.store.timeouts
    assert timeout is not None
    assert timeout <= 1.0


def test_a_compaction_of_any_size_has_the_timeout_for_each_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time of a compaction is not limited, only the time that the store may take to answer."""
    slow = Slow(monkeypatch, 0.0)
    asked: list[float] = []

    def compact(*, pause: Callable[[], None], timeout: float) -> frozenset[int]:
        asked.append(timeout)
        return frozenset()

    monkeypatch.setattr(slow.journal, "compact", compact)
    monkeypatch.setattr(Journal, "needs_compaction", True)
    slow.job.compact(lambda: None)
    assert asked == [CALM.flush_timeout]

"""Attempts to save: how often, how long, and what is told meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

import autostate
from autostate import hub
from autostate.errors import FlushError, StoreError, StoreUnavailableError
from tests.saving.flushing import CALM, WAIT, FaultyStore, Listen, Make, failing, waiting_for


def test_an_unreached_store_gets_the_same_bytes_again(make: Make) -> None:
    """Within a flush's time a commit is repeated, not made anew."""
    bench = make()
    bench.store.before_write = failing(2, StoreUnavailableError("not reached"))
    bench.box.write("a")
    bench.flush_thread.flush()
    assert len(bench.store.writes) == 3
    assert bench.store.writes[0] == bench.store.writes[1] == bench.store.writes[2]
    assert bench.stored() == {"a": 1}


def test_attempts_share_the_time_that_is_left(make: Make) -> None:
    """One attempt never takes all of it, so that a hung connection is tried again."""
    bench = make(CALM.changed(flush_timeout=20))
    bench.store.before_write = failing(2, StoreUnavailableError("not reached"))
    bench.box.write("a")
    bench.flush_thread.flush()
    assert len(bench.store.timeouts) == 3
    assert all(timeout is not None and timeout <= 10 for timeout in bench.store.timeouts)


def test_an_announced_kill_bounds_the_attempts(make: Make) -> None:
    """Timeouts fit into `time_remaining`, also for a flush that had begun before."""
    bench = make()
    first = threading.Event()

    def before_write() -> None:
        if not first.is_set():
            first.set()
            bench.flush_thread.announce_kill(4.0)
            raise StoreUnavailableError("not reached")

    bench.store.before_write = before_write
    bench.box.write("a")
    bench.flush_thread.flush()
    assert len(bench.store.timeouts) == 2
    assert bench.store.timeouts[1] is not None
    assert bench.store.timeouts[1] <= 2.0


def test_the_first_failed_attempt_is_told_before_the_flush_gives_up(
    make: Make, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, in the statistics, by the signal, and to a caller who does not wait longer."""
    failed = listen(hub.flush_failed)
    bench = make()
    full = StoreUnavailableError("the disk is full", lasting=True)
    bench.store.before_write = failing(10**6, full)
    bench.box.write("a")
    late = r"not saved within 1 s: the .*attempts? to save failed: the disk is full; .*about"
    with caplog.at_level(logging.WARNING, logger="autostate"):
        with pytest.raises(FlushError, match=late) as raised:
            bench.flush_thread.flush(timeout=0.9999)
        assert failed.get(timeout=WAIT)["failures"] == 1
    assert raised.value.__cause__ is full
    assert "saving failed: StoreUnavailableError: the disk is full" in caplog.text
    told = bench.flush_thread.job.statistics()
    assert told.failures == told.failing >= 1
    assert told.last_error == "the disk is full"
    bench.store.before_write = lambda: None
    bench.flush_thread.flush()
    assert "saving works again" in caplog.text
    told = bench.flush_thread.job.statistics()
    assert (told.last_error, told.unsaved_bytes) == (None, 0)


def test_what_is_under_way_counts_as_unsaved(make: Make) -> None:
    """While the store does not answer; with what was written since."""
    bench = make()
    writing, go_on = threading.Event(), threading.Event()
    bench.store.before_write = waiting_for(go_on, writing)
    bench.box.write("a")
    bench.flush_thread.flush_soon()
    assert writing.wait(WAIT)
    assert not bench.box.dirty
    assert bench.flush_thread.job.dirty
    told = bench.flush_thread.job.statistics()
    assert told.unsaved_bytes > 0
    assert told.staleness > 0
    bench.box.write("b")
    assert bench.flush_thread.job.statistics().unsaved_bytes == told.unsaved_bytes + 10
    go_on.set()
    bench.flush_thread.flush()
    told = bench.flush_thread.job.statistics()
    assert (told.unsaved_bytes, told.staleness) == (0, 0)


def test_a_store_that_is_held_up_is_told_before_its_time_is_over(make: Make) -> None:
    """The first attempt of a small commit waits shortly, a large one and the second do not."""
    bench = make(start=False)
    bench.flush_thread.job._first_wait = 0.5
    bench.store.before_write = failing(1, StoreUnavailableError("locked"))
    bench.box.write("a")
    bench.flush_thread.flush()
    bench.box.write("b", "x" * (2 << 20))
    bench.flush_thread.flush()
    first, second, large = bench.store.timeouts
    assert first is not None
    assert first <= 0.5
    assert second is not None
    assert second > 1
    assert large is not None
    assert large > 1


def test_a_store_that_does_not_answer_shows_at_once() -> None:
    """Wherever one may look, before the attempt has failed, and not when it is over."""
    store = FaultyStore()
    asked, answer = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        assert answer.wait(WAIT)

    with autostate.open(store, debounce=0) as manager:
        state = autostate.PersistedDict("state", x=1)
        manager.flush()
        assert manager.statistics().waiting == manager.info(state).waiting == 0
        store.before_write = hang
        state["x"] = 2
        assert asked.wait(WAIT)
        try:
            told = manager.statistics()
            assert told.waiting
            assert told.last_error is None
            assert manager.info(state).waiting
            with pytest.raises(FlushError, match="the store has not answered for"):
                manager.flush(timeout=0)
        finally:
            answer.set()
        manager.flush()
        assert manager.statistics().waiting == manager.info(state).waiting == 0


@pytest.mark.parametrize("how", ["stop", "durable"])
def test_an_end_does_not_wait_for_what_waiting_does_not_mend(make: Make, how: str) -> None:
    """A few attempts; also of a flush that had begun before the end came."""
    bench = make(CALM.changed(flush_timeout=3600))
    failed = threading.Event()

    def full() -> None:
        failed.set()
        raise StoreUnavailableError("the disk is full", lasting=True)

    bench.store.before_write = full
    bench.box.write("a")
    bench.flush_thread.flush_soon()
    assert failed.wait(WAIT)
    with pytest.raises(FlushError, match="the disk is full"):
        if how == "stop":
            bench.flush_thread.stop(3600)
        else:
            asyncio.run(bench.flush_thread.durable(ending=True))


def test_what_failed_is_saved_by_a_later_flush(make: Make) -> None:
    """Nothing is lost by a failure, and newer values win."""
    bench = make(start=False)
    bench.box.write("a", 1)
    bench.box.write("b", 1)
    bench.store.before_write = failing(1, StoreError("no"))
    with pytest.raises(FlushError):
        bench.flush_thread.flush()
    bench.box.write("a", 2)
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 2, "b": 1}


def test_failures_are_loud_at_growing_intervals(
    make: Make, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is an error in the log; of nine, four are; the signal tells all."""
    failed = listen(hub.flush_failed)
    bench = make(start=False)
    bench.box.write("a")
    bench.store.before_write = failing(9, StoreError("the disk is full"))
    with caplog.at_level(logging.WARNING, logger="autostate"):
        for _ in range(9):
            with pytest.raises(FlushError):
                bench.flush_thread.flush()
        logged = [record for record in caplog.records if "saving failed" in record.message]
        assert len(logged) == 4
        assert "the disk is full" in logged[0].message
        assert [failed.get_nowait()["failures"] for _ in range(9)] == list(range(1, 10))
        bench.flush_thread.flush()
    assert "saving works again after 9 failures" in caplog.text

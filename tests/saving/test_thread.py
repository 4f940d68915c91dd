"""The flush thread saves by itself, compacts, and ends."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from autostate import hub
from autostate.errors import (
    FencedError,
    FlushError,
    StoreError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from autostate.journal import Journal
from autostate.saving.statistics import Statistics
from tests.saving.flushing import EAGER, WAIT, Listen, Make, failing, waiting_for


def unavailable() -> None:
    """What a store does that is not reached."""
    raise StoreUnavailableError("not reached")


# -- saving by itself -----------------------------------------------------------------------


def test_a_write_is_saved_without_being_asked(make: Make, listen: Listen) -> None:
    """The thread is woken by the write and decides by itself."""
    flushed = listen(hub.flushed)
    bench = make(EAGER)
    bench.box.write("a")
    told = flushed.get(timeout=WAIT)
    assert told["entries"] == 1
    assert told["bytes"] > 0
    assert bench.stored() == {"a": 1}


def test_nothing_changed_nothing_written(make: Make) -> None:
    """A flush of a clean state costs no write."""
    bench = make()
    bench.box.write("a")
    for _ in range(3):
        bench.flush_thread.flush()
    assert len(bench.store.writes) == 1


def test_what_changes_without_a_mark_is_polled(make: Make) -> None:
    """A tracker with values that only a cut compares is cut although nothing is dirty."""
    bench = make(EAGER, start=False)
    seen = threading.Event()
    bench.box.needs_polling = bench.box.hides_changes = True
    bench.box.on_cut = seen.set
    bench.flush_thread.start()
    assert seen.wait(WAIT)


def test_a_look_that_finds_nothing_is_followed_by_no_cut(make: Make) -> None:
    """A cut would hold the event loop."""
    bench = make(EAGER, start=False)
    bench.box.needs_polling = True
    for _ in range(20):
        bench.flush_thread._turn()
    assert bench.box.looks > 1
    assert not bench.box.cuts
    bench.box.unsaved = {"a": 1}  # past the barrier: the thread is not woken
    bench.flush_thread._turn()
    assert len(bench.box.cuts) == 1


@pytest.mark.parametrize("max_delay", [0.0, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("hides_changes", [False, True])
def test_an_idle_thread_wakes_once_a_second_at_most(
    make: Make, monkeypatch: pytest.MonkeyPatch, max_delay: float, hides_changes: bool
) -> None:
    """It looks for changes without a mark, and writes nothing."""
    now = [100.0]
    settings = EAGER.changed(max_delay=max_delay)
    bench = make(settings, start=False, clock=lambda: now[0])
    bench.box.needs_polling, bench.box.hides_changes = True, hides_changes
    waits: list[float] = []

    def wait(timeout: float | None) -> None:
        assert timeout is not None
        waits.append(timeout)
        now[0] += timeout

    monkeypatch.setattr(bench.flush_thread, "_gather", wait)
    while now[0] < 400.0:
        bench.flush_thread._turn()
    assert len([wait for wait in waits if wait]) <= 300 / max(max_delay, 1.0) + 5
    assert bench.box.looks <= len(waits) + 1
    assert len(bench.box.cuts) == bench.box.looks * hides_changes
    assert not bench.store.writes


def test_a_wake_is_one_message_however_many_writes(make: Make) -> None:
    """Ten thousand containers that become dirty do not wake the thread ten thousand times."""
    bench = make(start=False)
    for number in range(10_000):
        bench.box.write(str(number))
    assert bench.flush_thread._inbox.qsize() <= 1


def test_an_error_of_its_own_does_not_end_the_thread(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in a cut is logged, and the next flush works."""
    bench = make()
    bench.box.write("a")
    bench.box.cut_error = ZeroDivisionError("bug")
    with pytest.raises(FlushError) as raised:
        bench.flush_thread.flush()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "bug" in caplog.text
    bench.box.cut_error = None
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}


# -- entries that cannot be saved --------------------------------------------------------------


def test_an_unsupported_entry_does_not_keep_the_rest_from_being_saved(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Explicit flushes raise each time, the log says it once."""
    bench = make()
    bench.box.write("good")
    bench.box.unsupported = [
        UnsupportedTypeError('box["bad"]', "a lock cannot be saved"),
        UnsupportedTypeError('box["worse"]', "a lock cannot be saved"),
    ]
    for _ in range(3):
        with pytest.raises(UnsupportedTypeError, match="bad") as raised:
            bench.flush_thread.flush()
        assert "worse" in str(raised.value.__notes__)
    assert bench.stored() == {"good": 1}
    assert caplog.text.count('box["bad"]') == 1
    assert bench.flush_thread.job.statistics().failures == 0


# -- ownership --------------------------------------------------------------------------------


def test_a_fenced_flush_thread_stops_for_good(
    make: Make, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """A later process has taken over: a critical log, a signal, and flush() raises."""
    fenced = listen(hub.fenced)
    bench = make()
    bench.box.write("a")
    bench.flush_thread.flush()
    later = Journal(bench.store)
    later.recover()
    later.commit([b'{"id":1,"put":{"later":1}}'])
    writes = len(bench.store.writes)
    bench.box.write("b")
    for _ in range(2):
        with pytest.raises(FencedError):
            bench.flush_thread.flush()
    assert len(bench.store.writes) == writes + 1
    assert fenced.get(timeout=WAIT)
    assert fenced.empty()
    assert [record.levelno for record in caplog.records].count(logging.CRITICAL) == 1
    assert bench.flush_thread.job.statistics().fenced
    assert bench.stored() == {"a": 1, "later": 1}


def test_an_explicit_flush_checks_the_owner_where_the_store_does_not(make: Make) -> None:
    """On a store without conditions another incarnation's takeover is found by listing."""
    bench = make(conditional=False)
    bench.box.write("a")
    bench.flush_thread.flush()
    later = Journal(bench.store)
    later.recover()
    later.commit([b'{"id":1,"put":{"later":1}}'])
    bench.box.write("b")
    with pytest.raises(FencedError):
        bench.flush_thread.flush()


def test_an_idle_flush_asks_the_store_nothing(make: Make) -> None:
    """Without a commit since the last check there is nothing to confirm: listings cost money."""
    bench = make(conditional=False)
    bench.box.write("a")
    bench.flush_thread.flush()
    listings = bench.store.listings
    for _ in range(5):
        bench.flush_thread.flush()
    assert bench.store.listings == listings


def test_commits_made_by_itself_are_checked_after_a_while(make: Make, listen: Listen) -> None:
    """Also when the program falls idle after the last one."""
    fenced = listen(hub.fenced)
    flushed = listen(hub.flushed)
    settings = EAGER.changed(check_interval=0.3)
    bench = make(settings, conditional=False)
    bench.box.write("a")
    flushed.get(timeout=WAIT)
    later = Journal(bench.store)
    later.recover()
    later.commit([b'{"id":1,"put":{"later":1}}'])
    assert isinstance(fenced.get(timeout=WAIT)["error"], FencedError)


# -- compaction -------------------------------------------------------------------------------


def test_the_journal_is_compacted_when_it_is_time(make: Make) -> None:
    """Many large commits do not pile up."""
    bench = make()
    for number in range(200):
        bench.box.write(f"key{number % 10}", "x" * 20_000)
        bench.flush_thread.flush()
    bench.flush_thread.flush()
    assert bench.flush_thread.job.statistics().compactions > 0
    assert set(bench.stored()) == {f"key{number}" for number in range(10)}


def test_a_flush_does_not_wait_for_a_compaction(make: Make, monkeypatch: Any) -> None:
    """Between its slices the thread serves who waits; the compaction goes on after that."""
    bench = make()
    served = threading.Event()
    began = threading.Event()

    def compact(*, pause: Callable[[], None], timeout: float | None) -> frozenset[int]:
        began.set()
        while not served.is_set():
            pause()
        return frozenset({7})

    due = iter([True])
    monkeypatch.setattr(bench.journal, "compact", compact)
    monkeypatch.setattr(
        type(bench.journal), "needs_compaction", property(lambda _: next(due, False))
    )
    bench.box.write("a")
    bench.flush_thread.flush()
    assert began.wait(WAIT)
    bench.box.write("b")
    bench.flush_thread.flush(timeout=WAIT)
    assert bench.stored() == {"a": 1, "b": 1}
    served.set()
    bench.flush_thread.stop(WAIT)
    assert bench.box.collected_ids == {7}


def test_a_compaction_that_is_due_again_needs_no_flush(make: Make, monkeypatch: Any) -> None:
    """Commits went on meanwhile, and no flush comes after them: the thread compacts once more."""
    bench = make()
    compact = bench.journal.compact
    began, quiet, again = threading.Event(), threading.Event(), threading.Event()
    late = json.dumps({"id": 1, "put": {"late": "y" * 20_000}}).encode()

    def busy(*, pause: Callable[[], None], timeout: float | None) -> frozenset[int]:
        if began.is_set():
            again.set()
            return compact(pause=pause, timeout=timeout)
        began.set()
        while not quiet.is_set():
            pause()
        left_out = compact(pause=lambda: None, timeout=timeout)
        while not bench.journal.needs_compaction:
            bench.journal.commit([late])
        return left_out

    monkeypatch.setattr(bench.journal, "compact", busy)
    while not began.is_set():
        bench.box.write("early", "x" * 20_000)
        bench.flush_thread.flush()
    quiet.set()
    assert again.wait(WAIT)
    bench.flush_thread.stop(WAIT)
    assert not bench.journal.needs_compaction
    assert bench.stored().keys() == {"early", "late"}


def test_a_failed_compaction_is_logged_and_not_repeated_at_once(
    make: Make, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Saving goes on without it."""
    bench = make(start=False)
    calls = itertools.count()

    def compact(**_: Any) -> frozenset[int]:
        next(calls)
        raise StoreUnavailableError("not reached")

    monkeypatch.setattr(bench.journal, "compact", compact)
    monkeypatch.setattr(type(bench.journal), "needs_compaction", property(lambda _: True))
    bench.flush_thread.start()
    for number in range(5):
        bench.box.write(str(number))
        bench.flush_thread.flush()
    bench.close()
    assert next(calls) == 1
    assert "could not be compacted" in caplog.text
    assert len(bench.stored()) == 5


# -- the end -----------------------------------------------------------------------------------


def test_stop_saves_and_ends_the_thread(make: Make) -> None:
    """The last save, once."""
    bench = make()
    bench.box.write("a")
    bench.flush_thread.stop(WAIT)
    assert bench.stored() == {"a": 1}
    assert len(bench.store.writes) == 1
    assert bench.flush_thread._thread is not None
    assert not bench.flush_thread._thread.is_alive()
    with pytest.raises(FlushError, match="closed"):
        bench.flush_thread.flush()


def test_a_last_save_that_fails_leaves_its_changes_to_be_spilled(make: Make) -> None:
    """They are in `unsaved`, and stop() ends in time."""
    bench = make()
    bench.store.before_write = unavailable
    bench.box.write("a")
    with pytest.raises(FlushError):
        bench.flush_thread.stop(0.5)
    assert b'"a"' in b"".join(bench.flush_thread.job.unsaved)


def test_stop_ends_in_time_although_the_store_hangs(make: Make) -> None:
    """The changes on their way are still known."""
    bench = make()
    go_on = threading.Event()
    bench.store.before_write = waiting_for(go_on)
    bench.box.write("a")
    with pytest.raises(FlushError):
        bench.flush_thread.stop(0.3)
    assert b'"a"' in b"".join(bench.flush_thread.job.unsaved)
    go_on.set()


def test_statistics_tell_what_was_done(make: Make) -> None:
    """Flushes, writes, bytes, entries, staleness."""
    bench = make(start=False)
    assert bench.flush_thread.job.statistics() == Statistics()
    bench.box.write("a")
    bench.box.write("b")
    assert bench.flush_thread.job.statistics().unsaved_bytes == 20
    bench.flush_thread.flush()
    done = bench.flush_thread.job.statistics()
    assert (done.flushes, done.entries, done.failing, done.staleness) == (1, 2, 0, 0.0)
    assert done.bytes >= sum(map(len, bench.store.writes[0].values()))
    assert bench.flush_thread.job.saved_at is not None


def test_staleness_is_the_age_of_the_oldest_unsaved_change(make: Make) -> None:
    """Also after failures."""
    bench = make(start=False)
    now = 100.0
    bench.flush_thread._clock = lambda: now
    bench.flush_thread.job.clock = lambda: now
    bench.box.write("a")
    bench.flush_thread._policy.step(bench.flush_thread._observe())
    bench.store.before_write = failing(1, StoreError("no"))
    now = 107.0
    with pytest.raises(FlushError, match=r"the oldest for 7\.0 s"):
        bench.flush_thread.flush()
    assert bench.flush_thread.job.statistics().staleness == 7.0


@pytest.mark.parametrize("which", ["_thread.start_new_thread", "threading.Thread.start"])
def test_no_thread_can_be_started(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    """As at the end of the interpreter: flush() works nevertheless. Or there is only one left."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(which, refuse)
    bench = make()
    while bench.flush_thread.busy():
        time.sleep(0.001)
    assert ("no thread could be started" in caplog.text) is which.startswith("_thread")
    bench.box.write("a")
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}

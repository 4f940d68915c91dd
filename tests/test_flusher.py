"""The flush thread saves in its thread, and `flush()` always ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import autostate
from autostate import hub
from autostate.errors import (
    FencedError,
    FlushError,
    StoreError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from autostate.journal import Journal
from autostate.saving.job import Statistics
from autostate.settings import Settings
from tests.flushing import CALM, EAGER, Bench, FaultyStore

WAIT = 120.0
"""Seconds after which a test that waits for an event fails."""


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    """Make flush threads that are ended after the test."""
    made: list[Bench] = []

    def maker(settings: Settings = CALM, *, start: bool = True, **options: Any) -> Bench:
        bench = Bench(settings, **options)
        made.append(bench)
        if start:
            bench.flush_thread.start()
        return bench

    yield maker
    for bench in made:
        bench.store.before_write = lambda: None
        bench.close()


@pytest.fixture
def listen() -> Iterator[Callable[[hub.HubSignal], queue.SimpleQueue[dict[str, Any]]]]:
    """Collect what a signal of the hub tells, until the test ends."""
    connected: list[tuple[hub.HubSignal, Callable[..., None]]] = []

    def listener(signal: hub.HubSignal) -> queue.SimpleQueue[dict[str, Any]]:
        heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        def receive(sender: object, **details: Any) -> None:
            heard.put(details)

        signal.connect(receive)
        connected.append((signal, receive))
        return heard

    yield listener
    for signal, receive in connected:
        signal.disconnect(receive)


Listen = Callable[[hub.HubSignal], "queue.SimpleQueue[dict[str, Any]]"]
Make = Callable[..., Bench]


def unavailable() -> None:
    """What a store does that is not reached."""
    raise StoreUnavailableError("not reached")


def waiting_for(event: threading.Event) -> Callable[[], None]:
    """Hang until a test has seen enough."""

    def wait() -> None:
        event.wait(WAIT)

    return wait


def failing(times: int, error: Exception) -> Callable[[], None]:
    """Fail so often, then work."""
    left = itertools.count(times, -1)

    def before_write() -> None:
        if next(left) > 0:
            raise error

    return before_write


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
    """A tracker that needs polling is cut although nothing is dirty."""
    bench = make(EAGER, start=False)
    seen = threading.Event()
    bench.box.needs_polling = True
    bench.box.on_cut = seen.set
    bench.flush_thread.start()
    assert seen.wait(WAIT)


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


# -- flush() --------------------------------------------------------------------------------


def test_what_was_written_before_flush_is_durable_after_it(make: Make) -> None:
    """Whatever the debounce."""
    bench = make()
    for number in range(20):
        bench.box.write(str(number))
        bench.flush_thread.flush()
        assert str(number) in bench.stored()


def test_flush_works_without_the_thread(make: Make) -> None:
    """Not started, or gone: the caller does the work."""
    bench = make(start=False)
    bench.box.write("a")
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}


def test_ctrl_c_in_a_caller_that_does_the_work_is_ctrl_c(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no error of the flush; what it would have saved comes with the next one."""
    bench = make(start=False)
    bench.box.write("a")

    def strike(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bench.flush_thread._job, "_cut", strike)
        with pytest.raises(KeyboardInterrupt):
            bench.flush_thread.flush()
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}


def test_flush_works_when_the_thread_dies_meanwhile(make: Make) -> None:
    """A waiting caller notices that nobody will answer."""
    bench = make(start=False)
    gone = threading.Thread(target=threading.Event().wait, args=(0.3,), daemon=True)
    gone.start()
    bench.flush_thread._thread = gone  # a thread that lives for a moment and serves nobody
    bench.box.write("a")
    bench.flush_thread.flush(timeout=WAIT)
    gone.join()
    assert bench.stored() == {"a": 1}


def test_callers_that_come_together_share_one_flush(make: Make) -> None:
    """Eight threads that wait while the store is busy take one more write, not eight."""
    bench = make()
    busy, go_on = threading.Event(), threading.Event()

    def before_write() -> None:
        busy.set()
        go_on.wait(WAIT)

    bench.store.before_write = before_write
    bench.box.write("first")
    callers = [threading.Thread(target=bench.flush_thread.flush) for _ in range(9)]
    callers[0].start()
    assert busy.wait(WAIT)
    bench.box.write("second")
    for caller in callers[1:]:
        caller.start()
    while len(bench.flush_thread._requests) < 9:  # all have asked
        threading.Event().wait(0.01)
    go_on.set()
    for caller in callers:
        caller.join(WAIT)
    assert len(bench.store.writes) == 2
    assert bench.stored() == {"first": 1, "second": 1}


def test_a_flush_never_shares_a_cut_made_before_the_call(make: Make) -> None:
    """What is written while a flush is under way is durable after the *next* flush()."""
    bench = make()
    busy, go_on = threading.Event(), threading.Event()

    def before_write() -> None:
        busy.set()
        go_on.wait(WAIT)

    bench.store.before_write = before_write
    bench.box.write("first")
    early = threading.Thread(target=bench.flush_thread.flush)
    early.start()
    assert busy.wait(WAIT)
    bench.box.write("late")
    late = threading.Thread(target=bench.flush_thread.flush)
    late.start()
    go_on.set()
    late.join(WAIT)
    early.join(WAIT)
    assert "late" in bench.stored()


def test_flush_says_in_time_that_it_is_late(make: Make) -> None:
    """A store that hangs does not hang the caller; the message says what is unsaved."""
    bench = make()
    go_on = threading.Event()
    bench.store.before_write = waiting_for(go_on)
    bench.box.write("a")
    late = r"not saved within 0\.1 s: the store has not answered for .* s; about .* bytes"
    with pytest.raises(FlushError, match=late):
        bench.flush_thread.flush(timeout=0.1)
    go_on.set()
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}


def test_a_refusing_store_is_reported_with_its_reason(make: Make) -> None:
    """No retries where the store says that they will not help."""
    bench = make()
    bench.store.before_write = failing(1, StoreError("the disk is full"))
    bench.box.write("a")
    with pytest.raises(FlushError, match="the disk is full") as raised:
        bench.flush_thread.flush()
    assert isinstance(raised.value.__cause__, StoreError)
    assert len(bench.store.writes) == 1
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}


def test_flush_is_refused_to_receivers_of_the_flush_threads_signals(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """In the thread that saves it could only wait for itself."""
    bench = make()
    bench.box.write("a")

    def receive(sender: object, **details: Any) -> None:
        bench.flush_thread.flush()

    with hub.flushed.connected_to(receive):
        bench.flush_thread.flush()
    assert "in the thread that saves" in caplog.text


def test_two_waiting_threads_get_exceptions_of_their_own(make: Make) -> None:
    """A shared exception object would collect the tracebacks of all."""
    bench = make()
    bench.store.before_write = failing(1, StoreError("no"))
    busy = threading.Event()
    bench.box.on_cut = waiting_for(busy)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            bench.flush_thread.flush()
        except FlushError as error:
            errors.append(error)

    bench.box.write("a")
    bench.flush_thread._inbox.put(None)
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    busy.set()
    for thread in threads:
        thread.join(WAIT)
    assert len({id(error) for error in errors}) == len(errors)


# -- retries --------------------------------------------------------------------------------


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
    told = bench.flush_thread.statistics()
    assert told.failures == told.failing >= 1
    assert told.last_error == "the disk is full"
    bench.store.before_write = lambda: None
    bench.flush_thread.flush()
    assert "saving works again" in caplog.text
    told = bench.flush_thread.statistics()
    assert (told.last_error, told.unsaved_bytes) == (None, 0)


def test_what_is_under_way_counts_as_unsaved(make: Make) -> None:
    """While the store does not answer; with what was written since."""
    bench = make()
    writing, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        writing.set()
        go_on.wait(WAIT)

    bench.store.before_write = hang
    bench.box.write("a")
    bench.flush_thread.flush_soon()
    assert writing.wait(WAIT)
    assert not bench.box.dirty
    assert bench.flush_thread.dirty
    told = bench.flush_thread.statistics()
    assert told.unsaved_bytes > 0
    assert told.staleness > 0
    bench.box.write("b")
    assert bench.flush_thread.statistics().unsaved_bytes == told.unsaved_bytes + 10
    go_on.set()
    bench.flush_thread.flush()
    told = bench.flush_thread.statistics()
    assert (told.unsaved_bytes, told.staleness) == (0, 0)


def test_a_store_that_is_held_up_is_told_before_its_time_is_over(make: Make) -> None:
    """The first attempt of a small commit waits shortly, a large one and the second do not."""
    bench = make(start=False)
    bench.flush_thread._job._first_wait = 0.5
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
    assert bench.flush_thread.statistics().failures == 0


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
    assert bench.flush_thread.statistics().fenced
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


# -- atomic blocks --------------------------------------------------------------------------


def test_flush_waits_for_the_end_of_another_threads_atomic_block(make: Make) -> None:
    """A block is never cut."""
    bench = make()
    refused = threading.Event()
    bench.box.on_cut = refused.set
    with bench.box.atomic():
        bench.box.write("a")
        caller = threading.Thread(target=bench.flush_thread.flush)
        caller.start()
        assert refused.wait(WAIT)
        bench.box.write("b")
        assert bench.store.writes == []
    caller.join(WAIT)
    assert bench.stored() == {"a": 1, "b": 1}


@pytest.mark.parametrize("start", [True, False])
def test_flush_gives_up_on_a_block_that_does_not_end(make: Make, start: bool) -> None:
    """The error says why nothing was saved."""
    bench = make(start=start)
    with bench.box.atomic():
        bench.box.write("a")
        with pytest.raises(FlushError, match="atomic"):
            bench.flush_thread.flush(timeout=0.3)


# -- event loops ------------------------------------------------------------------------------


async def test_a_running_loop_stands_still_during_the_cut(make: Make) -> None:
    """What happens between two awaits is saved together; Ctrl-C does not strike in the cut."""
    bench = make()
    loop = bench.box.on_loop = asyncio.get_running_loop()
    went_on = threading.Event()
    still: list[bool] = []
    cut = bench.box.cut

    def cut_slowly(**options: Any) -> Any:
        loop.call_soon_threadsafe(went_on.set)
        still.append(not went_on.wait(0.05))
        return cut(**options)

    bench.box.cut = cut_slowly  # type: ignore[method-assign]
    bench.box.write("a")
    await bench.flush_thread.durable()
    assert still == [True]
    assert [(thread == threading.get_ident(), all_) for thread, all_ in bench.box.cuts] == [
        (False, True)
    ]
    assert bench.stored() == {"a": 1}


async def test_flush_on_the_loops_thread_cuts_while_it_stands_still(make: Make) -> None:
    """Blocking the loop in flush() does not wait for the loop: no deadlock, no patience used."""
    bench = make(CALM.changed(flush_timeout=36_000.0))
    bench.box.on_loop = asyncio.get_running_loop()
    bench.box.write("a")
    bench.flush_thread.flush(timeout=WAIT)
    assert len(bench.box.cuts) == 1
    assert bench.stored() == {"a": 1}


async def test_flush_on_the_loops_thread_meets_a_cut_that_waits_for_the_loop(make: Make) -> None:
    """A capture had begun by itself and waits for the loop, which now stands still in flush()."""
    bench = make(EAGER.changed(max_delay=3600.0, flush_timeout=36_000.0), start=False)
    asked = threading.Event()

    class Watched:
        """This loop, telling that it was asked."""

        def is_running(self) -> bool:
            return True

        def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
            asked.set()  # it will never come to that

        def __eq__(self, other: object) -> bool:
            return other is loop

        __hash__ = None  # type: ignore[assignment]

    loop = asyncio.get_running_loop()
    bench.box.on_loop = Watched()
    bench.box.write("a")
    bench.flush_thread.start()
    assert asked.wait(WAIT)
    bench.flush_thread.flush(timeout=WAIT)
    assert bench.stored() == {"a": 1}


async def test_a_blocked_loop_holds_up_a_capture_for_max_delay_only(
    make: Make, listen: Listen
) -> None:
    """Then the flush thread cuts itself."""
    flushed = listen(hub.flushed)
    bench = make(EAGER.changed(max_delay=0.2))
    bench.box.on_loop = asyncio.get_running_loop()
    bench.box.write("a")
    flushed.get(timeout=WAIT)  # blocks this loop
    assert bench.stored() == {"a": 1}
    await asyncio.sleep(0)  # the late callback of the loop does not cut again
    assert len(bench.box.cuts) == 1


async def test_a_loop_that_stays_blocked_is_told_once_and_not_waited_for_again(
    make: Make, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it has run: then a cut waits for it again, and the next block is another one."""
    flushed = listen(hub.flushed)
    bench = make(EAGER.changed(max_delay=0.6))
    bench.box.on_loop = asyncio.get_running_loop()
    for number in range(3):
        bench.box.write("a", number)
        flushed.get(timeout=WAIT)  # blocks this loop
    bench.flush_thread._job._patience = lambda deadline: deadline  # type: ignore[method-assign]
    bench.box.write("b")
    flushed.get(timeout=WAIT)  # the loop is still in the same callback
    [told] = [one.message for one in caplog.records if "event loop has been blocked" in one.message]
    assert "asyncio.to_thread" in told
    assert "in line" in told
    await asyncio.sleep(0)  # the callbacks of the cuts run
    bench.box.write("c")
    await bench.flush_thread.durable()
    assert not bench.flush_thread._job._late_loop.is_late(asyncio.get_running_loop())


def test_a_loop_that_stops_meanwhile_does_not_hold_up_a_capture(make: Make) -> None:
    """A callback that is never called is not waited for."""
    bench = make(CALM.changed(flush_timeout=36_000.0))
    loop = asyncio.new_event_loop()

    class Stopped:
        """Was running when the tracker was asked, and is not any more."""

        def is_running(self) -> bool:
            return next(asked) == 0

        def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(callback)

    asked = itertools.count()
    bench.box.on_loop = Stopped()
    bench.box.write("a")
    bench.flush_thread.flush(timeout=WAIT)
    loop.close()
    assert bench.stored() == {"a": 1}


async def test_durable_raises_what_went_wrong(make: Make) -> None:
    """As flush() does."""
    bench = make()
    bench.store.before_write = failing(1, StoreError("the disk is full"))
    bench.box.write("a")
    with pytest.raises(FlushError, match="the disk is full"):
        await bench.flush_thread.durable()


async def test_durable_does_not_block_the_loop(make: Make) -> None:
    """The loop goes on while the store is busy."""
    bench = make()
    go_on = threading.Event()
    bench.store.before_write = waiting_for(go_on)
    bench.box.write("a")
    waiting = asyncio.ensure_future(bench.flush_thread.durable())
    await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    await waiting
    assert bench.stored() == {"a": 1}


async def test_durable_is_late_in_time(make: Make) -> None:
    """A store that hangs does not hang the task."""
    bench = make()
    go_on = threading.Event()
    bench.store.before_write = waiting_for(go_on)
    bench.box.write("a")
    with pytest.raises(FlushError, match=r"not saved within 0\.1 s"):
        await bench.flush_thread.durable(timeout=0.1)
    go_on.set()


async def test_a_cancelled_durable_harms_nobody(make: Make) -> None:
    """The flush goes on, the next one works."""
    bench = make()
    bench.box.write("a")
    task = asyncio.ensure_future(bench.flush_thread.durable())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.flush_thread.durable()
    assert bench.stored() == {"a": 1}


async def durable_for_ever(bench: Bench) -> None:
    """A worker that saves each of its many steps."""
    for number in range(1000):
        bench.box.write(f"key{number}")
        await bench.flush_thread.durable()


async def within_a_timeout(bench: Bench) -> None:
    """The same, with a limit that is never reached."""
    async with asyncio.timeout(WAIT * 10):
        await durable_for_ever(bench)


async def within_a_group(bench: Bench) -> None:
    """The same, as one of a group, which is cancelled as a whole."""
    async with asyncio.TaskGroup() as group:
        group.create_task(durable_for_ever(bench))


def when_durable(bench: Bench, call: Callable[[], object]) -> None:
    """Call, in the event loop, right after the outcome of a flush has come to it."""
    loop = asyncio.get_running_loop()
    before = bench.flush_thread.statistics().flushes
    bench.box.write("last")
    bench.flush_thread.flush(WAIT)  # blocks the loop: what the task waits for is queued meanwhile
    assert bench.flush_thread.statistics().flushes > before
    loop.call_soon(call)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("worker", [durable_for_ever, within_a_timeout, within_a_group])
async def test_a_task_that_is_cancelled_together_with_the_outcome_ends(
    make: Make, worker: Callable[[Bench], Any], times: int
) -> None:
    """However close they are, however often it is cancelled, and whatever is around it."""
    bench = make()

    def cancel() -> None:
        for _ in range(times):
            task.cancel()

    task = asyncio.ensure_future(worker(bench))
    for _ in range(3):  # the task has begun, and that of its group
        await asyncio.sleep(0)
    when_durable(bench, cancel)
    await asyncio.wait([task], timeout=WAIT)
    assert task.cancelled()


async def test_a_second_cancellation_ends_a_durable_that_cleans_up(make: Make) -> None:
    """A task that saves when it is cancelled is cancelled again while it does."""
    bench = make()

    async def save_at_the_end() -> None:
        try:
            await asyncio.sleep(WAIT * 10)
        finally:
            await durable_for_ever(bench)

    task = asyncio.ensure_future(save_at_the_end())
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    when_durable(bench, task.cancel)
    await asyncio.wait([task], timeout=WAIT)
    assert task.cancelled()


async def test_a_timeout_that_comes_together_with_the_outcome_is_told(make: Make) -> None:
    """The block of `asyncio.timeout` ends with its TimeoutError, not with the next turn."""
    bench = make()

    async def limited() -> None:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            await durable_for_ever(bench)

    limits: list[asyncio.Timeout] = []
    task = asyncio.ensure_future(limited())
    for _ in range(3):
        await asyncio.sleep(0)
    when_durable(bench, lambda: limits[0].reschedule(0))
    await asyncio.wait([task], timeout=WAIT)
    with pytest.raises(TimeoutError):
        await task


# -- compaction -------------------------------------------------------------------------------


def test_the_journal_is_compacted_when_it_is_time(make: Make) -> None:
    """Many large commits do not pile up."""
    bench = make()
    for number in range(200):
        bench.box.write(f"key{number % 10}", "x" * 20_000)
        bench.flush_thread.flush()
    bench.flush_thread.flush()
    assert bench.flush_thread.statistics().compactions > 0
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
    assert b'"a"' in b"".join(bench.flush_thread.unsaved)


def test_stop_ends_in_time_although_the_store_hangs(make: Make) -> None:
    """The changes on their way are still known."""
    bench = make()
    go_on = threading.Event()
    bench.store.before_write = waiting_for(go_on)
    bench.box.write("a")
    with pytest.raises(FlushError):
        bench.flush_thread.stop(0.3)
    assert b'"a"' in b"".join(bench.flush_thread.unsaved)
    go_on.set()


def test_statistics_tell_what_was_done(make: Make) -> None:
    """Flushes, writes, bytes, entries, staleness."""
    bench = make(start=False)
    assert bench.flush_thread.statistics() == Statistics()
    bench.box.write("a")
    bench.box.write("b")
    assert bench.flush_thread.statistics().unsaved_bytes == 20
    bench.flush_thread.flush()
    done = bench.flush_thread.statistics()
    assert (done.flushes, done.entries, done.failing, done.staleness) == (1, 2, 0, 0.0)
    assert done.bytes >= sum(map(len, bench.store.writes[0].values()))
    assert bench.flush_thread.saved_at is not None


def test_staleness_is_the_age_of_the_oldest_unsaved_change(make: Make) -> None:
    """Also after failures."""
    bench = make(start=False)
    now = 100.0
    bench.flush_thread._clock = lambda: now
    bench.flush_thread._job._clock = lambda: now
    bench.box.write("a")
    bench.flush_thread._policy.step(bench.flush_thread._observe())
    bench.store.before_write = failing(1, StoreError("no"))
    now = 107.0
    with pytest.raises(FlushError, match=r"the oldest for 7\.0 s"):
        bench.flush_thread.flush()
    assert bench.flush_thread.statistics().staleness == 7.0


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

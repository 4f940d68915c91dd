"""`flush()` always ends: with what was written before it durable, or with an error."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from autostate import hub
from autostate.deadline import Deadline
from autostate.errors import FlushError, StoreError
from autostate.saving.request import FlushRequest
from tests.saving.flushing import WAIT, Make, failing, waiting_for

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


def test_a_caller_does_not_wait_for_a_thread_that_has_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the child of a fork: nobody else will do the work."""
    bench = make()
    thread = bench.flush_thread._thread
    assert thread is not None
    bench.flush_thread.abandon()
    thread.join(WAIT)
    bench.flush_thread.stopped = False
    waits: list[float] = []
    outcome = FlushRequest.outcome

    def noted(self: FlushRequest, timeout: float) -> BaseException | None:
        waits.append(timeout)
        return outcome(self, timeout)

    monkeypatch.setattr(FlushRequest, "outcome", noted)
    bench.box.write("a")
    bench.flush_thread.flush()
    assert bench.stored() == {"a": 1}
    assert waits == [0]


def test_ctrl_c_in_a_caller_that_does_the_work_is_ctrl_c(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no error of the flush; what it would have saved comes with the next one."""
    bench = make(start=False)
    bench.box.write("a")

    def strike(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bench.flush_thread.job.patient_cut, "take", strike)
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
    bench.store.before_write = waiting_for(go_on, busy)
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
    bench.store.before_write = waiting_for(go_on, busy)
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


def test_a_receiver_that_exits_does_not_make_a_save_fail(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The changes are durable; and `sys.exit()` ends no process in the thread that saves."""
    bench = make()
    bench.box.write("a")
    told = []

    def receive(sender: object, **details: Any) -> None:
        sys.exit(3)

    with (
        hub.flushed.connected_to(receive),
        hub.flushed.connected_to(lambda _, **__: told.append(1)),
    ):
        bench.flush_thread.flush()
    assert told == [1]
    assert "receive raised" in caplog.text
    assert bench.stored() == {"a": 1}


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


def test_callers_without_the_thread_have_deadlines_of_their_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hasty one does not end the flush of another."""
    bench = make(start=False)
    began, go, left = threading.Event(), threading.Event(), list[float]()

    def flush(_requests: object, deadline: Deadline, *, full_compare: bool) -> None:
        began.set()
        assert go.wait(WAIT)
        left.append(deadline.left())

    with monkeypatch.context() as patched:
        patched.setattr(bench.flush_thread.job, "flush", flush)
        first = threading.Thread(target=bench.flush_thread.flush, args=(3600.0,))
        first.start()
        assert began.wait(WAIT)
        with pytest.raises(FlushError):
            bench.flush_thread.flush(0.01)
        go.set()
        first.join(WAIT)
    assert left[0] > 1000


def test_a_flush_goes_on_after_a_kill_that_was_announced_before_it(make: Make) -> None:
    """It should have ended before; as the kill has not come, it has the time of any flush."""
    bench = make(start=False)
    flush_thread = bench.flush_thread
    now = flush_thread._clock()
    flush_thread._policy.announce_kill(now, 1.0)
    deadline = flush_thread._limit(now)
    assert deadline.left() <= 1.0
    deadline.sooner = now - 1.0  # later, that moment has passed
    assert deadline.left() > 1.0

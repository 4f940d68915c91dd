"""A flush and the event loop that writes; `durable()`, and how it is cancelled."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from autostate import hub
from autostate.errors import FlushError, StoreError
from tests.saving.flushing import CALM, EAGER, WAIT, Bench, Listen, Make, failing, waiting_for


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
    bench.flush_thread.job.patient_cut._patience = lambda deadline: deadline.left()  # type: ignore[method-assign]
    bench.box.write("b")
    flushed.get(timeout=WAIT)  # the loop is still in the same callback
    [told] = [one.message for one in caplog.records if "event loop has been blocked" in one.message]
    assert "asyncio.to_thread" in told
    assert "in line" in told
    await asyncio.sleep(0)  # the callbacks of the cuts run
    bench.box.write("c")
    await bench.flush_thread.durable()
    assert bench.flush_thread.job.patient_cut.event_loops.late is None


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
    before = bench.flush_thread.job.statistics().flushes
    bench.box.write("last")
    bench.flush_thread.flush(WAIT)  # blocks the loop: what the task waits for is queued meanwhile
    assert bench.flush_thread.job.statistics().flushes > before
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

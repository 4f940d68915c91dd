"""While loops run, a cut meets one of them between two items, when no other body is in work."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from autostate.deadline import Deadline
from autostate.errors import ResumeError
from autostate.saving.patient_cut import PatientCut
from autostate.saving.policy import FlushPolicy
from autostate.saving.rendezvous import ActiveLoop, ActiveLoops
from tests.saving.flushing import CALM, Box

WAIT = 120.0


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a context in which no loop runs."""
    return contextvars.Context().run(function, *arguments)


def begun(loops: ActiveLoops, name: str) -> ActiveLoop:
    """A loop that runs."""
    loop = ActiveLoop(name)
    loops.enter(loop)
    return loop


def waited_for(loops: ActiveLoops) -> bool:
    """Whether a cut would wait now."""
    return loops.in_work


def meets(loops: ActiveLoops, loop: ActiveLoop) -> bool:
    """Whether a loop that is between two items is met there."""
    told = threading.Event()
    loops.tell = told.set
    thread = threading.Thread(target=loops.between, args=(loop,))
    with loops.asked() as rendezvous:
        thread.start()
        while thread.is_alive() and not told.wait(0.01):
            pass
        reached = rendezvous.reached
    thread.join(WAIT)
    return reached


def test_a_loop_stands_still_between_two_items_until_the_cut_is_done() -> None:
    """And tells the flush thread that it does."""
    told = threading.Event()
    loops = ActiveLoops()
    loops.tell = told.set
    loop = elsewhere(begun, loops, "loop")
    went_on = threading.Event()

    def run() -> None:
        loops.between(loop)
        went_on.set()

    thread = threading.Thread(target=run)
    with loops.asked() as rendezvous:
        thread.start()
        assert told.wait(WAIT)
        assert rendezvous.reached
        assert not went_on.is_set()
    thread.join(WAIT)
    assert went_on.is_set()


def test_no_loop_stands_still_when_nothing_is_to_be_saved() -> None:
    """Nor for the flush thread of the process from which this one was forked."""
    loops = ActiveLoops()
    loop = elsewhere(begun, loops, "loop")
    loops.between(loop)
    with loops.asked() as rendezvous:
        rendezvous.pid = 0
        loops.between(loop)
        assert not rendezvous.reached
        assert loops.rendezvous is None


def test_no_cut_meets_a_loop_while_another_body_is_in_work() -> None:
    """What that one has written would be saved half-way."""
    loops = ActiveLoops()
    first, second = elsewhere(begun, loops, "first"), elsewhere(begun, loops, "second")
    with loops.asked() as rendezvous:
        loops.between(first)
        assert not rendezvous.reached
    loops.leave(second)
    assert meets(loops, first)


def test_the_body_around_an_inner_loop_is_saved_as_it_is() -> None:
    """The inner loop is met; the outer one is not, while the inner one runs."""
    loops = ActiveLoops()
    outer, inner, innermost = elsewhere(lambda: [begun(loops, name) for name in "123"])
    assert innermost.is_inside(inner)
    assert innermost.is_inside(outer)
    assert not outer.is_inside(innermost)
    with loops.asked() as rendezvous:
        loops.between(outer)
        loops.between(inner)
        assert not rendezvous.reached
    assert meets(loops, innermost)


def test_a_loop_that_ended_elsewhere_is_not_around_another() -> None:
    """In another task, or thread, than it began in."""
    loops = ActiveLoops()
    context = contextvars.Context()
    first = context.run(begun, loops, "first")
    elsewhere(loops.leave, first)
    assert context.run(begun, loops, "second").outer is None


def test_loops_of_another_store_are_not_around_one() -> None:
    """They are saved by another flush thread."""
    context = contextvars.Context()
    first = context.run(begun, ActiveLoops(), "first")
    assert context.run(begun, ActiveLoops(), "first").outer is None
    assert first.running


def test_a_loop_is_in_work_until_it_is_left() -> None:
    """By its end, or by being dropped; of one name one runs."""
    loops = ActiveLoops()
    assert not waited_for(loops)
    loop = elsewhere(begun, loops, "loop")
    assert waited_for(loops)
    with pytest.raises(ResumeError, match="'loop' is running already"):
        elsewhere(begun, loops, "loop")
    loops.leave(loop)
    assert not waited_for(loops)
    loop = elsewhere(begun, loops, "loop")
    assert waited_for(loops)
    del loop
    assert not waited_for(loops)


def test_nobody_waits_for_a_body_that_waits_for_the_flush_thread() -> None:
    """But one waits for those in which nobody waits."""
    loops = ActiveLoops()
    context = contextvars.Context()
    loop = context.run(begun, loops, "loop")

    def wait() -> bool:
        with loops.waiting():
            return loops.in_work

    assert not context.run(wait)
    assert elsewhere(wait)
    assert loop.running


class BeginsALoop:
    """The tracker's lock; when the flush thread takes it for the cut, a loop has just begun."""

    def __init__(self, box: Box, loops: ActiveLoops) -> None:
        self._box, self._active_loops, self._lock = box, loops, box.lock
        self.loop: ActiveLoop | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        if self.loop is None:
            self.loop = elsewhere(begun, self._active_loops, "loop")

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("event_loops", [True, False])
def test_a_loop_that_begins_before_the_cut_is_waited_for(event_loops: bool) -> None:
    """Between the look whether one runs and the cut itself."""
    box, loops = Box(), ActiveLoops()
    box.write("a")
    lock: Any = BeginsALoop(box, loops)
    box.lock = lock
    cuts_before_the_end: list[int] = []

    def pause(_seconds: float) -> None:
        cuts_before_the_end.append(len(box.cuts))
        loops.leave(lock.loop)

    tracker: Any = box
    box.loops = event_loops
    patient_cut = PatientCut(tracker, FlushPolicy(CALM), str, time.monotonic)
    patient_cut.pause = pause
    patient_cut.active_loops = loops
    if event_loops:
        patient_cut._between_items(lambda _: box.cut(), Deadline.after(1e9))
    else:
        patient_cut.take((), Deadline.after(1e9), lambda: None, full_compare=False)
    assert cuts_before_the_end == [0]
    assert len(box.cuts) == 1

"""While loops run, a cut meets one of them between two items, when no other body is in work."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from autostate.errors import ResumeError
from autostate.journal import Journal
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from autostate.saving.rendezvous import Bodies, Body
from autostate.stores.memory import MemoryStore
from tests.flushing import CALM, Box

WAIT = 120.0


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a context in which no loop runs."""
    return contextvars.Context().run(function, *arguments)


def begun(bodies: Bodies, name: str) -> Body:
    """A loop that runs."""
    body = Body(name)
    bodies.enter(body)
    return body


def waited_for(bodies: Bodies) -> bool:
    """Whether a cut would wait now."""
    return bodies.in_work


def meets(bodies: Bodies, body: Body) -> bool:
    """Whether a loop that is between two items is met there."""
    told = threading.Event()
    bodies._tell = told.set
    thread = threading.Thread(target=bodies.between, args=(body,))
    with bodies.asked() as meeting:
        thread.start()
        while thread.is_alive() and not told.wait(0.01):
            pass
        reached = meeting.reached
    thread.join(WAIT)
    return reached


def test_a_loop_stands_still_between_two_items_until_the_cut_is_done() -> None:
    """And tells the flush thread that it does."""
    told = threading.Event()
    bodies = Bodies(told.set)
    body = elsewhere(begun, bodies, "loop")
    went_on = threading.Event()

    def loop() -> None:
        bodies.between(body)
        went_on.set()

    thread = threading.Thread(target=loop)
    with bodies.asked() as meeting:
        thread.start()
        assert told.wait(WAIT)
        assert meeting.reached
        assert not went_on.is_set()
    thread.join(WAIT)
    assert went_on.is_set()


def test_no_loop_stands_still_when_nothing_is_to_be_saved() -> None:
    """Nor for the flush thread of the process from which this one was forked."""
    bodies = Bodies()
    body = elsewhere(begun, bodies, "loop")
    bodies.between(body)
    with bodies.asked() as meeting:
        meeting.pid = 0
        bodies.between(body)
        assert not meeting.reached
        assert bodies.meeting is None


def test_no_cut_meets_a_loop_while_another_body_is_in_work() -> None:
    """What that one has written would be saved half-way."""
    bodies = Bodies()
    first, second = elsewhere(begun, bodies, "first"), elsewhere(begun, bodies, "second")
    with bodies.asked() as meeting:
        bodies.between(first)
        assert not meeting.reached
    bodies.leave(second)
    assert meets(bodies, first)


def test_the_body_around_an_inner_loop_is_saved_as_it_is() -> None:
    """The inner loop is met; the outer one is not, while the inner one runs."""
    bodies = Bodies()
    outer, inner, innermost = elsewhere(lambda: [begun(bodies, name) for name in "123"])
    assert innermost.is_inside(inner)
    assert innermost.is_inside(outer)
    assert not outer.is_inside(innermost)
    with bodies.asked() as meeting:
        bodies.between(outer)
        bodies.between(inner)
        assert not meeting.reached
    assert meets(bodies, innermost)


def test_a_loop_that_ended_elsewhere_is_not_around_another() -> None:
    """In another task, or thread, than it began in."""
    bodies = Bodies()
    context = contextvars.Context()
    first = context.run(begun, bodies, "first")
    elsewhere(bodies.leave, first)
    assert context.run(begun, bodies, "second").outer is None


def test_loops_of_another_store_are_not_around_one() -> None:
    """They are saved by another flush thread."""
    context = contextvars.Context()
    first = context.run(begun, Bodies(), "first")
    assert context.run(begun, Bodies(), "first").outer is None
    assert first.running


def test_a_loop_is_in_work_until_it_is_left() -> None:
    """By its end, or by being dropped; of one name one runs."""
    bodies = Bodies()
    assert not waited_for(bodies)
    body = elsewhere(begun, bodies, "loop")
    assert waited_for(bodies)
    with pytest.raises(ResumeError, match="'loop' is running already"):
        elsewhere(begun, bodies, "loop")
    bodies.leave(body)
    assert not waited_for(bodies)
    body = elsewhere(begun, bodies, "loop")
    assert waited_for(bodies)
    del body
    assert not waited_for(bodies)


def test_nobody_waits_for_a_body_that_waits_for_the_flush_thread() -> None:
    """But one waits for those in which nobody waits."""
    bodies = Bodies()
    context = contextvars.Context()
    body = context.run(begun, bodies, "loop")

    def wait() -> bool:
        with bodies.waiting():
            return bodies.in_work

    assert not context.run(wait)
    assert elsewhere(wait)
    assert body.running


class BeginsALoop:
    """The tracker's lock; when the flush thread takes it for the cut, a loop has just begun."""

    def __init__(self, box: Box, bodies: Bodies) -> None:
        self._box, self._bodies, self._lock = box, bodies, box.lock
        self.body: Body | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        if self.body is None:
            self.body = elsewhere(begun, self._bodies, "loop")

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def test_a_loop_that_begins_before_the_cut_is_waited_for() -> None:
    """Between the look whether one runs and the cut itself."""
    box, bodies = Box(), Bodies()
    box.write("a")
    lock: Any = BeginsALoop(box, bodies)
    box.lock = lock
    cuts_before_the_end: list[int] = []

    def pause(_seconds: float) -> None:
        cuts_before_the_end.append(len(box.cuts))
        bodies.leave(lock.body)

    tracker: Any = box
    job = FlushJob(
        tracker,
        Journal(MemoryStore()),
        FlushPolicy(CALM),
        conditional=True,
        pause=pause,
        check=lambda: None,
        renew=lambda: None,
        bodies=bodies,
    )
    job._cut_once(1e9, sweep=False)
    assert cuts_before_the_end == [0]
    assert len(box.cuts) == 1

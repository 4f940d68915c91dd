"""Threads take turns: none waits longer than it may, and none waits for one that is gone."""

from __future__ import annotations

import threading

import pytest

from autostate.errors import StoreUnavailableError
from autostate.process.turns import LEAST, Turns
from tests.interrupting import Interrupt


def test_a_thread_waits_no_longer_than_it_may() -> None:
    """And takes no step then; when the other one is over, it has what is left of its time."""
    turns, begun, ends = Turns("another one works"), threading.Event(), threading.Event()

    def work(_: float | None) -> None:
        begun.set()
        ends.wait()

    thread = threading.Thread(target=turns.run, args=(work, None))
    thread.start()
    begun.wait()
    steps: list[float | None] = []
    with pytest.raises(StoreUnavailableError, match="another one works"):
        turns.run(steps.append, 0.01)
    assert not steps
    threading.Timer(0.05, ends.set).start()
    turns.run(steps.append, 60.0)
    turns.run(steps.append, None)
    turns.run(steps.append, 0.0)
    thread.join()
    first, *others = steps
    assert first is not None
    assert first < 60.0
    assert others == [None, LEAST]


def test_a_step_that_fails_is_over() -> None:
    """Its error is the caller's."""
    turns = Turns("another one works")
    with pytest.raises(ZeroDivisionError):
        turns.run(lambda _: 1 / 0, None)
    assert turns.run(lambda _: 1, 0.0) == 1


def test_ctrl_c_leaves_no_turn_taken() -> None:
    """Wherever it strikes; a lock with a timeout would stay taken for good."""
    turns = Turns("another one works")
    number, is_interrupted = 0, True
    while is_interrupted:
        number += 1
        interrupt = Interrupt(number)
        try:
            with interrupt:
                turns.run(lambda _: None, 1.0)
        except KeyboardInterrupt:
            pass
        else:
            is_interrupted = False
        assert turns.run(lambda _: 1, 0.0) == 1, interrupt.at
    assert number > 5

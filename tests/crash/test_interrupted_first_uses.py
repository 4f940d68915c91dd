"""Ctrl-C in the first use of what a program uses seldom: afterwards it works, and is saved."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from autostate.containers import PersistedDict
from tests.conformance.state_kit import Program, shape
from tests.interrupting import Interrupt


class Thing:
    """An object without a barrier: its entry is watched."""

    def __init__(self) -> None:
        self.n = 0


def held_list(state: Any) -> Any:
    """Put a list that the program also holds."""
    state["held"] = held = [0]
    return held


def large(state: Any) -> Any:
    """Put a list that the program also holds, into a dict that no full compare reads."""
    state.update({str(number): number for number in range(300)})
    return held_list(state)


@pytest.mark.parametrize("put", [held_list, large])
def test_in_the_first_use_of_a_part(put: Callable[[Any], Any]) -> None:
    """A part that is in use is asked in every cut."""
    for number in itertools.count(1):
        program = Program()
        state = program.root("s")
        held = put(state)
        interrupt = Interrupt(number, ours="tracking/node.py")
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            program.flush()
        capture = program.tracker.unsaved
        if capture is not None:
            capture.failed()
        program.flush()
        held.append(number)
        program.flush()
        assert shape(program.restart().root("s")) == shape(state), number
        if interrupt.left > 0:
            break


def test_in_the_first_use_of_a_class() -> None:
    """Its variants are known all at once, or not at all."""
    for number in itertools.count(1):
        cls: Any = type("Mine", (PersistedDict,), {})
        program = Program()
        interrupt = Interrupt(number, ours="tracking/barrier.py")
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            program.root("s", cls=cls)["a"] = 1
        state = program.root("s", cls=cls)
        state["b"] = 2
        program.flush()
        state["c"] = 3
        program.flush()
        assert program.restart().root("s") == dict(state), number
        if interrupt.left > 0:
            break

"""Ctrl-C at each place of a block and of its undo: it is done, or it is not."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

import autostate
from tests.crash.interrupted import (
    LARGE,
    Act,
    Make,
    Operation,
    a_deque,
    a_dict,
    a_list,
    a_set,
    attempt,
    chosen,
    counted,
    entries,
    items,
    members,
    plain,
    save,
    two_entries,
    urls,
)
from tests.interrupting import AlarmError, Interrupt

__all__ = ["counted"]

pytestmark = pytest.mark.campaign(name="interrupts")


def one_in_another(d: Any) -> None:
    """A block in a block."""
    with autostate.atomic():
        d["k1"] = -1
        with autostate.atomic():
            d["k2"] = -2
            d["new"] = [1]


def one_that_fails(d: Any) -> None:
    """A block that is undone."""
    with contextlib.suppress(LookupError), autostate.atomic():
        d["k1"] = -1
        d["new"] = 1
        del d["k2"]
        raise LookupError


@autostate.atomic()
def decorated(d: Any) -> None:
    """A function that is a block."""
    d["k1"], d["k2"] = -1, -2


def items_in_and_out(state: Any) -> None:
    """A block that writes to a list or deque in all ways."""
    with autostate.atomic():
        state.append("new")
        state[0] = "first"
        state.insert(2, "inserted")
        del state[3]
        state.extend(["x", "y"])
        state.pop()
        state.reverse()


def items_that_fail(state: Any) -> None:
    """The same, undone."""
    with contextlib.suppress(LookupError), autostate.atomic():
        items_in_and_out(state)
        state.remove("x")
        raise LookupError


def keys_that_fail(state: Any) -> None:
    """A block that removes and inserts keys or members, undone."""
    with contextlib.suppress(LookupError), autostate.atomic():
        if isinstance(state, dict):
            del state["k1"]
            state["k1"] = state["new"] = 7
            state.popitem()
        else:
            state.discard(1)
            state.add(True)
            state.pop()
        raise LookupError


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize(
    ("make", "fill", "act"),
    [
        (a_list, items, items_in_and_out),
        (a_list, items, items_that_fail),
        (a_deque, items, items_that_fail),
        (a_dict, entries, keys_that_fail),
        (a_set, members, keys_that_fail),
    ],
)
def test_an_interrupted_undo_is_carried_on(
    make: Make, fill: Callable[[int], Act], act: Act, size: int, rng: random.Random
) -> None:
    """Order and types of keys included."""
    operation = Operation(make, fill(size), act)
    numbers: Sequence[int] = range(1, sys.maxsize - attempt(operation, sys.maxsize).left + 1)
    for number in chosen(numbers, 5, rng):
        attempt(operation, number)


BLOCKS: Final = (two_entries, one_in_another, one_that_fails, decorated)


@pytest.mark.parametrize("error", [KeyboardInterrupt, AlarmError])
@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize("act", BLOCKS)
def test_an_interrupted_block_is_done_or_not(
    act: Act, size: int, error: type[BaseException], rng: random.Random
) -> None:
    """`atomic()`: all of it, or nothing; also by an exception from a handler of the program's."""
    operation = Operation(a_dict, entries(size), act)
    numbers: Sequence[int] = range(1, sys.maxsize - attempt(operation, sys.maxsize).left + 1)
    for number in chosen(numbers, 8, rng):
        attempt(operation, number, error=error)


def test_what_a_handler_raises_comes_out_of_a_block(rng: random.Random) -> None:
    """Wherever it comes up: none of our own handlers of errors takes it for one of the values."""

    def act(number: int) -> int:
        with autostate.open(f"memory:interrupts{next(urls)}", debounce=3600):
            state = autostate.PersistedDict("s", rows=[], index={}, n=0)
            save()
            state["rows"].append([1, {2: (3, [4])}])
            state["index"][1] = {"k": [1, 2, 3]}
            state["more"] = {"a": [{"b": 1}]}
            interrupt = Interrupt(number, AlarmError)
            raised = False
            try:
                with interrupt, autostate.atomic():
                    state["n"] += 1
                    state["rows"][0].append(5)
            except AlarmError:
                raised = True
            assert raised or interrupt.left > 0, (number, interrupt.at)
            found = copy.deepcopy(plain(state))
            save()
            assert plain(state) == found, interrupt.at
        return interrupt.left

    numbers: Sequence[int] = range(1, sys.maxsize - act(sys.maxsize) + 1)
    for number in chosen(numbers, 40, rng):
        act(number)

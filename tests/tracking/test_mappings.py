"""Keys that are not equal to themselves, and the order of keys."""

from __future__ import annotations

import math
from typing import Any

from tests.conformance.state_kit import Program


def test_the_order_of_a_dict_with_nan_is_saved() -> None:
    """A dict compares no order, and nan is found by being the same."""
    program = Program()
    state = program.root("s")
    state[math.nan], state["a"] = 1, 2
    program.flush()
    state[math.nan] = state.pop(math.nan)
    assert repr(state) == "{'a': 2, nan: 1}"
    program.flush(full_compare=True)
    assert repr(program.restart().root("s")) == "{'a': 2, nan: 1}"


def test_what_changes_below_nan_is_saved() -> None:
    """In a list inside a tuple, which was rehydrated; and an idle run writes nothing."""
    program = Program()
    program.root("s")[math.nan] = ([], 1)
    program.flush()
    program = program.restart()
    state = program.root("s")
    for _ in range(2):
        assert program.flush(full_compare=True) == []
    [items, _] = next(iter(state.values()))
    items.append(1)
    program.flush()
    assert repr(program.restart().root("s")) == "{nan: ([1], 1)}"


def test_a_key_that_holds_nan_stays_one_key() -> None:
    """When what is under it has changed."""
    program = Program()
    state: dict[Any, Any] = program.root("s")
    state[math.nan,] = {"x": []}
    program.flush()
    next(iter(state.values()))["x"].append(1)
    program.flush()
    assert repr(program.restart().root("s")) == "{(nan,): {'x': [1]}}"


def test_an_int_key_with_too_many_digits_can_be_told() -> None:
    """What cannot be saved below it is named; everything else is saved."""
    program = Program()
    state = program.root("s")
    state[10**5000], state["b"] = object(), 1
    program.flush()
    [error] = program.errors
    assert str(error).startswith("s[a int]")
    assert program.restart().root("s") == {"b": 1}


def test_what_moves_to_the_end_twice_passes_nothing_that_is_new() -> None:
    """The store may have the new entry, and the moved one before it, when both come again."""
    program = Program()
    state = program.root("s")
    state.update((f"k{n}", n) for n in range(300))
    program.flush()
    for _ in range(3):
        state["k7"] = state.pop("k7")
        state["k1"] = -1  # stays where it is
        state[f"new {len(state)}"] = 1
        program.flush(outcome="unknown")
        state[f"newer {len(state)}"] = 1
        program.flush(outcome="unknown")
        program.flush()
        assert list(program.restart().root("s").items()) == list(state.items())

"""What the program holds elsewhere, anywhere in defaults, is watched from the first cut on."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import autostate
from autostate import PersistedDeque, PersistedDict, PersistedList, StateManager

Make = Callable[[Any], Any]
INSIDE: dict[str, Make] = {
    "dict": lambda held: {"a": held},
    "list": lambda held: [held],
    "deeper": lambda held: {"a": [{"b": held}]},
    "ordered": lambda held: OrderedDict(a=held),
    "deque": lambda held: {"a": deque([held])},
    "tuple": lambda held: {"a": (1, held)},
    "at the top": lambda held: held,
}
ROOTS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda value: PersistedDict("state", {1: value}),
    "keyword": lambda value: PersistedDict("state", a=value),
    "list": lambda value: PersistedList("state", [value]),
    "deque": lambda value: PersistedDeque("state", [value]),
}


@autostate.persisted(name="state")
@dataclass
class Shop:
    """A state object whose constructor is given the value."""

    value: Any


ROOTS["object"] = Shop


def saved(manager: StateManager) -> str:
    """Cut as an automatic save does, without a full compare, and give what it would write."""
    assert manager._incarnation is not None
    capture = manager._incarnation.tracker.cut()
    assert capture is not None
    changes = list(capture.encode())
    capture.saved()
    return str(changes)


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
def test_a_change_by_another_reference_is_saved(root: Make, inside: Make) -> None:
    """Without `flush()`, which compares everything."""
    held = ["first"]
    with autostate.open("memory:", debounce=1000, max_delay=1000) as manager:
        state = root(inside(held))
        assert "first" in saved(manager)
        held.append("second")
        assert "second" in saved(manager)
        assert state is not None


def leaf(value: Any) -> Any:
    """The list of numbers inside."""
    while not (type(value) is not tuple and isinstance(value, list) and value == [1, 2]):
        [value] = (
            value.values() if isinstance(value, dict) else (each for each in value if each != 1)
        )
    return value


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
def test_what_is_at_two_places_is_one_after_a_kill(inside: Make) -> None:
    """From the first save on."""
    held = [1, 2]
    manager = autostate.open("memory:two", debounce=1000, max_delay=1000)
    with manager:
        PersistedDict("state", {"one": inside(held), "other": inside(held)})
    with autostate.open("memory:two"):
        found = PersistedDict("state")
        assert leaf(found["one"]) is leaf(found["other"])

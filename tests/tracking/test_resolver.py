"""Objects of registered classes at several places, and in circles."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import autostate
from tests.conformance.state_kit import Program


class Registered:
    """A class that only its `decode` makes, from all that it holds."""

    def __init__(self, held: Any) -> None:
        self.held = held


@dataclass
class Blank:
    """A class whose objects can be made before their fields."""

    held: Any = None


class Failing:
    """A class whose `encode` fails as long as it holds no number."""

    def __init__(self, held: Any) -> None:
        self.held = held


autostate.register(Registered, "resolver.registered", encode=vars, decode=lambda d: Registered(**d))
autostate.register(
    Failing, "resolver.failing", encode=lambda one: 1 // one.held, decode=lambda _: Failing(1)
)

HOLDERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda held: [held],
    "dict": lambda held: {"k": held},
    "deque": lambda held: deque([held]),
    "large dict": lambda held: {number: number for number in range(300)} | {"k": held},
    "large list": lambda held: [held, *range(300)],
    "dataclass": Blank,
    "dataclass with a tuple": lambda held: Blank((held,)),
    "registered": Registered,
}


def first(holder: Any) -> Any:
    """What a holder holds."""
    if isinstance(holder, Registered | Blank):
        held = holder.held
        return held[0] if type(held) is tuple else held
    return holder["k"] if isinstance(holder, dict) else holder[0]


@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("order", ["rh", "hr", "rr", "late"])
def test_objects_in_a_circle_come_back_or_are_refused(kind: str, order: str) -> None:
    """A circle of classes that need all that they hold cannot be made; any other one can."""
    program = Program()
    state = program.root("s", default={"ok": 1})
    one = Registered(None)
    holder = HOLDERS[kind](one)
    if order == "late":
        state["r"], state["h"] = one, holder
        program.flush()
    one.held = holder
    if "r" in order:
        state["r"] = one
    if "h" in order:
        state["h"] = holder
    if order == "hr":
        del state["r"]
        state["r"] = one
    if order == "rr":
        state["q"] = [one]
    program.flush()
    # In "rr" only the object is at two places, and everything else is a part of it.
    refused = kind == "registered" or order == "rr"
    assert bool(program.errors) == refused
    again = program.restart().root("s")
    assert again["ok"] == 1
    if not refused:
        assert first(again["r"].held) is again["r"]


UNSAVABLE: dict[str, Callable[[], Any]] = {
    "encode fails": lambda: Failing(0),
    "a part of it": lambda: Registered(threading.Lock()),
    "no known class": threading.Lock,
}
WRAPS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda one: one,
    "in a list": lambda one: [one],
    "in a tuple": lambda one: (one, 1),
}


@pytest.mark.parametrize("kind", UNSAVABLE)
@pytest.mark.parametrize("wrap", WRAPS)
def test_an_object_at_two_places_that_cannot_be_saved_costs_itself_only(
    kind: str, wrap: str
) -> None:
    """Whatever refers to it can be read, and it is saved as soon as it can be."""
    program = Program()
    state = program.root("s", default={"ok": 1})
    one = UNSAVABLE[kind]()
    state["a"], state["b"] = WRAPS[wrap](one), WRAPS[wrap](one)
    program.flush()
    assert program.errors
    assert program.restart().root("s")["ok"] == 1
    if kind == "encode fails":
        one.held = 1
        program.flush(full_compare=True)
        assert not program.errors
        again = program.restart().root("s")
        assert type(again["a"] if wrap == "itself" else again["a"][0]) is Failing

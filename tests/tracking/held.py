"""Values that a program holds and puts into the state, and how they change."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import autostate
from autostate.tracking.watched import Watched
from tests.conformance.state_kit import Program, shape


@dataclass
class Page:
    """An object without a barrier."""

    url: Any
    links: Any = field(default_factory=list)


@dataclass(slots=True)
class Point:
    """An object without a `__dict__`."""

    x: Any
    y: Any


@dataclass(frozen=True)
class Frozen:
    """An object that does not change, though a list in it may."""

    items: Any


class Money:
    """An object that only its own function can encode."""

    def __init__(self, amount: Any) -> None:
        self.amount = amount


autostate.register(
    Money, "pictures.money", encode=lambda money: [money.amount], decode=lambda got: Money(*got)
)

NAN: Final = float("nan")
SCALARS: Final[tuple[Any, ...]] = (
    *(0, 1, True, False, 1.0, 0.0, -0.0, None, "", "a", "$a", "1", 10**400, NAN, float("inf")),
    *(Decimal(1), Decimal("1.0"), datetime(2024, 1, 1, tzinfo=UTC), b"a", "2024-01-01", (1,), ()),
    *((1, True), frozenset({1}), range(2)),
)
KEYS: Final[tuple[Any, ...]] = ("a", "b", "$a", "", 1, 2, (1, 2))


def pictured(program: Program) -> int:
    """Count the entries that are compared in bulk."""
    pictures = program.tracker.part(Watched).pictures.values()
    return sum(len(picture.keys) for some in pictures for picture in some)


def loose(program: Program) -> int:
    """Count the entries that are looked at one by one."""
    return sum(map(len, program.tracker.part(Watched).loose.values()))


def content(value: Any) -> Any:
    """Describe a value: structure, exact types, order, and which places hold the same object."""
    return _content(value, {})


def _content(value: Any, met: dict[int, int]) -> Any:
    is_object = isinstance(value, Page | Point | Money)
    if is_object or isinstance(value, dict | list | deque | set):
        if id(value) in met:
            return "met", met[id(value)]
        met[id(value)] = len(met)
    if is_object or isinstance(value, Frozen):
        names = [*getattr(value, "__slots__", ()), *getattr(value, "__dict__", ())]
        return type(value).__name__, [(n, _content(getattr(value, n), met)) for n in names]
    for cls in (OrderedDict, Counter, defaultdict, dict):
        if isinstance(value, cls):
            entries = [(_content(k, met), _content(v, met)) for k, v in cls.items(value)]
            return cls.__name__, entries, getattr(value, "default_factory", None)
    if isinstance(value, list | deque | tuple):
        kind = next(cls for cls in (list, deque, tuple) if isinstance(value, cls))
        return kind.__name__, [_content(item, met) for item in value]
    return shape(value)


def restored(program: Program, kind: str = "dict") -> Any:
    """Return what the next run finds."""
    return program.restart().root("state", kind)


MADE: Final[dict[str, Any]] = {
    "a dict": lambda: {"n": 1, "m": "x"},
    "a list": lambda: [1, "x"],
    "a nested dict": lambda: {"n": 1, "in": {"m": [1, {"x": 1}]}},
    "a deque": lambda: deque([1, 2], 3),
    "a set": lambda: {1, 2},
    "a Counter": lambda: Counter(a=1),
    "a defaultdict": lambda: defaultdict(list, a=[1]),
    "a dict with numbers as keys": lambda: {1: "x", True + 1: {"y": 1}},
    "an object": lambda: Page("x"),
    "an object with slots": lambda: Point(1, [2]),
    "a list in a tuple": lambda: ([1], 2),
    "a list in a frozen object": lambda: Frozen([1]),
    "a dict of dates": lambda: {"at": datetime(2024, 1, 1, tzinfo=UTC)},
}


ODD: Final[dict[str, Any]] = {
    "an object with its own encode": lambda: Money(1),
    "an OrderedDict": lambda: OrderedDict(a=1, b=[2]),
}
"""Values that only Python code can read."""


def change(rng: random.Random, value: Any, others: list[Any]) -> None:
    """Change one thing in a value, or in something inside it."""
    new: Any = rng.choice(SCALARS)
    if others and rng.random() < 0.2:
        new = rng.choice(others)
    elif rng.random() < 0.2:
        new = rng.choice([[], {}, {"in": [1]}, {1, 2}, Page("p"), [[1], {"z": {}}]])
    if isinstance(value, Page | Point | Money):
        _change_object(rng, value, new)
    elif isinstance(value, tuple | Frozen):
        change(rng, value.items if isinstance(value, Frozen) else value[0], others)
    elif isinstance(value, dict):
        _change_dict(rng, value, 1 if isinstance(value, Counter) else new)
    elif isinstance(value, set):
        value ^= {rng.choice([1, 2, "a", 1.5])}
    elif value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        inner = value[at]
        if isinstance(inner, list | dict | Page) and rng.random() < 0.5:
            change(rng, inner, others)
        elif rng.random() < 0.3:
            value.append(value[at])
            del value[at]
        else:
            value[at] = new
    else:
        value.append(new)


def _change_object(rng: random.Random, value: Any, new: Any) -> None:
    names = {Page: ["url", "links", "more"], Point: ["x", "y"], Money: ["amount"]}[type(value)]
    name = rng.choice(names)
    if name == "more" and hasattr(value, "more") and rng.random() < 0.5:
        del value.more
    else:
        setattr(value, name, new)


def _change_dict(rng: random.Random, value: dict[Any, Any], new: Any) -> None:
    keys = [*value]
    key = rng.choice(keys) if keys and rng.random() < 0.7 else rng.choice(KEYS)
    if key in value and isinstance(value[key], list | dict | Page) and rng.random() < 0.5:
        change(rng, value[key], [])
    elif key in value and rng.random() < 0.3:
        moved = value.pop(key)  # the same under another key, or at the end
        value[rng.choice([key, rng.choice(KEYS)])] = moved
    elif isinstance(value, defaultdict) and rng.random() < 0.2:
        value.default_factory = rng.choice([list, dict, None])
    else:
        value[key] = new

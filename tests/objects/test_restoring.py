"""The state put back: random programs, and what they did is gone without a trace."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest

import autostate
from autostate import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
    UnsupportedTypeError,
)
from autostate.objects.restoring import Snapshot, reopened

PROGRAMS = 20


class Shelf(pydantic.BaseModel):
    """A nested model, which keeps in place which of its fields were set."""

    size: int = 1
    books: list[Any] = []


@autostate.persisted
class Shop:
    """A state object of a class."""

    def __init__(self) -> None:
        self.opened, self.shelves = 1, [Shelf()]


@autostate.persisted
class Slotted:
    """The same with slots."""

    __slots__ = ("number", "parts")

    def __init__(self) -> None:
        self.number, self.parts = 1, {"a": [1]}


MAKERS: list[Callable[[], Any]] = [
    lambda: PersistedDict("dict"),
    lambda: PersistedList("list"),
    lambda: PersistedDeque("deque"),
    lambda: PersistedSet("set"),
    lambda: PersistedCounter("counter"),
    Shop,
    Slotted,
]


def value(rng: random.Random, depth: int = 0) -> Any:
    """Some value, of containers in containers."""
    n = rng.randrange(4)
    makers: list[Callable[[], Any]] = [
        lambda: n,
        lambda: f"text {n}",
        lambda: {n: value(rng, depth + 1) for n in range(n)},
        lambda: [value(rng, depth + 1) for _ in range(n)],
        lambda: deque([value(rng, depth + 1) for _ in range(n)], 5),
        lambda: (n, value(rng, depth + 1)),
        lambda: {*range(n)},
        lambda: bytearray(n),
        lambda: Shelf(size=n, books=[value(rng, depth + 1)]),
    ]
    return rng.choice(makers if depth < 3 else makers[:2])()


def parts(part: Any, path: str = "", passed: frozenset[int] = frozenset()) -> Iterator[Any]:
    """All that is inside of a part of the state, and where; a tuple may come back as two."""
    yield path, part
    if id(part) in passed:
        return
    passed = passed if isinstance(part, tuple) else passed | {id(part)}
    inside: Any = ()
    if isinstance(part, dict):
        inside = list(part.items())
    elif isinstance(part, (list, tuple, deque)):
        inside = enumerate([*part])
    elif isinstance(part, (Shelf, Shop)):
        inside = [*vars(part).items()]
    elif isinstance(part, Slotted):
        inside = [("number", part.number), ("parts", part.parts)]
    for key, each in inside:
        yield from parts(each, f"{path}/{key!r}", passed)


def picture(roots: list[Any]) -> list[Any]:
    """What there is at each place: a type, and the content of what has no parts."""
    pictures = []
    for path, part in (each for at, root in enumerate(roots) for each in parts(root, str(at))):
        if isinstance(part, Shelf):
            content: Any = part.model_fields_set.copy()
        elif isinstance(part, (set, bytearray)):
            content = sorted(part, key=repr)
        else:
            content = part if isinstance(part, (int, str)) else None
        kind = type(part).__name__.removeprefix("Persisted").lower()
        pictures.append((path, kind, content))
    return pictures


def change(rng: random.Random, roots: list[Any]) -> None:
    """Change some part of the state, as a program may."""
    inside = [part for root in roots for _, part in parts(root)]
    part = rng.choice([one for one in inside if not isinstance(one, (int, str, tuple))])
    new = rng.choice(inside) if rng.random() < 0.1 else value(rng)
    new = value(rng) if new in roots or isinstance(new, (Shop, Slotted)) else new
    empties = rng.random() < 0.2 and hasattr(part, "clear")
    if empties:
        part.clear()
    elif isinstance(part, PersistedCounter):
        part[f"key {rng.randrange(3)}"] += 1
    elif isinstance(part, dict):
        part[rng.randrange(5)] = new
        if rng.random() < 0.3:
            part[0] = part.pop(next(iter(part)))
    elif isinstance(part, (list, deque)):
        part.append(new)
        if rng.random() < 0.3:
            part.reverse()
    elif isinstance(part, (set, bytearray)):
        (part.add if isinstance(part, set) else part.append)(rng.randrange(99))
    elif isinstance(part, Shelf):
        part.books = [new]
    elif isinstance(part, Shop):
        part.shelves = new
        part.new = 1  # type: ignore[attr-defined]
    else:
        part.number += 1
        part.parts = new


def disturb(rng: random.Random, roots: list[Any]) -> None:
    """Do something in a test."""
    choice = rng.random()
    if choice < 0.1:
        autostate.flush()
    elif choice < 0.15:
        with contextlib.suppress(LookupError, TypeError):
            autostate.delete(rng.choice(roots))
    elif choice < 0.2:
        PersistedDict("created")["x"] = value(rng)
    elif choice < 0.23:
        with pytest.raises(ZeroDivisionError), autostate.atomic():
            change(rng, roots)
            raise ZeroDivisionError
    elif choice < 0.25:
        with contextlib.suppress(UnsupportedTypeError):  # of a deleted state object in another one
            autostate.configure().close()
    else:
        change(rng, roots)


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_a_random_program_is_undone(rng: random.Random, number: int) -> None:
    """The same objects hold the same afterwards, are live, and are what is saved."""
    autostate.configure("memory:", debounce=rng.choice([0.0, 1000.0]))
    roots = [make() for make in MAKERS]
    for _ in range(rng.randrange(15)):
        change(rng, roots)
    if rng.random() < 0.2:
        roots[0].update({f"key {n}": [n] for n in range(2000)})
    if rng.random() < 0.5:
        autostate.flush()
    snapshot = Snapshot()  # first: what is plain is converted now
    before = picture(roots)
    held = [*(each for at, root in enumerate(roots) for each in parts(root, str(at)))]
    for _ in range(rng.randrange(25)):
        disturb(rng, roots)
    snapshot.restore()
    assert picture(roots) == before
    now = [*(each for at, root in enumerate(roots) for each in parts(root, str(at)))]
    different = [path for (path, one), (_, two) in zip(held, now, strict=True) if one is not two]
    assert different == []
    assert [make() for make in MAKERS] == roots
    with pytest.raises(LookupError):
        autostate.info("created")
    with reopened():
        assert picture([make() for make in MAKERS]) == before

"""The key that a container holds in the place of an equal one: found by one lookup, exactly."""

from __future__ import annotations

import abc
import dataclasses
import enum
import gc
import weakref
from collections import OrderedDict
from typing import Any, Self

import numpy as np
import pytest

import autostate
from autostate import PersistedDict
from autostate.tracking.node import LARGE
from autostate.tracking.probe import held_key

COMPARED: list[Any] = []


class Plain:
    """Compares as most classes that are written by hand do."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        COMPARED.append(self)
        return isinstance(other, Plain) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)


class Careless(Plain):
    """Takes for granted what it is compared to."""

    def __eq__(self, other: object) -> bool:
        COMPARED.append(self)
        return bool(self.number == other.number)  # type: ignore[attr-defined]

    __hash__ = Plain.__hash__


class Polite(Plain):
    """Leaves what it does not know to the other operand."""

    def __eq__(self, other: object) -> bool:
        COMPARED.append(self)
        return self.number == other.number if type(other) is type(self) else NotImplemented

    __hash__ = Plain.__hash__


class Final(Plain):
    """Lets nobody derive from it, redirects attributes and ends with a word."""

    __slots__ = ("number",)

    def __init_subclass__(cls) -> None:
        raise TypeError("derived")

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __del__(self) -> None:
        ENDED.append(self.number)


class Abstract(Plain, abc.ABC):
    """Has a metaclass."""


class Text(str):
    """Is text, and is compared by its own method."""

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        return str.__new__(cls, number)

    def __eq__(self, other: object) -> bool:
        COMPARED.append(self)
        return isinstance(other, Text) and str.__eq__(self, other)

    __hash__ = str.__hash__


class Pair(tuple[int, ...]):
    """Is a tuple, which has room for no attributes of a subclass."""

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        return tuple.__new__(cls, (number, number))

    def __eq__(self, other: object) -> bool:
        COMPARED.append(self)
        return isinstance(other, Pair) and tuple.__eq__(self, other)

    __hash__ = tuple.__hash__


@dataclasses.dataclass(frozen=True)
class Record:
    """Is compared field by field, with what is of its class only."""

    number: int


ENDED: list[int] = []
CLASSES = [Plain, Careless, Polite, Final, Abstract, Text, Pair, Record]


@pytest.mark.parametrize("builtin", [dict, set, OrderedDict])
@pytest.mark.parametrize("cls", CLASSES)
def test_it_is_found_without_comparing_with_all(cls: Any, builtin: Any) -> None:
    """By the hash, whatever `__eq__` says of a stranger."""
    keys = [cls(number) for number in range(1000)]
    container = builtin(dict.fromkeys(keys))
    COMPARED.clear()
    for number in (0, 500, 999):
        assert held_key(builtin, container, cls(number)) is keys[number]
    assert len(COMPARED) <= 3
    absent = cls(1000)
    assert held_key(builtin, container, absent) is absent
    assert len(COMPARED) <= 3


@pytest.mark.parametrize("cls", CLASSES)
def test_an_identical_key_is_not_compared(cls: Any) -> None:
    """As in a lookup."""
    keys = [cls(number) for number in range(10)]
    container = dict.fromkeys(keys)
    COMPARED.clear()
    assert held_key(dict, container, keys[7]) is keys[7]
    assert not COMPARED


def test_keys_of_different_classes_are_found() -> None:
    """Members of an enumeration with a comparison of its own, and the numbers they are equal to."""

    class Level(enum.Enum):
        LOW = 1
        HIGH = 2

        def __eq__(self, other: object) -> bool:
            return self.value == getattr(other, "value", other)

        def __hash__(self) -> int:
            return hash(self.value)

    numbers = {1: "one", 2: "two"}
    assert held_key(dict, numbers, Level.HIGH) == 2
    assert held_key(dict, numbers, Level.HIGH) is not Level.HIGH
    levels = {Level.LOW: "low", Level.HIGH: "high"}
    assert held_key(dict, levels, Level.HIGH) is Level.HIGH
    assert held_key(dict, levels, Level.LOW) is Level.LOW


@pytest.mark.parametrize("builtin", [dict, set, OrderedDict])
@pytest.mark.parametrize("held", [np.int64(5), np.float64(5), np.float32(5), np.str_("x")])
def test_a_numpy_scalar_is_held_as_itself(held: Any, builtin: Any) -> None:
    """It would compare what it is worth with what it does not know, and not itself."""
    container = builtin(dict.fromkeys([held]))
    wanted = held.item()
    assert held_key(builtin, container, wanted) is held
    assert held_key(builtin, container, type(held)(wanted)) is held
    assert held_key(builtin, container, np.asarray(held)[()]) is held


def test_no_object_of_the_users_ends_that_never_began() -> None:
    """What is looked up with is no object of the class's own."""
    container = {Final(1): 1}
    ENDED.clear()
    wanted = Final(1)
    assert held_key(dict, container, wanted) is not wanted
    assert not ENDED


def test_a_class_of_keys_can_be_freed() -> None:
    """A class that is derived from another one keeps it alive."""

    class Local(Plain):
        pass

    assert held_key(dict, {Local(1): 1}, Local(1)).number == 1
    gone = weakref.ref(Local)
    del Local
    COMPARED.clear()
    gc.collect()
    assert gone() is None


class Meddling(Plain):
    """Removes itself from a container while it is compared."""

    target: Any = None

    def __eq__(self, other: object) -> bool:
        if self.target is not None and self in self.target:
            del self.target[self]
        return isinstance(other, Plain) and self.number == other.number

    __hash__ = Plain.__hash__


def compared_while_it_changes(target: Any) -> tuple[bool, int]:
    """Compare a mapping with another one, while a key of it removes itself."""
    key = Meddling(-3)
    target[key] = None
    other = type(target)(target)
    other[Meddling(-3)] = other.pop(key)
    key.target = target
    same, left = target == other, len(target)
    target.clear()
    return same, left


def test_a_comparison_may_remove_the_key_that_is_compared() -> None:
    """It ends as with a plain dict."""
    with autostate.open("memory:"):
        plain: dict[Any, Any] = dict.fromkeys(range(LARGE + 5))
        state: Any = PersistedDict("state", {"in": dict(plain)})
        assert compared_while_it_changes(state["in"]) == compared_while_it_changes(plain)


def test_a_comparison_without_an_end_is_an_error_soon() -> None:
    """It is not hidden, and tried in another way at each depth."""
    deep = 0

    class Endless(Plain):
        def __eq__(self, other: object) -> bool:
            nonlocal deep
            deep += 1
            held_key(set, members, 0)
            return NotImplemented

        __hash__ = Plain.__hash__

    members = {Endless(0)}
    with pytest.raises(RecursionError):
        held_key(set, members, 0)
    assert deep < 10_000

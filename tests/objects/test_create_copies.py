"""Copies of objects of `@persisted` classes are plain objects of the program's own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedDict, UnsupportedTypeError


@autostate.persisted
class Plain:
    """Says nothing about copies."""

    def __init__(self) -> None:
        self.seen: Any = ["a", {"b": 1}]


class _Copies:
    seen: Any

    def __copy__(self) -> Any:
        other = type(self)()
        other.seen = [*self.seen]
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        other = type(self)()
        other.seen = copy.deepcopy(self.seen, memo)
        return other


@autostate.persisted
class Copying(_Copies):
    """Makes its copies itself, by calling its class."""

    def __init__(self) -> None:
        self.seen: Any = ["a", {"b": 1}]


class _Reduced:
    seen: Any

    def __reduce__(self) -> Any:
        return type(self), (), {"seen": self.seen}


@autostate.persisted
class Reducing(_Reduced):
    """Says that calling its class makes a copy."""

    def __init__(self) -> None:
        self.seen: Any = ["a", {"b": 1}]


COPY: Final[dict[str, Callable[[Any], Any]]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


@pytest.mark.parametrize("how", COPY)
@pytest.mark.parametrize("cls", [Plain, Copying, Reducing])
def test_a_copy_is_plain_and_leaves_the_state_alone(
    cls: type[Any], how: str, isolated: object
) -> None:
    """Also where the class makes it by a call of itself, which gives the live object."""
    if cls is Reducing and how == "pickle":
        pytest.skip("the unpickler calls the class as the program would: the live object")
    one = cls()
    autostate.flush()
    other = COPY[how](one)
    assert other is not one
    assert type(other) is cls
    other.seen = [*other.seen, "more"]
    other.new = 1
    autostate.flush()
    assert autostate.statistics().flushes == 1
    assert (one.seen, hasattr(one, "new")) == (["a", {"b": 1}], False)
    with pytest.raises(TypeError, match="no state object"):
        autostate.info(other)


def test_a_copy_in_the_state_is_told_what_to_do(isolated: object) -> None:
    """Its class is persisted already: nobody is told to make a dataclass of it alone."""
    state: PersistedDict[str, Any] = PersistedDict("state")
    state["shop"] = copy.copy(Plain())
    with pytest.raises(UnsupportedTypeError, match=r"a copy of a .*Plain.*dict\(vars\(value\)\)"):
        autostate.flush()
    state["shop"] = dict(vars(copy.deepcopy(Plain())))
    autostate.flush()
    state["shop"] = Plain()
    autostate.flush()

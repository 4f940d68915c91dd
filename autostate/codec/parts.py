"""The values inside a value: where containers may be, and how deeply they are nested."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import Any

from autostate import depth
from autostate.codec.bound import root_of
from autostate.codec.registry import ATOMS, entry_for
from autostate.process.interrupts import is_passing


def parts_of(value: Any) -> Iterable[Any]:
    """Give the values inside a tuple or an object that is no container: where containers may be."""
    cls = type(value)
    if cls is tuple:
        return tuple(value)
    if cls is slice:
        return value.start, value.stop, value.step
    entry = entry_for(cls)
    if entry is None or root_of(value) is not None:
        return ()
    try:
        return entry.parts(value)
    except Exception as error:  # the error is reported when the value is encoded
        if is_passing(error):
            raise
        return ()


def levels_of(value: Any) -> int:
    """Count the levels of nesting in a value of any types."""
    return depth.levels_of([value], _inside)


def _inside(value: Any) -> Iterable[Any]:
    if type(value) in ATOMS:
        return ()
    if isinstance(value, dict):
        return chain(dict.keys(value), dict.values(value))
    if isinstance(value, list | tuple | set | frozenset | deque):
        return tuple(value)
    return parts_of(value)

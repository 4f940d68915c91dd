"""Whether somebody else holds a container: CPython's reference counts, and what they promise.

A container may only be replaced when nobody else can reach it. The count says so as long as each
holder adds one reference, and as long as it is known what the measurement adds itself:

- A container, a cell, a bound method, an iterator, a generator and an object add one each: they own
  what they hold, in every version.
- A local variable owns its value, with one exception: from Python 3.14 on an argument that the
  caller has in a variable may be *borrowed*. It then adds nothing; but the caller's variable,
  which lives longer, owns the value and counts. What is only on the stack of an expression
  (`f([])`, `q.append(await page())`) is owned there, or borrowed from such a variable. So whoever
  can reach a container adds at least one reference, directly or through the frame that called it.
- What the measurement adds must therefore not come from variables: whether one counts once, twice
  or not at all depends on the version, and on debuggers that run frames their own way. Where it
  matters, the container lies in a list (the *box*) or a tuple, and is read from there by C.

None of that is taken from the version: `RELIABLE` tries it at import. Where it does not hold, in a
free-threaded interpreter for example, in which a count is not exact at any one moment, `count`
makes everything look held: nothing is converted then, and plain containers are compared at each
save instead.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from itertools import starmap
from operator import call
from typing import Any, Final

logger = logging.getLogger("autostate")

UNKNOWN: Final = 1_000_000
"""The count of what may be held by anybody."""


def _unknown(_value: Any) -> int:
    return UNKNOWN


count: Callable[[Any], int] = getattr(sys, "getrefcount", _unknown)
"""The references to a value, and one that the call adds; `UNKNOWN` if they say nothing here."""


def put(function: Callable[..., None], parent: Any, slot: Any, new: Any, box: list[Any]) -> int:
    """Put a container in the place of another, and count the references to the other one.

    No other thread runs in between, so nobody can come by the new one before it is known whether it
    stays: C calls both functions and allocates nothing that the collector counts, and the
    interpreter looks for other threads only after a call from Python.

    Args:
        function: `__setitem__` of the builtin.
        parent: The container that holds the other one.
        slot: Its key or index there.
        new: What takes its place.
        box: A list of the other one alone. The caller has it in no variable.

    Returns:
        The references to the other one: those of the box, of a tuple here, and of whoever holds
        it.
    """
    _, found = starmap(call, ((function, parent, slot, new), (count, box[0])))
    return int(found)


def _count_in(parent: list[Any]) -> int:
    return put(list.__setitem__, parent, 0, None, [parent[0]])


def _by_a_variable() -> int:
    held: list[Any] = []
    return _count_in([held])


def _by_the_callers_variable(held: list[Any]) -> int:
    return _count_in([held])


def _by_a_cell() -> int:
    held: list[Any] = []

    def inner() -> int:
        return _count_in([held])

    return inner()


def _by_a_generator(held: list[Any]) -> Iterator[int]:
    yield _count_in([held])
    yield len(held)


def _held() -> Iterator[int]:
    """Count something that somebody holds, in different ways."""
    variable: list[Any] = []
    yield _by_a_variable()
    yield _by_the_callers_variable(variable)
    yield _by_the_callers_variable([])
    yield _by_a_cell()
    yield next(_by_a_generator([]))
    yield next(_by_a_generator(variable))
    yield _count_in([variable])


MEASURING: Final = 1
"""References that `count(holder[slot])` adds: that of the stack, which is owned."""

ALONE: Final = 2
"""References to a container that nobody holds, as `put` counts them: its box, and the tuple."""


def is_reliable() -> bool:
    """Whether counts say here who holds what, found out by trying."""
    gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if not gil() or "t" in getattr(sys, "abiflags", "") or count is _unknown:
        return False
    holder = [[None]]
    if count(holder[0]) - MEASURING != 1 or _count_in([[None]]) != ALONE:
        return False
    return all(found > ALONE for found in _held())


RELIABLE: Final = is_reliable()
"""Whether a count says who holds a container."""

if not RELIABLE:
    count = _unknown
    logger.warning(
        "reference counts do not say here who else holds a container (no GIL?): plain "
        "containers that are put into the state stay plain, and each save compares them all"
    )

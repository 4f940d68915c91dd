"""Whether somebody else holds a container: CPython's reference counts, and what they promise.

A container may only be replaced when nobody else can reach it. The count tells this if each holder
adds one reference, and if the number of references that the measurement adds is known:

- A container, a cell, a bound method, an iterator, a generator and an object add one each: they own
  the values that they hold, in every version.
- A local variable owns its value, with one exception: from Python 3.14 on an argument that the
  caller has in a variable may be *borrowed*. It then adds nothing; but the caller's variable,
  which lives longer, owns the value and counts. A value that is only on the stack of an expression
  (`f([])`, `q.append(await page())`) is owned there, or borrowed from such a variable. So everybody
  who can reach a container adds at least one reference, directly or through the calling frame.
- The measurement itself must therefore use no variables: a variable may count once, twice or not at
  all, depending on the version, and on debuggers that run frames their own way. Where the count
  matters, the container lies in a list (the *box*) or a tuple, and is read from there by C.

These rules are not derived from the version: `RELIABLE` tests them at import. If they do not hold
(in a free-threaded interpreter a count is not exact at any one moment), `count` makes everything
look held: nothing is converted then, and plain containers are compared at each save instead.
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
"""The count of a value that anybody may hold."""


def _unknown(_value: Any) -> int:
    return UNKNOWN


count: Callable[[Any], int] = getattr(sys, "getrefcount", _unknown)
"""The references to a value, and one that the call adds; `UNKNOWN` if counts say nothing here."""


def put(function: Callable[..., None], parent: Any, slot: Any, new: Any, box: list[Any]) -> int:
    """Replace a container by a new one, and count the references to the old one.

    No other thread runs in between, so nobody can reach the new container before it is known
    whether it stays: C calls both functions and allocates nothing that the collector counts, and
    the interpreter switches threads only after a call from Python.

    Args:
        function: `__setitem__` of the builtin.
        parent: The container that holds the old one.
        slot: Its key or index there.
        new: The new container.
        box: A list of the old container alone. The caller has that in no variable.

    Returns:
        The references to the old container: that of the box, that of a tuple here, and those of
        everybody who holds it.
    """
    # The unpacking, too, is done by C. What does not work: two statements, between which another
    # thread could read the new container from the parent.
    _, found = starmap(call, ((function, parent, slot, new), (count, box[0])))
    return int(found)


def _count_in(parent: list[Any]) -> int:
    return put(list.__setitem__, parent, 0, None, [parent[0]])


# Ways to hold a value. Whatever the version and the debugger, each has to add a reference.


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
    """Yield the counts of a value that somebody holds, for each way."""
    variable: list[Any] = []
    yield _by_a_variable()
    yield _by_the_callers_variable(variable)
    yield _by_the_callers_variable([])
    yield _by_a_cell()
    yield next(_by_a_generator([]))
    yield next(_by_a_generator(variable))
    yield _count_in([variable])


MEASURING: Final = 1
"""References that `count(holder[slot])` adds: the one of the stack, which is owned."""

ALONE: Final = 2
"""References to a container that nobody holds, as `put` counts: its box, and the tuple."""


IN_A_BATCH: Final = 3
"""References to a container that only its parent holds, as `map(count, containers)` counts them:
those of the parent, of the list of all containers, and of the call."""


def is_reliable() -> bool:
    """Test whether counts tell here if somebody holds a container."""
    gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if not gil() or "t" in getattr(sys, "abiflags", "") or count is _unknown:
        return False
    holder = [[None]]  # an item that nobody else holds has to count exactly this
    if count(holder[0]) - MEASURING != 1 or _count_in([[None]]) != ALONE:
        return False
    if [*map(count, [*holder])] != [IN_A_BATCH]:
        return False
    return all(found > ALONE for found in _held())


RELIABLE: Final = is_reliable()
"""Whether a count tells if somebody holds a container."""

if not RELIABLE:
    count = _unknown
    logger.warning(
        "reference counts do not say here who else holds a container (no GIL?): plain "
        "containers that are put into the state stay plain, and each save compares them all"
    )

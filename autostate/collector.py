"""Python's garbage collector, and a million containers.

The collector traverses each object that it tracks: a full collection of a million containers takes
0.2 s, in which no thread runs. Two things keep it from that, without a change of its settings:

**Dicts of scalars are not tracked.** Until Python 3.14 the collector does not track plain dicts of
scalars, which cannot be part of a cycle; it tracks them from the moment when something else is put
into them. It does so for dicts of subclasses too, but tracks these from the beginning. `untracking`
gives the function that makes them like plain ones. They refer to their node, which may be part of a
cycle: so only the dicts of a root are not tracked. The tracker keeps a root until it is deleted or
closed, and then its dicts refer to no node any more (`tracking/roots.py`). A dict that moves to
another node is tracked again.

**What is converted is old at once.** Conversion makes one container and frees another; so the
collector does not count them, and may traverse a million of them at once. If it does collect them,
they count as growth of the oldest generation, and each quarter by which it grows is followed by a
full collection. What is frozen and unfrozen is in the oldest generation without that: `aging`.

**What refers to very many objects is old at once,** too. A collection of young objects traverses
all that they refer to: one new list of a million keys costs it as much as a million new lists. See
`made_large`.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

_MANY: Final = 100
"""Containers that are made at once; fewer are left to the collector."""

FEW: Final = 5_000
"""From Python 3.12 on the collector itself puts its immortal objects, hundreds, among the frozen
ones. A program that freezes something has many more, of the modules alone."""

_has_frozen = False


YOUNG: Final = 20_000
"""New objects, or references in a new one, that a collection of the youngest goes through in about
two milliseconds."""


def aging(count: int) -> tuple[Callable[[], None], ...]:
    """Return the functions that put what was just made into the collector's oldest generation.

    The young garbage of the program would stay there, too, until a full collection. So it is
    collected here, and what is returned has to be called soon.

    Args:
        count: The number of containers that are about to be made.
    """
    if count < _MANY or not gc.isenabled() or _are_frozen():
        return ()
    gc.collect(1)
    return gc.freeze, gc.unfreeze


def made_large(references: int) -> None:
    """Let a container that was just made, and refers to so many objects, count as old.

    As after `no_collections`, young garbage of the program is then found later.
    """
    if references > YOUNG and gc.isenabled() and not _are_frozen():
        _make_old()


@contextmanager
def no_collections(*, lasting: bool = False) -> Generator[None]:
    """Keep the cyclic garbage collector from traversing each new container again and again.

    If many objects were made meanwhile, they then count as old. Else the next collection of young
    objects would go through all of them, and so would the one after it: for a million dicts each
    one stops all threads for 0.2 s. To freeze and unfreeze moves all objects to the oldest
    generation, without a look at them. The price: garbage of the program that was young at this
    moment is found by the next full collection, and not sooner.

    Args:
        lasting: What is made meanwhile lasts, as modules do: it counts as old, however few it is.
    """
    enabled = gc.isenabled()
    try:
        gc.disable()  # in here: Ctrl-C may strike after it
        yield
    finally:
        if enabled:
            try:
                if (lasting or gc.get_count()[0] > YOUNG) and not _are_frozen():
                    _make_old()
            finally:  # also if Ctrl-C strikes
                gc.enable()


def _make_old() -> None:
    """Move all objects to the oldest generation."""
    try:
        gc.freeze()
    finally:
        gc.unfreeze()


def _are_frozen() -> bool:
    """Tell whether the program has frozen objects, which it wants to stay frozen."""
    global _has_frozen
    _has_frozen = _has_frozen or gc.get_freeze_count() > FEW  # it takes long to count them
    return _has_frozen


def untracking(count: int) -> Callable[[Any], Any] | None:
    """Return the function that lets the collector forget a dict of scalars; None: there is none.

    Args:
        count: The number of dicts. For a few of them nothing is loaded.
    """
    if (count < _MANY and "ctypes" not in sys.modules) or _tracks_all():  # which loads it
        return None
    functions = _functions()
    return None if functions is None else functions[0]


def track(container: Any) -> None:
    """Let the collector know a container again, if it was forgotten."""
    if not gc.is_tracked(container):
        functions = _functions()
        if functions is not None:
            functions[1](container)


@functools.cache
def _tracks_all() -> bool:
    """Tell whether the collector of this interpreter tracks all dicts, or is not CPython's."""
    plain: dict[str, int] = {"a": 1}
    mine = _Dict(plain)
    known = _functions() if not gc.is_tracked(plain) and gc.is_tracked(mine) else None
    if known is None:
        return True
    known[0](mine)
    forgotten = not gc.is_tracked(mine)
    mine["b"] = []  # what may be part of a cycle has to be tracked again
    return not (forgotten and gc.is_tracked(mine))


class _Dict(dict[str, Any]):
    __slots__ = ("_key_", "_node_")


@functools.cache
def _functions() -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    """Find the functions that untrack and track an object."""
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    try:
        import ctypes

        functions = ctypes.pythonapi.PyObject_GC_UnTrack, ctypes.pythonapi.PyObject_GC_Track
    except (ImportError, AttributeError, OSError):
        return None
    for function in functions:
        function.argtypes, function.restype = [ctypes.py_object], None
    return functions

"""Values that are nested more deeply than the recursion limit of this process allows for.

They were saved under a higher limit, or with fewer calls on the stack. A step that has failed for
this reason is repeated under a limit that is raised as far as these values need, and no further:
code of the program that recurses for ever still ends with RecursionError, and not at the end of the
stack.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec

from autostate import memory
from autostate.errors import CorruptStateError

T = TypeVar("T")


class TooDeepError(CorruptStateError):
    """Stored values are nested more deeply than this process can read; they are not damaged."""


MOST_LEVELS: Final = 10_000
"""The most levels: up to Python 3.11 each one takes from the stack of C, usually of 8 MB."""

FEW_LEVELS: Final = 50
"""With fewer levels, something else recurses: code of the program, or its caller."""

_CALLS_OF_A_LEVEL: Final = 10
_TOKEN: Final = rb'"(?:[^"\\]|\\.)*"|[\[{]+|[\]}]+'
_lock: Final = threading.Lock()
_rooms: Final[list[int]] = []
_before = 0  # the limit without them


@contextmanager
def room_for(levels: int) -> Generator[None]:
    """Raise the recursion limit during the body, as far as this many levels need it.

    Raises:
        TooDeepError: There are too many levels.
    """
    global _before
    if levels > MOST_LEVELS:
        raise TooDeepError(_told(levels))
    room = levels * _CALLS_OF_A_LEVEL
    with _lock:
        if not _rooms:
            _before = sys.getrecursionlimit()
        _rooms.append(room)
        sys.setrecursionlimit(_before + sum(_rooms))
    try:
        yield
    except RecursionError:
        raise TooDeepError(_told(levels)) from None
    finally:
        with _lock:
            _rooms.remove(room)
            sys.setrecursionlimit(_before + sum(_rooms))


def _told(levels: int) -> str:
    return (
        f"values in it are nested {levels:,} levels deep, more than the recursion limit of this "
        "process allows for: raise it, with sys.setrecursionlimit, as the program did that saved "
        "them, in a thread with a large stack"
    )


def with_room(call: Callable[[], T], levels: int) -> T:
    """Repeat a call that has failed with RecursionError, with room for this many levels.

    To be used while that error is handled.

    Raises:
        RecursionError: The same error, if there are so few levels that something else recurses.
        TooDeepError: There are too many levels.
    """
    if levels < FEW_LEVELS:
        raise  # noqa: PLE0704
    with room_for(levels):
        return call()


def reads_deep(decode: Callable[[Any], T]) -> Callable[[Any], T]:
    """Give a decoder that also reads values nested more deeply than the limit allows.

    Args:
        decode: Takes JSON, as bytes or decoded; may be called again.
    """

    @functools.wraps(decode)
    def reading(json: Any) -> T:
        if type(json) is bytes:
            memory.ask_for(len(json))
        try:
            return decode(json)
        except RecursionError:
            is_text = isinstance(json, bytes | msgspec.Raw)
            levels = _levels_of_text(bytes(json)) if is_text else levels_of([json])
            return with_room(functools.partial(decode, json), levels)

    return reading


def _levels_of_text(data: bytes) -> int:
    deepest = level = 0
    for token in re.finditer(_TOKEN, data):
        found = token[0]
        if found[0] in b"[{":
            level += len(found)
            deepest = max(deepest, level)
        elif found[0] in b"]}":
            level -= len(found)
    return deepest


def levels_of(values: Iterable[Any], inside: Callable[[Any], Iterable[Any]] | None = None) -> int:
    """Count the levels of nesting in values.

    Args:
        values: The outermost values.
        inside: Gives the values inside one; by default those in dicts and lists of decoded JSON.
    """
    inside = _inside if inside is None else inside
    levels, found = 0, list(values)
    met: dict[int, Any] = {}  # a value that holds itself is counted once
    while found:
        levels += 1
        met.update((id(value), value) for value in found)
        inner = {id(one): one for value in found for one in inside(value)}
        found = [one for ident, one in inner.items() if ident not in met]
    return levels


def _inside(json: Any) -> Iterable[Any]:
    if isinstance(json, dict):
        return json.values()
    return json if isinstance(json, list) else ()

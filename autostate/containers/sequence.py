"""What PersistedList and PersistedDeque share: methods by position, armed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import index as as_index
from typing import Any

from autostate.tracking.adoption import ATOMS
from autostate.tracking.barrier import (
    EVERYTHING,
    before,
    cut_off,
    is_keyed,
    moved,
    size,
    span,
    spliced,
)
from autostate.tracking.unnamed import UNNAMED, unnamed


def marking(builtin: Any, name: str, mark: Callable[..., None]) -> Any:
    """Wrap a method that is one step of C.

    Args:
        builtin: The plain type.
        name: Of the method.
        mark: Called after it with the container, its former length and the arguments.
    """
    function = getattr(builtin, name)
    size = builtin.__len__

    @functools.wraps(function)
    def method(self: Any, /, *args: Any) -> Any:
        node = self._node_
        if node is None:
            if self._key_ is UNNAMED:
                unnamed(self)
            return function(self, *args)
        with node.tracker.lock:
            before(self)
            length = size(self)
            try:
                result = function(self, *args)
            except Exception:  # nothing was written
                node.tracker.writing = None
                raise
            try:
                mark(self, length, *args)
            except BaseException:  # Ctrl-C between two marks of one write
                node.tracker.writing = (self, EVERYTHING, length)
                raise
        return result

    return method


def inserted(self: Any, length: int, index: Any, _item: Any) -> None:
    """Mark after `insert`; at the ends the other items stay where they are."""
    position = as_index(index)
    position = max(position + length, 0) if position < 0 else min(position, length)
    if position in (0, length):
        moved(self, -1 if position < length else 0)
    else:
        spliced(self, position, 0, 1)


def deleted(self: Any, length: int, index: Any = -1) -> None:
    """Mark after one item was removed."""
    position = as_index(index)
    position = position + length if position < 0 else position
    if position in (0, length - 1):
        moved(self, 0 if position else 1)
    else:
        spliced(self, position, 1, 0)


def append_all(self: Any, function: Callable[..., Any], argument: Any) -> None:
    """Append items by a method that may run code of the user; mark in any case."""
    if self._node_ is None:
        if self._key_ is UNNAMED:
            unnamed(self)
        function(self, argument)
        return
    lock = self._node_.tracker.lock
    with lock:
        before(self)
        start = size(self)
        cut_off(self, start)
    try:
        function(self, argument)
    finally:
        with lock:
            cut_off(self, start)


def removing(builtin: Any) -> Any:
    """Wrap `remove`."""
    function, find = builtin.remove, builtin.index

    @functools.wraps(function)
    def remove(self: Any, value: Any, /) -> None:
        if not (is_keyed(self) and type(value) in ATOMS and ATOMS.issuperset(map(type, self))):
            span(self, function, value)  # all is compared, as it was to find the value
            return
        with self._node_.tracker.lock:  # no code of the user compares
            before(self)
            try:
                index = find(self, value)
            except ValueError:
                index = -1
            length = builtin.__len__(self)
            function(self, value)
            deleted(self, length, index)

    return remove


def add_reflected(container: Any, other: Any) -> Any:
    """Let the other operand of `+=` do it, if it can: Python asks it first about a plain sequence.

    `numbers += array` gives an array, if the array knows how to add one.
    """
    reflected = getattr(type(other), "__radd__", None)
    return NotImplemented if reflected is None else reflected(other, container)


def repeating(builtin: Any, mark: Callable[..., None]) -> Any:
    """Wrap `__imul__`."""
    repeat = marking(builtin, "__imul__", mark)

    @functools.wraps(builtin.__imul__)
    def imul(self: Any, times: Any, /) -> Any:
        return repeat(self, times) if hasattr(type(times), "__index__") else NotImplemented

    return imul

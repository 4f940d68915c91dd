"""The methods that PersistedList and PersistedDeque share: methods by position, armed."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from operator import index as as_index
from typing import Any, Final

from autostate.process.interrupts import is_passing
from autostate.tracking.barrier import (
    EVERYTHING,
    Barrier,
    before,
    is_keyed,
    moved,
    size,
    span,
    spliced,
)
from autostate.tracking.raw import maxlen_of
from autostate.tracking.search import ATOMS
from autostate.tracking.unnamed import UNNAMED, unnamed

SIZED: Final = frozenset({list, tuple, range, str, bytes, set, frozenset, dict, deque})
"""Types of iterables that run no code of the user and have a length."""


def anywhere(*_: Any) -> Any:
    """Tell that any item may change."""
    return EVERYTHING


def marking(
    builtin: Any,
    name: str,
    mark: Callable[..., None],
    where: Callable[..., Any] = anywhere,
) -> Any:
    """Wrap a method that is one step of C.

    Args:
        builtin: The plain type.
        name: The name of the method.
        mark: Called after the method with the container, its former length and the arguments.
        where: Called before the method with the same arguments, inside `atomic()`: tells which
            items it will change, in the form that `barrier.before` takes.
    """
    function = getattr(builtin, name)
    size = builtin.__len__

    @functools.wraps(function)
    def method(self: Barrier, /, *args: Any) -> Any:
        node = self._node_
        if node is None:
            if self._key_ is UNNAMED:
                unnamed(self)
            return function(self, *args)
        with node.tracker.lock:
            before(self, place(where, self, *args) if node.tracker.savepoints else EVERYTHING)
            length = size(self)
            try:
                result = function(self, *args)
            except Exception as error:
                if not is_passing(error):  # nothing was written
                    node.tracker.writing = None
                raise
            try:
                mark(self, length, *args)
            except BaseException:  # Ctrl-C between two marks of one write
                node.tracker.writing = (self, EVERYTHING, length)
                raise
        return result

    return method


def place(where: Callable[..., Any], self: Any, *args: Any) -> Any:
    """Ask `where` which items a method will change."""
    try:
        return where(self, size(self), *args)
    except Exception as error:  # bad arguments, which the method will refuse, or their own code
        if is_passing(error):
            raise
        return EVERYTHING


def _is_unbounded(self: Barrier) -> bool:
    return not isinstance(self, deque) or maxlen_of(self) is None


def at_the_end(self: Barrier, length: int, *_: Any) -> Any:
    """Tell where items are appended. A bounded deque drops other items for them."""
    return slice(length, length) if _is_unbounded(self) else EVERYTHING


def at_the_start(self: Barrier, _length: int, *_: Any) -> Any:
    """Tell where items are added at the left of a deque."""
    return slice(0, 0) if _is_unbounded(self) else EVERYTHING


def at_index(_: Any, length: int, index: Any, *_item: Any) -> Any:
    """Tell where an item is replaced."""
    position = as_index(index)
    return position + length if position < 0 else position


def before_index(_: Any, length: int, index: Any, _item: Any) -> slice:
    """Tell where an item is inserted."""
    position = as_index(index)
    position = max(position + length, 0) if position < 0 else min(position, length)
    return slice(position, position)


def of_index(_: Any, length: int, index: Any = -1) -> slice:
    """Tell where an item is removed."""
    position = at_index(_, length, index)
    return slice(position, position + 1)


def inserted(self: Barrier, length: int, index: Any, _item: Any) -> None:
    """Mark after `insert`; an insertion at an end moves no other item."""
    position = as_index(index)
    position = max(position + length, 0) if position < 0 else min(position, length)
    if position in (0, length):
        moved(self, -1 if position < length else 0)
    else:
        spliced(self, position, 0, 1)


def deleted(self: Barrier, length: int, index: Any = -1) -> None:
    """Mark after one item was removed."""
    position = as_index(index)
    position = position + length if position < 0 else position
    if position in (0, length - 1):
        moved(self, 0 if position else 1)
    else:
        spliced(self, position, 1, 0)


def removing(builtin: Any) -> Any:
    """Wrap `remove`."""
    function, find = builtin.remove, builtin.index

    @functools.wraps(function)
    def remove(self: Any, value: Any, /) -> None:
        if not (is_followed(self) and type(value) in ATOMS and ATOMS.issuperset(map(type, self))):
            span(self, function, value)  # compares all items, as the search for the value does
            return
        with self._node_.tracker.lock:  # no code of the user compares
            length = builtin.__len__(self)
            try:
                index = find(self, value)
            except ValueError:
                index = length
            before(self, slice(index, min(index + 1, length)))
            function(self, value)
            deleted(self, length, index)

    return remove


def is_followed(self: Barrier) -> bool:
    """Tell whether single items are followed: because they are recorded, or may be undone."""
    return is_keyed(self) or (self._node_ is not None and bool(self._node_.tracker.savepoints))


def adding(builtin: Any, extend: Callable[[Any, Any], None]) -> Any:
    """Wrap `__iadd__`, which adds all items of any iterable."""

    @functools.wraps(builtin.__iadd__)
    def iadd(self: Barrier, other: Any, /) -> Any:
        made = add_reflected(self, other)
        if made is NotImplemented:
            extend(self, other)
            made = self
        return made

    return iadd


def add_reflected(container: Barrier, other: Any) -> Any:
    """Let the other operand of `+=` add, if it can: of a plain sequence Python asks it first.

    `numbers += array` makes an array, if the array can add a list.
    """
    reflected = getattr(type(other), "__radd__", None)
    return NotImplemented if reflected is None else reflected(other, container)


def repeating(builtin: Any, mark: Callable[..., None], where: Callable[..., Any]) -> Any:
    """Wrap `__imul__`."""
    repeat = marking(builtin, "__imul__", mark, where)

    @functools.wraps(builtin.__imul__)
    def imul(self: Barrier, times: Any, /) -> Any:
        return repeat(self, times) if hasattr(type(times), "__index__") else NotImplemented

    return imul

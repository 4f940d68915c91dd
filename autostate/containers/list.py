"""PersistedList."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from operator import index as as_index
from typing import TYPE_CHECKING, Any, Self, TypeVar

from autostate.containers import root
from autostate.tracking.barrier import (
    Kind,
    before,
    changed,
    locked,
    register_kind,
    spliced,
)

T = TypeVar("T")
_list = list


def _from(name: str, first: Callable[[Any, Any], int]) -> Any:
    """Wrap a method that changes items from an index on; `first` gives it."""
    function = getattr(list, name)

    @functools.wraps(function)
    def method(self: Any, /, *args: Any) -> Any:
        if self._node is None:
            return function(self, *args)
        with self._node.tracker.lock:
            before(self)
            start = first(self, args)
            result = function(self, *args)
            spliced(self, start)
        return result

    return method


def _position(self: Any, index: Any) -> int:
    """The first item that an assignment to `self[index]` can change."""
    if isinstance(index, slice):
        indices = range(len(self))[index]
        return min(indices[0], indices[-1]) if indices else index.indices(len(self))[0]
    position = as_index(index) if hasattr(index, "__index__") else 0
    return position + len(self) if position < 0 else position


def _sequence(values: Any) -> Any:
    """What is assigned to a slice, ready: an iterator may run code of the user."""
    if type(values) in (list, tuple) or not hasattr(values, "__iter__"):
        return values
    return _list(values)


class PersistedList(root.StateObject, list[T]):
    """A list that saves itself.

    `iterable` is the list at the very first start; afterwards the list is what was saved. For
    the errors see `PersistedDict`.

    Example:
        >>> queue = PersistedList("queue", ["https://example.com"])
        >>> queue.pop()
        'https://example.com'
    """

    __slots__ = ("_key", "_node")

    def __new__(cls, *args: Any, **_kwargs: Any) -> Self:
        """Make an empty list, or give the live one of that name."""
        made: Self = root.create(cls, list, "list", args)
        return made

    def __init__(self, name: str, iterable: Iterable[T] = (), /) -> None:
        """Take the default, if nothing is stored."""
        default = _list(iterable)
        root.bind(self, name, "list")
        if self._node is not None:
            self._node.tracker.begin(self, default)

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        append = _from("append", lambda self, _: len(self))
        insert = _from("insert", lambda self, args: _inserted(self, *args))
        pop = _from("pop", lambda self, args: _position(self, args[0] if args else -1))
        __delitem__ = _from("__delitem__", lambda self, args: _position(self, *args))
        clear = locked(list, "clear")
        reverse = locked(list, "reverse")

        @functools.wraps(list.__setitem__)
        def __setitem__(self, index: Any, value: Any, /) -> None:
            if self._node is None:
                list.__setitem__(self, index, value)
                return
            if isinstance(index, slice):
                index.indices(0)  # a wrong slice is an error before anything is taken
                value = _sequence(value)
            with self._node.tracker.lock:
                before(self)
                start = _position(self, index)
                list.__setitem__(self, index, value)
                spliced(self, start)

        @functools.wraps(list.extend)
        def extend(self, iterable: Iterable[T], /) -> None:
            """Append all items, as `list.extend`."""
            _splice(self, len(self), list.extend, iterable)

        @functools.wraps(list.__iadd__)
        def __iadd__(self, other: Any, /) -> Any:
            made = root.reflected_add(self, other)
            if made is not NotImplemented:
                return made
            _splice(self, len(self), list.extend, other)
            return self

        @functools.wraps(list.__imul__)
        def __imul__(self, times: Any, /) -> Any:
            return _repeat(self, times) if hasattr(type(times), "__index__") else NotImplemented

        @functools.wraps(list.remove)
        def remove(self, value: T, /) -> None:
            """Remove the first item that is equal, as `list.remove`."""
            _splice(self, 0, list.remove, value)

        @functools.wraps(list.sort)
        def sort(self, /, *, key: Any = None, reverse: bool = False) -> None:
            """Sort in place, as `list.sort`."""
            # A list that sorts itself is empty meanwhile, and a cut would save that.
            if self._node is None:
                list.sort(self, key=key, reverse=reverse)
                return
            items = list.copy(self)
            try:
                items.sort(key=key, reverse=reverse)
            finally:  # a comparison that fails leaves a list sorted in part
                with self._node.tracker.lock:
                    if len(items) != len(self):
                        raise ValueError("list modified during sort")
                    before(self)
                    list.__setitem__(self, slice(None), items)
                    changed(self)


def _inserted(self: Any, index: Any = 0, *_value: Any) -> int:
    position = as_index(index)
    return max(position + len(self), 0) if position < 0 else min(position, len(self))


def _splice(self: Any, start: int, function: Callable[..., Any], argument: Any) -> None:
    """Change items from an index on, which may run code of the user; mark in any case."""
    if self._node is None:
        function(self, argument)
        return
    lock = self._node.tracker.lock
    with lock:
        before(self)
        spliced(self, start)
    try:
        function(self, argument)
    finally:
        with lock:
            spliced(self, start)


_repeat = _from("__imul__", lambda self, args: 0 if as_index(*args) <= 0 else len(self))


def _refill(container: list[Any], content: list[Any]) -> None:
    list.__setitem__(container, slice(None), content)


register_kind(
    Kind(
        name="list",
        shape="sequence",
        builtin=list,
        tracked=PersistedList,
        copy=list.copy,
        fill=list.extend,
        refill=_refill,
        raw=frozenset({"append", "insert", "pop", "clear", "__setitem__", "__delitem__"}),
        recording={"append": list.append},
    )
)

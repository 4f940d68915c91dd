"""PersistedList."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from operator import index as as_index
from typing import TYPE_CHECKING, Any, overload

from autostate.containers import root
from autostate.containers.root import T
from autostate.containers.sequence import (
    SIZED,
    adding,
    at_index,
    at_the_end,
    before_index,
    deleted,
    inserted,
    marking,
    of_index,
    place,
    removing,
    repeating,
)
from autostate.tracking.barrier import (
    EVERYTHING,
    Barrier,
    before,
    changed,
    cut_off,
    locked,
    moved,
    put_item,
    register_kind,
    spliced,
)
from autostate.tracking.defaults import owned
from autostate.tracking.kept import SEGMENTS
from autostate.tracking.kind import Kind
from autostate.tracking.unnamed import UNNAMED, unnamed

_list = list


def _sequence(values: Any) -> Any:
    """Collect the items for a slice before the write: an iterator may run code of the user."""
    if type(values) in (list, tuple) or not hasattr(values, "__iter__"):
        return values
    return _list(values)


def _assigned(self: PersistedList[Any], length: int, index: Any) -> None:
    """Mark after an assignment to `self[index]`."""
    if not isinstance(index, slice):
        put_item(self, as_index(index) % length)
        return
    start, stop, step = index.indices(length)
    if step == 1:
        removed = max(stop - start, 0)
        spliced(self, start, removed, list.__len__(self) - length + removed)
    else:  # as many items in their place
        for position in range(start, stop, step):
            put_item(self, position)


def _where(_: Any, length: int, index: Any) -> slice:
    """Tell where `del self[index]` removes items."""
    if not isinstance(index, slice):
        return of_index(_, length, index)
    found = range(length)[index]
    ends = sorted((found[0], found[-1])) if found else (0, -1)
    return slice(ends[0], ends[1] + 1)


def _where_assigned(_: Any, length: int, index: Any) -> Any:
    """Tell where an assignment to `self[index]` replaces items."""
    if not isinstance(index, slice):
        return at_index(_, length, index)
    start, stop, step = index.indices(length)
    return slice(start, max(start, stop)) if step == 1 else _where(_, length, index)


def _where_repeated(_: Any, length: int, times: Any) -> slice:
    """Tell where `self *= times` adds or removes items."""
    return slice(length if as_index(times) > 0 else 0, length)


def _deleted(self: Barrier, length: int, index: Any) -> None:
    """Mark after `del self[index]`."""
    if not isinstance(index, slice):
        deleted(self, length, index)
    elif gone := range(length)[index]:
        _taken_out(self, length, gone if gone.step > 0 else gone[::-1])


def _taken_out(self: Barrier, length: int, gone: range) -> None:
    """Mark after items were removed, whose positions are in ascending order."""
    if len(gone) == gone[-1] + 1:  # at the left end
        moved(self, len(gone))
    elif len(gone) == length - gone[0]:  # at the right end
        moved(self, 0)
    elif gone.step == 1:
        spliced(self, gone[0], len(gone), 0)
    elif len(gone) > SEGMENTS:
        changed(self)
    else:
        for position in reversed(gone):
            spliced(self, position, 1, 0)


def _repeated(self: Barrier, length: int, times: Any) -> None:
    """Mark after `self *= times`."""
    cut_off(self, length if as_index(times) > 0 else 0)


class PersistedList(root.StateObject, list[T]):
    """A list that saves itself.

    At the very first start the list holds the items of `iterable`, afterwards the saved items.
    `PersistedDict` says which errors are raised.

    Example:
        >>> queue = PersistedList("queue", ["https://example.com"])
        >>> queue.pop()
        'https://example.com'
    """

    __slots__ = ("_key_", "_node_")

    @overload
    def __init__(self, name: str, /) -> None: ...
    @overload
    def __init__(self, name: str, iterable: Iterable[T], /) -> None: ...
    def __init__(self, name: str, iterable: Iterable[Any] = (), /) -> None:
        """Use the default, if nothing is stored."""
        root.bind(self, name, owned(self, _list(iterable), iterable))

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        append = marking(list, "append", lambda self, *_: moved(self, 0), at_the_end)
        insert = marking(list, "insert", inserted, before_index)
        pop = marking(list, "pop", deleted, of_index)
        remove = removing(list)
        clear = locked(list, "clear")
        reverse = locked(list, "reverse")
        __delitem__ = marking(list, "__delitem__", _deleted, _where)
        __imul__ = repeating(list, _repeated, _where_repeated)

        @functools.wraps(list.__setitem__)
        def __setitem__(self, index: Any, value: Any, /) -> None:
            if self._node_ is None:
                list.__setitem__(self, index, value)
                return
            if isinstance(index, slice):
                index.indices(0)  # a wrong slice is an error before the iterator is read
                value = _sequence(value)
            tracker = self._node_.tracker
            with tracker.lock:
                noted = tracker.savepoints
                before(self, place(_where_assigned, self, index) if noted else EVERYTHING)
                length = list.__len__(self)
                list.__setitem__(self, index, value)
                _assigned(self, length, index)

        @functools.wraps(list.extend)
        def extend(self, iterable: Any, /) -> None:
            """Append all items; the iterable may run code of the user, and raise half-way."""
            node = self._node_
            if node is None:
                if self._key_ is UNNAMED:
                    unnamed(self)
                list.extend(self, iterable)
                return
            tracker = node.tracker
            if not tracker.savepoints:
                with tracker.lock:
                    before(self)
                    start = list.__len__(self)
                    cut_off(self, start)  # a cut may come before the last item is there
                try:
                    list.extend(self, iterable)
                finally:
                    with tracker.lock:
                        cut_off(self, start)
            elif type(iterable) in SIZED:  # no other write may come between two appends
                with tracker.lock:
                    start = list.__len__(self)
                    before(self, slice(start, start))
                    list.extend(self, iterable)
                    cut_off(self, start)
            else:
                for item in list(iterable) if iterable is self else iterable:
                    PersistedList.append(self, item)

        __iadd__ = adding(list, extend)

        @functools.wraps(list.sort)
        def sort(self, /, *, key: Any = None, reverse: bool = False) -> None:
            """Sort in place, as `list.sort` does."""
            # A list is empty while it is being sorted, and a cut would save the empty list.
            if self._node_ is None:
                list.sort(self, key=key, reverse=reverse)
                return
            items = list.copy(self)
            try:
                items.sort(key=key, reverse=reverse)
            finally:  # a comparison that raises leaves the list partly sorted
                with self._node_.tracker.lock:
                    if len(items) != list.__len__(self):
                        raise ValueError("list modified during sort")
                    before(self)
                    list.__setitem__(self, slice(None), items)
                    changed(self)


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

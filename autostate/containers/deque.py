"""PersistedDeque."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable
from operator import index as as_index
from types import EllipsisType
from typing import TYPE_CHECKING, Any, overload

from autostate.containers import root
from autostate.containers.root import T
from autostate.containers.sequence import (
    SIZED,
    add_reflected,
    adding,
    anywhere,
    at_index,
    at_the_end,
    at_the_start,
    before_index,
    deleted,
    inserted,
    is_followed,
    marking,
    of_index,
    place,
    removing,
    repeating,
)
from autostate.tracking.barrier import before, changed, locked, moved, put_item, register_kind, span
from autostate.tracking.defaults import owned
from autostate.tracking.kind import Kind
from autostate.tracking.raw import maxlen_of


def _adding(name: str, one: str, side: int) -> Any:
    """Wrap `extend` or `extendleft`, which add items at one end: `side` is -1 for the left."""
    function = getattr(deque, name)

    @functools.wraps(function)
    def method(self: Any, iterable: Any, /) -> None:
        if not is_followed(self):
            span(self, function, iterable)
            return
        if type(iterable) in SIZED:
            with self._node_.tracker.lock:  # such an iterable runs no code of the user
                ends = at_the_start if side < 0 else at_the_end
                before(self, place(ends, self))
                many = deque.__len__(self) + len(iterable)
                function(self, iterable)
                moved(self, -len(iterable) if side < 0 else many - deque.__len__(self))
            return
        append = getattr(PersistedDeque, one)
        for item in list(iterable) if iterable is self else iterable:
            append(self, item)

    return method


def _position(index: Any) -> int:
    """Check the index in `queue[index] = …`, with the errors of the interpreter."""
    if not hasattr(type(index), "__index__"):
        raise TypeError(f"sequence index must be integer, not '{type(index).__name__}'")
    position = as_index(index)
    if not -sys.maxsize - 1 <= position <= sys.maxsize:
        raise IndexError(f"cannot fit '{type(index).__name__}' into an index-sized integer")
    return position


def _at_index(name: str, mark: Callable[..., None], where: Callable[..., Any]) -> Any:
    """Wrap `__setitem__` or `__delitem__`."""
    method = marking(deque, name, mark, where)
    function = getattr(deque, name)

    @functools.wraps(function)
    def wrapper(self: PersistedDeque[Any], index: Any, /, *args: Any) -> None:
        method(self, _position(index), *args)

    return wrapper


def _rotated(self: PersistedDeque[Any], length: int, steps: Any = 1) -> None:
    """Mark after `rotate`: `steps` items went from the right end to the left."""
    if length:
        right = as_index(steps) % length
        moved(self, length - right if right > length // 2 else -right)


def _repeated(self: PersistedDeque[Any], length: int, times: Any) -> None:
    """Mark after `self *= times`: a bounded deque keeps the last items."""
    moved(self, length * max(as_index(times), 0) - deque.__len__(self))


class PersistedDeque(root.StateObject, deque[T]):
    """A deque that saves itself: a change at either end is cheap, however long the deque is.

    At the very first start the deque holds the items of `iterable`, afterwards the saved items.
    `PersistedDict` says which errors are raised.

    Args:
        name: The name of the state object. The same name gives the same live object.
        iterable: The items at the very first start.
        maxlen: The largest number of items; None: any number. It replaces the saved `maxlen`:
            items beyond it are dropped from the left. If it is left out, the saved `maxlen`
            holds; at the very first start it is None.

    Example:
        >>> latest = PersistedDeque("latest", maxlen=2)
        >>> latest.extend("abc")
        >>> latest
        deque(['b', 'c'], maxlen=2)
    """

    __slots__ = ("_key_", "_node_")

    @overload
    def __init__(self, name: str, /, *, maxlen: int | EllipsisType | None = ...) -> None: ...
    @overload
    def __init__(
        self, name: str, /, iterable: Iterable[T], maxlen: int | EllipsisType | None = ...
    ) -> None: ...
    def __init__(
        self, name: str, /, iterable: Iterable[Any] = (), maxlen: int | EllipsisType | None = ...
    ) -> None:
        """Use the default, if nothing is stored."""
        if isinstance(iterable, int):
            raise TypeError(
                f"after the name of a {type(self).__name__} come its items, not {iterable}; for "
                f"its greatest length say {type(self).__name__}({name!r}, maxlen={iterable})"
            )
        # A new deque gets its `maxlen` along with its items (`_fill`), before any cut.
        bounded: Any = list if maxlen is ... else functools.partial(deque, maxlen=maxlen)
        root.bind(self, name, bounded(owned(self, list(iterable), iterable)))
        node = self._node_
        if node is not None and maxlen is not ... and maxlen != maxlen_of(self):
            with node.tracker.lock:
                before(self)
                deque.__init__(self, _copy(self), maxlen)
                changed(self)

    if TYPE_CHECKING:  # a method that returns a new deque returns a plain one

        def __copy__(self) -> deque[T]: ...  # type: ignore[override]
        def copy(self) -> deque[T]:  # type: ignore[override]  # ty: ignore[incompatible-method-override]
            """Make a plain, shallow copy."""
            ...

        def __add__(self, other: deque[T], /) -> deque[T]: ...  # type: ignore[override]  # ty: ignore[incompatible-method-override]
        def __mul__(self, times: int, /) -> deque[T]: ...  # type: ignore[override]  # ty: ignore[incompatible-method-override]
        def __rmul__(self, times: int, /) -> deque[T]: ...  # type: ignore[override]  # ty: ignore[incompatible-method-override]

    else:  # type checkers see the builtin's own signatures
        append = marking(
            deque,
            "append",
            lambda self, length, _: moved(self, int(length == maxlen_of(self))),
            at_the_end,
        )
        appendleft = marking(deque, "appendleft", lambda self, *_: moved(self, -1), at_the_start)
        pop = marking(deque, "pop", lambda self, _: moved(self, 0), of_index)
        popleft = marking(deque, "popleft", lambda self, _: moved(self, 1), lambda *_: slice(0, 1))
        rotate = marking(deque, "rotate", _rotated)
        insert = marking(deque, "insert", inserted, before_index)
        remove = removing(deque)
        extend = _adding("extend", "append", 1)
        extendleft = _adding("extendleft", "appendleft", -1)
        __iadd__ = adding(deque, extend)
        clear = locked(deque, "clear")
        reverse = locked(deque, "reverse")
        __setitem__ = _at_index(
            "__setitem__", lambda self, length, index, _: put_item(self, index % length), at_index
        )
        __delitem__ = _at_index("__delitem__", deleted, of_index)
        __imul__ = repeating(deque, _repeated, anywhere)

        def copy(self) -> deque[T]:
            """Make a plain, shallow copy."""
            return _copy(self)

        @functools.wraps(deque.__add__)
        def __add__(self, other: Any, /) -> Any:
            made = add_reflected(self, other)
            return _copy(self) + other if made is NotImplemented else made

        @functools.wraps(deque.__mul__)
        def __mul__(self, times: Any, /) -> Any:
            return _copy(self) * times if hasattr(type(times), "__index__") else NotImplemented

        __rmul__ = __mul__
        __repr__ = root.shown_plain("PersistedDeque", deque, inside="[...]")


def _copy(container: deque[Any]) -> deque[Any]:
    return deque(deque.__iter__(container), maxlen_of(container))


def _fill(container: deque[Any], content: Any) -> None:
    if isinstance(content, deque):
        _configure(container, content.maxlen)
    deque.extend(container, content)


def _refill(container: deque[Any], content: deque[Any]) -> None:
    deque.__init__(container, content, content.maxlen)


def _configure(container: deque[Any], maxlen: int | None) -> None:
    deque.__init__(container, (), maxlen)


def _record_append(self: PersistedDeque[Any], item: Any, /) -> None:
    """Append in the recording variant: every item behind the last saved one counts as new."""
    if maxlen_of(self) is None:
        deque.append(self, item)
    else:
        PersistedDeque.append(self, item)


register_kind(
    Kind(
        name="deque",
        shape="sequence",
        builtin=deque,
        tracked=PersistedDeque,
        copy=_copy,
        fill=_fill,
        refill=_refill,
        raw=frozenset({"append", "appendleft", "pop", "popleft", "insert", "clear"}),
        recording={"append": _record_append},
        describe=maxlen_of,
        configure=_configure,
    )
)

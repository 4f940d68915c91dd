"""PersistedDict, and the methods that it shares with PersistedCounter."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from autostate.containers import root
from autostate.tracking.barrier import (
    Barrier,
    Kind,
    before,
    copy_dict,
    dropped,
    is_keyed,
    locked,
    put,
    put_late,
    register_kind,
    span,
)

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem
    from typing_extensions import TypeVar as TypeVarWithDefault

    # What is only given by keyword has str keys, and seldom values of one type.
    K = TypeVarWithDefault("K", default=str)
    V = TypeVarWithDefault("V", default=Any)
else:
    K = TypeVar("K")
    V = TypeVar("V")

_MISSING: Any = object()


def keyed(builtin: type, name: str) -> Callable[..., Any]:
    """Wrap `__setitem__` or `__delitem__`."""
    function = getattr(builtin, name)
    mark = put if name == "__setitem__" else dropped

    @functools.wraps(function)
    def method(self: Any, key: Any, /, *value: Any) -> None:
        node = self._node
        if node is None:
            function(self, key, *value)
            return
        with node.tracker.lock:
            before(self, key) if value else before(self)
            function(self, key, *value)
            mark(self, key)

    return method


def record_setitem(
    self: Any, key: Any, value: Any, /, _set: Callable[[Any, Any, Any], None] = dict.__setitem__
) -> None:
    """`__setitem__` of the recording form: see `barrier.put_late` for how it ends."""
    _set(self, key, value)
    node = self._node
    log = node.log
    if log is not None:
        log[key] = None
        if node.log is log:
            return
    put_late(self, key)


class DictBarrier(Barrier):
    """What PersistedDict and PersistedCounter share: the mutating methods of dicts, armed."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        clear = locked(dict, "clear")

        @functools.wraps(dict.pop)
        def pop(self: Any, key: Any, /, *default: Any) -> Any:
            """Remove a key and give its value, as `dict.pop`."""
            if self._node is None:
                return dict.pop(self, key, *default)
            with self._node.tracker.lock:
                if default and key not in self:
                    return dict.pop(self, key, *default)
                before(self)
                value = dict.pop(self, key, *default)
                dropped(self, key)
            return value

        @functools.wraps(dict.popitem)
        def popitem(self: Any, /) -> Any:
            """Remove the last entry, as `dict.popitem`."""
            if self._node is None:
                return dict.popitem(self)
            with self._node.tracker.lock:
                before(self)
                item = dict.popitem(self)
                dropped(self, item[0])
            return item

        @functools.wraps(dict.setdefault)
        def setdefault(self: Any, key: Any, default: Any = None, /) -> Any:
            """Give the value of a key, set first if it is not there, as `dict.setdefault`."""
            if self._node is None:
                return dict.setdefault(self, key, default)
            with self._node.tracker.lock:
                if key in self:
                    return dict.setdefault(self, key, default)
                before(self, key)
                value = dict.setdefault(self, key, default)
                put(self, key)
            return value

        # Plain, and cut loose from the store:

        def __copy__(self: Any) -> Any:
            return self.copy()

        def __deepcopy__(self: Any, memo: builtins.dict[int, Any]) -> Any:
            from copy import deepcopy

            made = memo[id(self)] = type(self.copy())()
            for key, value in self.items():
                dict.__setitem__(made, deepcopy(key, memo), deepcopy(value, memo))
            return made


class PersistedDict(DictBarrier, dict[K, V]):
    """A dict that saves itself.

    `PersistedDict("progress", page=1)` is rehydrated from the store if there is anything to
    resume. The arguments after the name are defaults, given as `dict` takes them: they fill in
    what the stored state never had. A key that the program deleted stays deleted.

    Args:
        name: The name of the state object. The same name gives the same live object.

    Raises:
        ValueError: The name is empty or cannot be used.
        StateTypeError: The name belongs to a state object of another kind.
        CorruptStateError: What is stored cannot be read. Nothing is overwritten.
        StoreUnavailableError: The store cannot be reached, so it is not known what to resume.

    Example:
        >>> progress = PersistedDict("progress", page=1)
        >>> progress["page"] += 1
        >>> progress
        {'page': 2}
    """

    __slots__ = ("_key", "_node")

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __setitem__ = keyed(dict, "__setitem__")
        __delitem__ = keyed(dict, "__delitem__")

    def __new__(cls, *args: Any, **_kwargs: Any) -> Self:
        """Make an empty dict, or give the live one of that name."""
        made: Self = root.create(cls, dict, "dict", args)
        return made

    @overload
    def __init__(self, name: str, /) -> None: ...
    @overload
    def __init__(self, name: str, /, **kwargs: Any) -> None: ...
    @overload
    def __init__(self, name: str, map: SupportsKeysAndGetItem[K, V], /, **kwargs: V) -> None: ...
    @overload
    def __init__(self, name: str, iterable: Iterable[tuple[K, V]], /, **kwargs: V) -> None: ...
    def __init__(self, name: str, /, *args: Any, **kwargs: Any) -> None:
        """Offer the defaults."""
        defaults = dict(*args, **kwargs)
        root.bind(self, name, "dict")
        if self._node is not None:
            self._node.tracker.offer(self, defaults)

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        @functools.wraps(dict.update)
        def update(self, /, *args: Any, **kwargs: Any) -> None:
            """Take over entries, as `dict.update`."""
            if not is_keyed(self):
                span(self, dict.update, *args, **kwargs)
                return
            for key, value in _pairs(args, kwargs):
                PersistedDict.__setitem__(self, key, value)

        @functools.wraps(dict.__ior__)
        def __ior__(self, other: Any, /) -> Self:  # type: ignore[misc, override]
            """Take over entries, as `dict.__ior__`."""
            if not is_keyed(self):
                return span(self, dict.__ior__, other)  # type: ignore[no-any-return]
            PersistedDict.update(self, other)
            return self

    def copy(self) -> dict[K, V]:
        """Make a plain, shallow copy."""
        return copy_dict(self)

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> dict[Any, Any]:
        """Make a plain dict."""
        return dict.fromkeys(iterable, value)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Pickle as a plain dict."""
        return dict, (), None, None, iter(self.items())


def _pairs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The arguments of `dict.update` one pair at a time, with the errors of `dict.update`."""
    if len(args) > 1:
        raise TypeError(f"update expected at most 1 argument, got {len(args)}")
    for other in args:
        if isinstance(other, dict) and type(other).__iter__ is dict.__iter__:
            yield from dict.items(other)
        elif hasattr(other, "keys"):
            for key in other.keys():  # noqa: SIM118 - what dict.update does
                yield key, other[key]
        else:
            for pair in other:
                one: dict[Any, Any] = {}
                one.update((pair,))
                yield from one.items()
    yield from kwargs.items()


def refill(container: dict[Any, Any], content: dict[Any, Any]) -> None:
    """Replace the content of a dict in place, past any barrier."""
    dict.clear(container)
    dict.update(container, content)


RAW = frozenset({"__setitem__", "__delitem__", "pop", "popitem", "clear", "setdefault"})

register_kind(
    Kind(
        name="dict",
        shape="mapping",
        builtin=dict,
        tracked=PersistedDict,
        copy=copy_dict,
        fill=dict.update,
        refill=refill,
        raw=RAW,
        recording={"__setitem__": record_setitem},
    )
)

"""PersistedDict, and the methods that it shares with PersistedCounter."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from autostate.containers import root
from autostate.tracking.barrier import (
    EVERYTHING,
    before,
    convert_put,
    dropped,
    held_key,
    is_told_apart,
    locked,
    note_same,
    put,
    put_late,
    register_kind,
    span,
)
from autostate.tracking.defaults import owned
from autostate.tracking.kind import PLAIN, Kind, copy_dict
from autostate.tracking.unnamed import UNNAMED, unnamed

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem
    from typing_extensions import TypeVar as TypeVarWithDefault

    # Entries that are given by keyword have str keys, and seldom values of one type.
    K = TypeVarWithDefault("K", default=str)
    V = TypeVarWithDefault("V", default=Any)
else:
    K = TypeVar("K")
    V = TypeVar("V")


def keyed(builtin: type, name: str) -> Callable[..., Any]:
    """Wrap `__setitem__` or `__delitem__`."""
    function, length = getattr(builtin, name), dict.__len__

    @functools.wraps(function)
    def set_item(self: Any, key: Any, value: Any, /) -> None:
        node = self._node_
        if node is None:
            if self._key_ is UNNAMED:
                unnamed(self)
            function(self, key, value)
            return
        with node.tracker.lock:
            before(self, key)
            former = length(self)
            function(self, key, value)
            put(self, key, new=length(self) > former)

    @functools.wraps(function)
    def delete_item(self: Any, key: Any, /) -> None:
        node = self._node_
        if node is None:
            function(self, key)
            return
        with node.tracker.lock:
            before(self, key, removes=True)
            key = held_key(self, key)  # before it is gone: the store has the key that was held
            former = length(self)
            function(self, key)
            if length(self) < former:  # a Counter ignores a key that it lacks
                dropped(self, key)

    return set_item if name == "__setitem__" else delete_item


def recording(builtin: Any) -> dict[str, Any]:
    """Make the methods of the recording variant."""
    set_item, contains = builtin.__setitem__, dict.__contains__

    def record_setitem(self: Any, key: Any, value: Any, /) -> None:
        """Set an item; `barrier.put_late` says how the method ends."""
        new = not contains(self, key)
        node = self._node_
        if new and type(key) is not node.entries.key_type:
            node.entries.key_type = None
        try:
            set_item(self, key, value)
        except KeyboardInterrupt:  # Ctrl-C strikes after the write
            put_late(self, key, new=new)
            raise
        node = self._node_
        log = node.log
        if log is not None:
            log.setdefault(key, new)
            if node.log is log:
                return
        put_late(self, key, new=new)

    return {"__setitem__": record_setitem}


def popping(builtin: Any) -> Callable[..., Any]:
    """Wrap `pop`."""
    function = builtin.pop

    @functools.wraps(function)
    def pop(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        node = self._node_
        if node is None:
            return function(self, *args, **kwargs)
        with node.tracker.lock:
            key = args[0] if args else kwargs.get("key")
            length = dict.__len__(self)
            if not length:  # nothing is written; the builtin does not even ask for a hash
                value = function(self, *args, **kwargs)
                with contextlib.suppress(TypeError):  # and neither may the note
                    note_same(self, key)
                return value
            before(self, key, removes=True)
            key = held_key(self, key)
            value = function(self, *args, **kwargs)
            if dict.__len__(self) < length:
                dropped(self, key)
        return value

    return pop


def popping_item(builtin: Any) -> Callable[..., Any]:
    """Wrap `popitem`."""
    function = builtin.popitem

    @functools.wraps(function)
    def popitem(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        node = self._node_
        if node is None:
            return function(self, *args, **kwargs)
        with node.tracker.lock:
            key = EVERYTHING
            if not dict.__len__(self):
                return function(self, *args, **kwargs)
            if node.tracker.savepoints:
                left = builtin is not dict and not (args[0] if args else kwargs.get("last", True))
                key = next((builtin.__iter__ if left else builtin.__reversed__)(self))
            before(self, key, removes=key is not EVERYTHING)
            item = function(self, *args, **kwargs)
            dropped(self, item[0])
        return item

    return popitem


def defaulting(builtin: Any) -> Callable[..., Any]:
    """Wrap `setdefault`."""
    function = builtin.setdefault

    @functools.wraps(function)
    def setdefault(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        node = self._node_
        if node is None:
            if self._key_ is UNNAMED:
                unnamed(self)
            return function(self, *args, **kwargs)
        key = args[0] if args else kwargs.get("key")
        with node.tracker.lock:
            if dict.__contains__(self, key):
                note_same(self, key)
                return function(self, *args, **kwargs)
            before(self, key)
            value = function(self, *args, **kwargs)
            put(self, key, new=True)
            if type(value) in PLAIN:
                del value, args  # else they hold it
                kwargs.clear()
                value = convert_put(self, key)
        return value

    return setdefault


def by_items(builtin: Any, name: str) -> Callable[..., Any]:
    """Wrap a method that assigns item by item: where entries are recorded, each item is.

    An empty counter is filled by `dict.update` instead, which assigns nothing that could be seen.
    """
    function = getattr(builtin, name)

    @functools.wraps(function)
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_told_apart(self) and dict.__len__(self):
            return function(self, *args, **kwargs)
        return span(self, function, *args, **kwargs)

    return method


class DictBarrier(root.StateObject):
    """The base of PersistedDict and PersistedCounter: the mutating methods of dicts, armed."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __setitem__ = keyed(dict, "__setitem__")
        __delitem__ = keyed(dict, "__delitem__")
        clear = locked(dict, "clear")
        pop = popping(dict)
        popitem = popping_item(dict)
        setdefault = defaulting(dict)


class PersistedDict(DictBarrier, dict[K, V]):
    """A dict that saves itself.

    `PersistedDict("progress", page=1)` is rehydrated from the store if it was saved before. The
    arguments after the name are defaults, in any form that `dict` accepts: they fill in keys that
    the stored state never had. A key that the program deleted stays deleted.

    Args:
        name: The name of the state object. The same name gives the same live object.

    Raises:
        ValueError: The name is empty or cannot be used, or begins with `autostate.`.
        StateTypeError: The name belongs to a state object of another kind, or to a live one of
            another class.
        CorruptStateError: The stored state cannot be read. Nothing is overwritten.
        StoreUnavailableError: The store cannot be reached, so the state to resume is not known.

    Example:
        >>> progress = PersistedDict("progress", page=1)
        >>> progress["page"] += 1
        >>> progress
        {'page': 2}
    """

    __slots__ = ("_key_", "_node_")

    @overload
    def __init__(self, name: str, /, **kwargs: Any) -> None: ...
    @overload
    def __init__(self, name: str, map: SupportsKeysAndGetItem[K, V], /, **kwargs: V) -> None: ...
    @overload
    def __init__(self, name: str, iterable: Iterable[tuple[K, V]], /, **kwargs: V) -> None: ...
    def __init__(self, name: str, /, *args: Any, **kwargs: Any) -> None:
        """Offer the defaults."""
        given = args[0] if args else None
        root.bind(self, name, owned(self, dict(*args, **kwargs), given, kwargs))

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        @functools.wraps(dict.update)
        def update(self, /, *args: Any, **kwargs: Any) -> None:
            """Add or replace entries, as `dict.update` does."""
            if not is_told_apart(self):
                span(self, dict.update, *args, **kwargs)
                return
            for key, value in _pairs(args, kwargs):
                DictBarrier.__setitem__(self, key, value)

        @functools.wraps(dict.__ior__)
        def __ior__(self, other: Any, /) -> Self:  # type: ignore[misc, override]
            """Add or replace entries, as `dict.__ior__` does."""
            if not is_told_apart(self):
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


def _pairs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Give the arguments of `dict.update` pair by pair, with the errors of `dict.update`."""
    if len(args) > 1:
        raise TypeError(f"update expected at most 1 argument, got {len(args)}")
    for other in args:
        if isinstance(other, dict) and type(other).__iter__ is dict.__iter__:
            yield from dict.items(other)
        elif hasattr(other, "keys"):
            for key in other.keys():  # noqa: SIM118 - as dict.update does
                yield key, other[key]
        else:
            for index, pair in enumerate(other):
                one: dict[Any, Any] = {}
                try:
                    one.update((pair,))
                except (TypeError, ValueError) as error:
                    error.args = tuple(str(arg).replace("#0", f"#{index}") for arg in error.args)
                    raise
                yield from one.items()
    yield from kwargs.items()


def refill(container: dict[Any, Any], content: dict[Any, Any]) -> None:
    """Replace the content of a dict in place, without any barrier."""
    dict.clear(container)
    dict.update(container, content)


_RAW: Final = frozenset({"__setitem__", "__delitem__", "pop", "popitem", "clear", "setdefault"})


def register_mapping(name: str, builtin: type, tracked: type, **differences: Any) -> None:
    """Make a kind of dict known; `differences` are what its `Kind` has other than that of dict."""
    same: dict[str, Any] = {
        "copy": copy_dict,
        "fill": dict.update,
        "refill": refill,
        "raw": _RAW,
        "recording": recording(dict),
    }
    register_kind(Kind(name, "mapping", builtin, tracked, **(same | differences)))


register_mapping("dict", dict, PersistedDict)

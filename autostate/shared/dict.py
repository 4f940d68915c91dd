"""SharedDict."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Never, Self

from autostate.containers.dict import K, V
from autostate.shared.container import SharedContainer, refuse_defaults, refused
from autostate.shared.handle import ABSENT, Handle, Options

Merge = Callable[[Any, Any], Any]
_NO_ORDER: Final = "processes do not share the order of the keys"


def _check_deletable(self: SharedDict[Any, Any], keys: Iterable[Any]) -> None:
    """Refuse to delete merged keys: a later merge would bring the value back."""
    merge = self._merge_
    if merge is None:
        return
    for key in keys:
        if callable(merge) or key in merge:
            raise TypeError(
                f"{self._handle_.name!r}: a value that is merged cannot be deleted, for what other "
                "processes have merged would bring it back: use a new key, or assign a value that "
                "the merge function takes as none"
            )


def _delete(self: SharedDict[Any, Any], keys: Iterable[Any]) -> None:
    _check_deletable(self, keys := list(keys))
    if keys:
        self._handle_.write(dict.fromkeys(keys, ABSENT))


class SharedDict(SharedContainer, dict[K, V]):
    """A dict that any number of processes, machines and Actor runs change at once.

    A read shows what this process has done, and what others had done as of the last refresh.

    - Without a merge function the last writer of a key wins, by a clock that never goes back; to
      delete a key is to write it, too. So `d[k] += 1` may lose increments of other processes: use
      `SharedCounter`.
    - With a merge function, a value is the merge of all that was ever assigned to the key, in any
      order and grouping, with repetitions. The function must give the same result for each order,
      as `min`, `max` and the union of lists without duplicates do. Such a key cannot be deleted.
    - A value is one value: containers inside it are frozen, and writes to them raise TypeError.
      Assign the whole: `d[k] = [*d[k], item]`.
    - `popitem` and `reversed` raise TypeError: processes do not share the order of the keys.

    Args:
        name: The name of the dict. The same name gives the same live object.
        merge: A function of two values for all keys, or a mapping of keys to functions. All
            processes have to pass the same.

    Example:
        best = SharedDict[str, float]("best", merge={"price": min})
        best["price"] = 12.5
        best.refresh()
    """

    __slots__ = ("_handle_", "_merge_")
    _builtin_ = dict
    if TYPE_CHECKING:
        _merge_: Merge | Mapping[Any, Merge] | None

    def __new__(
        cls,
        name: str,
        /,
        *defaults: Never,
        merge: Merge | Mapping[Any, Merge] | None = None,
        **named: Never,
    ) -> Self:
        """Give the live object of that name; the first call for a name makes it."""
        refuse_defaults(cls, name, defaults, named)
        if merge is not None:
            functions = merge.values() if isinstance(merge, Mapping) else (merge,)
            if not all(map(callable, functions)):
                raise TypeError("merge takes a function of two values, or functions by key")
        return cls._attached_(name, {"merge": merge})

    def __init__(self, name: str, /, *, merge: Merge | Mapping[Any, Merge] | None = None) -> None:
        """Do nothing: the object may be live already."""

    @classmethod
    def _made_(cls, handle: Handle, options: Options) -> Self:
        """Make an empty dict that is bound to a handle."""
        made = super()._made_(handle, options)
        made._merge_ = options.get("merge")
        return made

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> dict[Any, Any]:
        """Make a plain dict."""
        return dict.fromkeys(iterable, value)

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        def __setitem__(self, key: K, value: V, /) -> None:
            self._handle_.write({key: value})

        def __delitem__(self, key: K, /) -> None:
            with self._handle_.lock:
                if not dict.__contains__(self, key):
                    raise KeyError(key)
                _delete(self, (key,))

        @functools.wraps(dict.update)
        def update(self, /, *args: Any, **kwargs: Any) -> None:
            """Assign entries, as `dict.update` does: all of them, or none."""
            entries: dict[Any, Any] = {}
            entries.update(*args, **kwargs)
            if entries:
                self._handle_.write(entries)

        @functools.wraps(dict.__ior__)
        def __ior__(self, other: Any, /) -> Self:
            """Assign entries, as `dict.__ior__` does: all of them, or none."""
            entries: dict[Any, Any] = {}
            entries |= other
            if entries:
                self._handle_.write(entries)
            return self

        @functools.wraps(dict.setdefault)
        def setdefault(self, key: K, default: V | None = None, /) -> Any:
            """Assign a value if the key is not in view. Another process may do so, too."""
            with self._handle_.lock:
                if not dict.__contains__(self, key):
                    self._handle_.write({key: default})
                return dict.__getitem__(self, key)

        @functools.wraps(dict.pop)
        def pop(self, key: K, /, *default: Any) -> Any:
            """Delete a key that is in view, and give its value. Another process may do so, too."""
            if len(default) > 1:
                raise TypeError(f"pop expected at most 2 arguments, got {1 + len(default)}")
            with self._handle_.lock:
                if not dict.__contains__(self, key):
                    return dict.pop(self, key, *default)  # the default, or the builtin's error
                value = dict.__getitem__(self, key)
                _delete(self, (key,))
            return value

        @functools.wraps(dict.clear)
        def clear(self) -> None:
            """Delete all keys that are in view."""
            with self._handle_.lock:
                _delete(self, self)

        popitem = refused(dict, "popitem", f"{_NO_ORDER}: use pop(key)")
        __reversed__ = refused(dict, "__reversed__", f"{_NO_ORDER}: use sorted(d)")

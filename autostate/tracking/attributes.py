"""Classes that redirect attribute access: the library's own attributes bypass the redirection.

`__setattr__ = dict.__setitem__` makes every attribute an entry. The two slots of a container, and
its `__class__`, which changes with the variant, belong to the library: they must neither become
entries nor be read from the entries. So the methods of such a class are wrapped, once and in the
class itself. Other classes are left unchanged, and reading a slot stays one step of the
interpreter.

Such a method may bypass the barrier, as `dict.__setitem__` does. So the entry with the attribute's
name is compared before and after the call.

`self.__dict__ = self` has the same effect: then C writes the entries, and calls no method. A class
whose code names `__dict__` gets a `__setattr__` and a `__delattr__` that write to the entries as
the program would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from autostate.tracking.kind import Kind

OWN: Final = frozenset({"_key_", "_node_"})
"""The slots of a persisted container."""

_MARK: Final = "__autostate_shield__"

Write = Callable[..., Any]


def shield(cls: Any, kind: Kind, variants: Container[Any], write: Write) -> None:
    """Let the library's attributes bypass the attribute methods of a class.

    Args:
        cls: A class of persisted containers that has no objects yet.
        kind: The kind of container.
        variants: The classes that a container may be given.
        write: Calls a function that may bypass the barrier: see `barrier.write_entry`.
    """
    to_entries = _may_be_its_own_dict(cls, kind)
    for name in ("__setattr__", "__delattr__", "__getattribute__"):
        theirs = type.__getattribute__(cls, name)
        if hasattr(theirs, _MARK):
            continue
        writes = name != "__getattribute__" and kind.shape == "mapping"
        if theirs not in (getattr(object, name), getattr(kind.builtin, name)):
            plain = getattr(object, name)
            _put(cls, name, theirs, _past(theirs, plain, variants, write if writes else _call))
        elif to_entries and writes:
            _put(cls, name, theirs, _to_entries(name, kind.tracked))


def _put(cls: Any, name: str, theirs: Any, method: Callable[..., Any]) -> None:
    functools.update_wrapper(method, theirs)
    setattr(method, _MARK, True)
    type.__setattr__(cls, name, method)  # not as the metaclass may do it


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _past(
    theirs: Callable[..., Any], plain: Callable[..., Any], variants: Container[Any], write: Write
) -> Callable[..., Any]:
    """Wrap a method of attribute access that a class has."""

    def method(self: Any, name: str, /, *value: Any) -> Any:
        if name in OWN or (name == "__class__" and value and _is_in(value[0], variants)):
            return plain(self, name, *value)
        return write(theirs, self, name, *value)

    return method


def _is_in(value: Any, variants: Container[Any]) -> bool:
    return isinstance(value, type) and value in variants


# -- self.__dict__ = self ---------------------------------------------------------------------


def _may_be_its_own_dict(cls: Any, kind: Kind) -> bool:
    """Tell whether the code of a class may give objects themselves as `__dict__`."""
    if kind.shape != "mapping" or not cls.__dictoffset__:
        return False
    bases = cls.__mro__[: cls.__mro__.index(kind.tracked)]
    return any("__dict__" in code.co_names for base in bases for code in _code_of(base))


def _code_of(cls: type) -> Iterator[Any]:
    for value in vars(cls).values():
        function = getattr(value, "__func__", value)
        if isinstance(function, FunctionType):
            yield function.__code__


def _to_entries(name: str, tracked: Any) -> Callable[..., Any]:
    """Make a `__setattr__` or `__delattr__` that writes to the entries if these are `__dict__`."""
    plain = getattr(object, name)
    write = tracked.__setitem__ if name == "__setattr__" else tracked.__delitem__

    def method(self: Any, name: str, /, *value: Any) -> None:
        if object.__getattribute__(self, "__dict__") is not self or _is_data(type(self), name):
            plain(self, name, *value)
            return
        try:
            write(self, name, *value)
        except KeyError:  # as for a plain object
            raise AttributeError(name) from None

    return method


def _is_data(cls: type, name: str) -> bool:
    """Tell whether an attribute is the class's to set: a slot, a property, `__class__`."""
    found = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
    return hasattr(type(found), "__set__") or hasattr(type(found), "__delete__")

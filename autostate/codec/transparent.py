"""Wrappers that behave like the wrapped object: the results of `pickled` and `proxy`.

`wrapt.ObjectProxy` forwards attributes, operators and `isinstance`. This module adds special
methods that only some wrapped objects have, and whose mere presence tells the sort of an object
(`callable`, `await`, `next`), in-place operators that keep the wrapper, and a repr.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import wrapt

from autostate.codec.introspection import static
from autostate.codec.registry import ENCODERS
from autostate.codec.signatures import Encode

if TYPE_CHECKING:
    Proxy = wrapt.ObjectProxy[Any]
else:
    Proxy = wrapt.ObjectProxy

OPTIONAL: Final = (
    *("__call__", "__next__", "__length_hint__", "__fspath__", "__get__"),
    *("__await__", "__aiter__", "__anext__", "__aenter__", "__aexit__"),
    *("__matmul__", "__rmatmul__", "__ceil__", "__floor__", "__trunc__"),
)
"""Special methods that a wrapper has if the class of the wrapped object has them."""

IN_PLACE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    f"__{name}__": getattr(operator, name)
    for name in (
        *("iadd", "isub", "imul", "imatmul", "itruediv", "ifloordiv", "imod", "ipow"),
        *("ilshift", "irshift", "iand", "ixor", "ior"),
    )
}


class Transparent(Proxy):
    """A wrapper around any object; its subclasses define what in-place operators do."""

    def _self_assigned(self, result: Any) -> Any:
        """Give the result of an in-place operator, wrapped."""
        raise NotImplementedError

    def _self_state(self) -> Any:
        """Give the state object for which the wrapper stands, if it does."""
        return None

    @staticmethod
    def _self_special(name: str) -> Callable[..., Any]:
        """Make one of the special methods in `OPTIONAL`."""
        return forward(name)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return self._self_assigned(function(self.__wrapped__, other))

    return method


for _name, _function in IN_PLACE.items():
    setattr(Transparent, _name, _in_place(_function))


def forward(name: str) -> Callable[..., Any]:
    """Make a special method that calls that of the wrapped object."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        wrapped = self.__wrapped__
        return getattr(type(wrapped), name)(wrapped, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    return method


def shaped(cls: type[Transparent], value: Any, encode: Encode) -> Any:
    """Give the subclass of a wrapper's class that has the special methods of a value.

    Args:
        cls: The wrapper's class.
        value: The object that is going to be wrapped.
        encode: How objects of the class are translated when they are saved.
    """
    # Those of the metaclass do not count, so `hasattr` does not do.
    names = tuple(name for name in OPTIONAL if static(type(value), name) is not None)
    known = _SHAPED.get((cls, names))
    if known is None:
        methods = {name: cls._self_special(name) for name in names}
        namespace = {"__module__": cls.__module__, "__doc__": cls.__doc__, **methods}
        make: Any = type(cls)
        known = _SHAPED.setdefault((cls, names), make(cls.__name__, (cls,), namespace))
        ENCODERS[known] = encode
    return known


_SHAPED: Final[dict[tuple[type, tuple[str, ...]], type[Transparent]]] = {}

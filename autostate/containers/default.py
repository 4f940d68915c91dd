"""defaultdict, as a nested container."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

from autostate import codec
from autostate.containers.dict import DictBarrier, PersistedDict, refill, register_mapping
from autostate.tracking.barrier import convert_put, locked, spanning
from autostate.tracking.kind import PLAIN, copy_dict

K = TypeVar("K")
V = TypeVar("V")

_factory: Any = vars(defaultdict)["default_factory"]


def _goes_past_setitem() -> bool:
    """Try whether the builtin stores a made value without a call of `__setitem__`."""

    class Noting(defaultdict[str, None]):
        def __setitem__(self, key: str, value: None, /) -> None:
            noted.append(key)

    noted: list[str] = []
    Noting(_nothing)["made"]
    return not noted


def _nothing() -> None:
    """Make None."""


def _missing(self: Any, key: Any, /) -> Any:
    """Make a value, as `defaultdict.__missing__` does.

    From Python 3.14 on the builtin stores the value as `dict.setdefault` does, in C, where no
    barrier sees it. Earlier versions call `__setitem__`, which replaces a value that the factory
    itself may have stored under the key.
    """
    factory = _factory.__get__(self)
    if factory is None:
        raise KeyError(key)
    if GOES_PAST_SETITEM:
        return self.setdefault(key, factory())
    value = factory()
    self[key] = value
    node = self._node_
    if node is not None and type(value) in PLAIN:
        del value  # else this variable holds it
        with node.tracker.lock:
            return convert_put(self, key)
    return value


GOES_PAST_SETITEM: Final = _goes_past_setitem()


class PersistedDefaultDict(DictBarrier, defaultdict[K, V]):
    """The class that a defaultdict gets inside a state object.

    Attributes:
        default_factory: Makes the value of a missing key; None: a missing key is a KeyError.
    """

    __slots__ = ("_key_", "_node_")

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __init__ = spanning(defaultdict, "__init__")
        __missing__ = _missing
        update = PersistedDict.update
        __ior__ = PersistedDict.__ior__

        default_factory = property(
            _factory.__get__,
            locked(_factory, "__set__"),
            lambda self: setattr(self, "default_factory", None),  # which the builtin has then
            "The function that makes the value of a missing key.",
        )


PersistedDefaultDict.__name__ = "defaultdict"  # which its repr shows


def _copy(container: defaultdict[Any, Any]) -> defaultdict[Any, Any]:
    return defaultdict(_factory.__get__(container), copy_dict(container))


def _fill(container: defaultdict[Any, Any], content: dict[Any, Any]) -> None:
    if isinstance(content, defaultdict):
        _factory.__set__(container, content.default_factory)
    dict.update(container, content)


def _refill(container: defaultdict[Any, Any], content: defaultdict[Any, Any]) -> None:
    _factory.__set__(container, content.default_factory)
    refill(container, content)


def _configure(container: defaultdict[Any, Any], description: Any) -> None:
    _factory.__set__(container, codec.decode_factory(description))


register_mapping(
    "defaultdict",
    defaultdict,
    PersistedDefaultDict,
    copy=_copy,
    fill=_fill,
    refill=_refill,
    describe=lambda container: codec.encode_factory(_factory.__get__(container)),
    configure=_configure,
)

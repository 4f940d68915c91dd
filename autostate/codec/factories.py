"""The factories of defaultdicts, by name: builtin types, known classes, registered functions."""

from __future__ import annotations

from typing import Any, Final

from autostate.codec.names import find, name_of
from autostate.codec.registry import entry_for, named, tag_of
from autostate.codec.signatures import Json, Make, Stored
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import Unsupported
from autostate.errors import UnknownTypeError

_BUILTIN: Final[dict[str, type]] = {}
_NAMES: Final[dict[type, str]] = {}


def register_builtin(cls: type) -> None:
    """Let a builtin type be a factory."""
    name = name_of(cls)
    _BUILTIN[name], _NAMES[cls] = cls, name


for _cls in (tuple, frozenset, str, int, float, bool, bytes, bytearray, complex):
    register_builtin(_cls)  # `kinds.py` adds the containers


def encode_factory(factory: Any) -> Json:
    """Name the `default_factory` of a defaultdict.

    Returns:
        JSON: None, or a name.

    Raises:
        Unsupported: It has no name in the store.
    """
    if factory is None:
        return None
    if type(factory) is Unknown:
        return factory.json  # type: ignore[no-any-return]
    if type(factory) is type and factory in _NAMES:
        return _NAMES[factory]
    if isinstance(factory, type):
        entry = entry_for(factory)
        if entry is not None:
            return entry.name
    tag = tag_of(factory)
    if tag is not None:
        return tag
    shown = getattr(factory, "__qualname__", type(factory).__qualname__)
    raise Unsupported(
        f"the default_factory {shown} has no name in the store: give it one with "
        "autostate.register(function, 'name')"
    )


def decode_factory(json: Stored, make: Make | None = None) -> Any:
    """Find the `default_factory` that a store names.

    Args:
        json: What `encode_factory` gave.
        make: As for `decode`: `make("unknown", [name, json])` decides about one that is not known.

    Raises:
        UnknownTypeError: The program has none of that name, and there is no `make`.
    """
    if json is None:
        return None
    if not isinstance(json, str):
        raise TypeError("the name of a default_factory is a str")
    known = _BUILTIN.get(json) or named(json)
    if known is None and ":" in json:
        known = find(json, lambda cls: entry_for(cls) is not None)
    if known is not None:
        return known
    if make is None:
        raise UnknownTypeError(json)
    return make("unknown", [json, json])

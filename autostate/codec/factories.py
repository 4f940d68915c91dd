"""The factories of defaultdicts, by name: builtin types, known classes, registered functions."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

from autostate.codec.names import find
from autostate.codec.registry import entry_for, named, tag_of
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import Unsupported
from autostate.errors import UnknownTypeError

_FACTORIES: Final[dict[str, Callable[[], Any]]] = {
    f"{cls.__module__}:{cls.__qualname__}": cls
    for cls in (
        *(list, dict, set, tuple, frozenset, str, int, float, bool, bytes, bytearray, complex),
        *(Counter, OrderedDict, deque, defaultdict),
    )
}
_FACTORY_NAMES: Final = {factory: name for name, factory in _FACTORIES.items()}


def encode_factory(factory: Any) -> Any:
    """Name the `default_factory` of a defaultdict.

    Returns:
        JSON: None, or a name.

    Raises:
        Unsupported: It has no name in the store.
    """
    if factory is None:
        return None
    if type(factory) is Unknown:
        return factory.json
    try:
        if factory in _FACTORY_NAMES:
            return _FACTORY_NAMES[factory]
    except TypeError:  # it has no hash
        pass
    if isinstance(factory, type):
        entry = entry_for(factory)
        if entry is not None:
            return entry.name
    tag = tag_of(factory)
    if tag is not None:
        return tag
    raise Unsupported(
        f"the default_factory {_shown(factory)} has no name in the store: give it one with "
        "autostate.register(function, 'name')"
    )


def decode_factory(json: Any, make: Callable[[str, Any], Any] | None = None) -> Any:
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
    known = _FACTORIES.get(json) or named(json)
    if known is None and ":" in json:
        known = find(json, lambda cls: entry_for(cls) is not None)
    if known is not None:
        return known
    if make is None:
        raise UnknownTypeError(json)
    return make("unknown", [json, json])


def _shown(factory: Any) -> str:
    return str(getattr(factory, "__qualname__", type(factory).__qualname__))

"""Keys and members as texts, and kinds by their names, as the records have them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time
from numbers import Number
from typing import Any, Final

from autostate.delivery.destination import decode, encode
from autostate.errors import StateTypeError, UnsupportedTypeError
from autostate.shared.kinds import COUNTER, SET, DictKind, Kind

_PLACE: Final = "a key", "a shared object"
"""What is told of keys that cannot be kept."""


def text_of(key: Any) -> str:
    """Return the text under which a key or member is stored: itself, or `=` and JSON.

    Raises:
        UnsupportedTypeError: It cannot be stored; or it is equal to another key of another type, so
            that processes could not agree which of them is there.

    Example:
        >>> text_of("page"), text_of(("page", 1))
        ('page', '={"$tuple":["page",1]}')
    """
    if type(key) is str:
        is_plain = not key.startswith("=") and (key.isascii() or _is_utf8(key))
        return key if is_plain else "=" + encode(key, *_PLACE)
    _check(key)
    return "=" + encode(key, *_PLACE)


def _is_utf8(text: str) -> bool:
    """Tell whether a text is one of UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_PLAIN: Final = (str, bytes, tuple, frozenset)


def _check(key: Any) -> None:
    """Refuse what may be equal to something of another text, also inside tuples and frozensets."""
    cls: Any = type(key)
    if cls is tuple or cls is frozenset:
        for item in key:
            _check(item)
    elif issubclass(cls, Number):
        if cls is not int and (cls is not float or key.is_integer() or math.isnan(key)):
            _refuse(key, "a number of another type, or not to itself: take an int or a str")
    elif isinstance(key, _PLAIN):
        base = next(each for each in _PLAIN if isinstance(key, each))
        if cls is not base:
            _refuse(key, f"a plain {base.__name__}: take that")
    elif isinstance(key, (datetime, time)) and (key.tzinfo not in (None, UTC) or key.fold):
        _refuse(
            key, "the same time elsewhere: take it in timezone.utc, by astimezone(timezone.utc)"
        )


def _refuse(key: Any, what: str) -> None:
    raise UnsupportedTypeError(
        "a key of a shared object", f"this {type(key).__qualname__} may be equal to {what}"
    )


def key_of(text: str) -> Any:
    """Return the key of a text."""
    return decode(text[1:]) if text.startswith("=") else text


def kind_named(name: str) -> Kind:
    """Give a kind without functions of the user.

    Raises:
        StateTypeError: There is no such kind: a newer version of autostate has written it.
    """
    kinds: dict[str, Kind] = {"counter": COUNTER, "set": SET, "dict": DictKind()}
    if name not in kinds:
        raise StateTypeError(f"a shared object of the kind {name!r} needs a newer autostate")
    return kinds[name]

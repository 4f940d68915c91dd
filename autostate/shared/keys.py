"""Keys and members as texts, and kinds by their names, as the records have them."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import math
from typing import Any, Final

from autostate.delivery.destination import decode, encode
from autostate.errors import StateTypeError, UnsupportedTypeError
from autostate.shared.kinds import COUNTER, SET, DictKind, Kind

_EQUAL_TO_OTHERS: Final = (decimal.Decimal, fractions.Fraction, complex)


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
        return key if is_plain else "=" + encode(key)
    if isinstance(key, bool) or (isinstance(key, float) and (key.is_integer() or math.isnan(key))):
        raise UnsupportedTypeError(
            "a key of a shared object",
            f"{key!r} is equal to a number of another type, or not to itself: take an int or a str",
        )
    return "=" + encode(_only(key))


def _is_utf8(text: str) -> bool:
    """Tell whether a text is one of UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _only(key: Any) -> Any:
    """Give the one of all keys that are equal to this one which every process stores.

    Two texts of one key would be two entries, of which a process shows only one.

    Raises:
        UnsupportedTypeError: It is not known which one that is.
    """
    kind = type(key)
    if kind in (tuple, frozenset):
        return kind(map(_only, key))
    if kind is bool or (kind is float and key.is_integer()):
        return int(key)  # a part of a key
    if isinstance(key, enum.Enum) and isinstance(key, int | float | str | bytes | tuple):
        raise _unclear(key, "its value")
    if isinstance(key, _EQUAL_TO_OTHERS) or (kind is float and math.isnan(key)):
        raise _unclear(key, "an int or a str")
    is_timed = isinstance(key, dt.datetime | dt.time) and key.tzinfo is not None
    if is_timed and key.tzinfo is not dt.UTC:
        raise _unclear(key, "it in datetime.UTC")
    return key


def _unclear(key: Any, instead: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(
        "a key of a shared object",
        f"{key!r} is equal to values of other types or forms, or not to itself: take {instead}",
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

"""Keys and members as texts, and kinds by their names, as the records have them."""

from __future__ import annotations

import math
from typing import Any

from autostate.delivery.destination import decode, encode
from autostate.errors import StateTypeError, UnsupportedTypeError
from autostate.shared.kinds import COUNTER, SET, DictKind, Kind


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
        return key if not key.startswith("=") else "=" + encode(key)
    if isinstance(key, bool) or (isinstance(key, float) and (key.is_integer() or math.isnan(key))):
        raise UnsupportedTypeError(
            "a key of a shared object",
            f"{key!r} is equal to a number of another type, or not to itself: take an int or a str",
        )
    return "=" + encode(key)


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

"""Values of types that JSON lacks, and that a text can give: dates, decimals, bytes and so on."""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import uuid
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final, NamedTuple

from autostate.cli.forms import plain_json
from autostate.codec.decoding import decode
from autostate.errors import CorruptStateError


class _Reader(NamedTuple):
    """How the values of a type are written.

    Attributes:
        kind: What the values are, as messages say it.
        read: Gives a value for a text, and for a present value.
    """

    kind: str
    read: Callable[[str, Any], Any]


def _moment(text: str, old: Any) -> Any:
    found = type(old).fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=old.tzinfo)


def _bytes(text: str, old: Any) -> Any:
    return type(old)(decode({"$bytes": text}, lambda _, content: content))


_READERS: Final = {
    "$bytes": _Reader("bytes, as base64", _bytes),
    "$bytearray": _Reader("bytes, as base64", _bytes),
    "$datetime": _Reader("a time, as 2026-03-01T12:00", _moment),
    "$time": _Reader("a time of day, as 12:00", _moment),
    "$date": _Reader("a date, as 2026-03-01", lambda text, _: dt.date.fromisoformat(text)),
    "$timedelta": _Reader("a number of seconds", lambda text, _: dt.timedelta(seconds=float(text))),
    "$decimal": _Reader("a decimal number", lambda text, _: decimal.Decimal(text)),
    "$uuid": _Reader("a UUID", lambda text, _: uuid.UUID(text)),
    "$complex": _Reader("a complex number", lambda text, _: complex(text)),
    "$fraction": _Reader("a fraction, as 2/3", lambda text, _: Fraction(text)),
    "$path": _Reader("a path", lambda text, old: type(old)(pathlib.PurePath(text))),
}
TAGS: Final = frozenset(_READERS)
"""The tags of the types."""


def kind_of(tag: str) -> str:
    """Say what the values under a tag are, and how they are written."""
    return _READERS[tag].kind


def read(tag: str, text: str, old: Any) -> Any:
    """Give the JSON of a value for a text.

    Args:
        tag: The tag of its type.
        text: The text.
        old: The JSON of a present value, which decides what the text leaves open.

    Raises:
        ValueError: The text is none of this type.
    """
    present = decode(old, lambda _, content: content)
    try:
        return plain_json(_READERS[tag].read(text, present))
    except (ArithmeticError, CorruptStateError) as error:  # of decimal and Fraction; of bytes
        raise ValueError from error

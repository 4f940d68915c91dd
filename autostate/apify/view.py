"""A state as JSON for a person: of bounded size, whatever it holds, and never an error.

`export` refuses what JavaScript would read as another value. Here it becomes a text, secrets become
a mask, and long containers and texts are cut short.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
from collections.abc import Container
from typing import Any, Final

from autostate.apify.export import LARGEST, fields_of
from autostate.codec.secret import MASK, Secret
from autostate.codec.transparent import Transparent
from autostate.objects.entries import SHOWABLE, first_entries, in_repr

ENTRIES: Final = 100
"""The most entries of one container."""
ALL_ENTRIES: Final = 5_000
_TEXT: Final = 1_000
_ALL_TEXT: Final = 500_000
_LEVELS: Final = 20
_MORE: Final = "…"
_TEXTS: Final = (uuid.UUID, decimal.Decimal, pathlib.PurePath)


class View:
    """The views of some objects, which together have a bounded size."""

    def __init__(self) -> None:
        self._entries = ALL_ENTRIES
        self._text = _ALL_TEXT

    def of(self, value: Any, inside: frozenset[int] = frozenset()) -> Any:
        """Give a value as dict, list, str, int, float, bool and None.

        Args:
            value: The value.
            inside: The containers around it, by `id`.
        """
        try:
            return self._of(value, inside)
        except Exception:  # of code of a class of the program
            return f"a {type(value).__qualname__}"

    def has_room(self) -> bool:
        """Count one more entry, and tell whether it may be shown."""
        self._entries -= 1
        return self._entries >= 0

    def _of(self, value: Any, inside: frozenset[int]) -> Any:
        if isinstance(value, Transparent):  # first: it looks like its wrapped object
            value = value.__wrapped__
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self._cut(value.name)
        if isinstance(value, int):
            return value if abs(value) <= LARGEST else self._cut(_digits(value))
        if isinstance(value, float):
            return value if math.isfinite(value) else self._cut(repr(value))
        if isinstance(value, (bytes, bytearray)):
            return f"{len(value):,} bytes"
        if isinstance(value, (dt.date, dt.time)):
            return value.isoformat()
        if isinstance(value, (str, *_TEXTS)):
            return self._cut(str(value))
        return MASK if type(value) is Secret else self._container(value, inside)

    def _container(self, value: Any, inside: frozenset[int]) -> Any:
        is_list = isinstance(value, SHOWABLE) and not isinstance(value, dict)
        if not isinstance(value, SHOWABLE):
            fields = fields_of(value)
            if fields is None:
                return f"a {type(value).__qualname__}"
            value = in_repr(type(value), fields)
        if id(value) in inside or len(inside) >= _LEVELS:
            return _MORE
        entries, size = first_entries(value, max(0, min(ENTRIES, self._entries)))
        self._entries -= len(entries)
        inside |= {id(value)}
        left = size - len(entries)
        if is_list:
            items = [self.of(item, inside) for _, item in entries]
            return [*items, f"{_MORE} {left:,} more"] if left else items
        made: dict[str, Any] = {}
        for key, item in entries:
            made[self._key(key, made)] = self.of(item, inside)
        return made | ({_MORE: f"{left:,} more"} if left else {})

    def _key(self, key: Any, taken: Container[str]) -> str:
        """Give a key as text: 1 and "1", and two secrets, are told apart by a number."""
        name = text = self._cut(key if isinstance(key, str) else str(self.of(key)))
        number = 1
        while name in taken:
            number += 1
            name = f"{text} ({number})"
        return name

    def _cut(self, text: str) -> str:
        """Cut a long text short, and replace what UTF-8 cannot hold."""
        room = max(0, min(_TEXT, self._text))
        self._text -= min(len(text), room)
        text = text if len(text) <= room else f"{text[:room]}{_MORE}"
        return text if text.isascii() else text.encode(errors="replace").decode()


def _digits(value: int) -> str:
    """Give a large number as text: one of more than 4,300 digits only as a hexadecimal one."""
    try:
        return repr(value)
    except ValueError:
        return hex(value)

"""Any stored value as JSON. A value without a form in JSON becomes a text; no value is an error.

`autostate.export` refuses a value that would be read back as another one; here it is only shown.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections import deque
from collections.abc import Collection, Iterable
from typing import Any, Final

from autostate.cli import escapes
from autostate.cli.errors import CommandError
from autostate.cli.values import Fields
from autostate.codec.secret import Secret

_ARRAYS: Final = (list, tuple, deque, range)
_CUT: Final = "…"
_DIGITS: Final = 4300
"""The most digits of an int that Python prints, and reads from JSON."""
_BITS: Final = int(_DIGITS * math.log2(10))


def as_text(value: Any, *, reveal: bool = False) -> str:
    """Give one value for a script: a text as it is, everything else as JSON in one line.

    Args:
        value: The value.
        reveal: Show what secrets hold.

    Raises:
        CommandError: It is a secret, which a script would take for its mask.
    """
    if type(value) is Secret and not reveal:
        raise CommandError("a secret is kept there: add --reveal to print it")
    made = plain(value, reveal=reveal)
    return made if isinstance(made, str) else in_a_line(made)


def in_a_line(value: Any, *, reveal: bool = False) -> str:
    """Give a value as JSON in one line."""
    return escapes.in_json(json.dumps(plain(value, reveal=reveal), ensure_ascii=False))


def short(value: Any, most: int = 100) -> str:
    """Give a value as JSON in one line, which is cut if it is long."""
    return cut(in_a_line(value), most)


def cut(text: str, most: int = 100) -> str:
    """Give a text, of which the end is cut off if it is long."""
    return text if len(text) <= most else f"{text[: most - 1]}{_CUT}"


def as_json(value: Any) -> str:
    """Give a value as JSON, for a person too."""
    return escapes.in_json(json.dumps(plain(value), ensure_ascii=False, indent=2))


def plain(value: Any, inside: frozenset[int] = frozenset(), *, reveal: bool = False) -> Any:
    """Give a value as dict, list, str, int, float, bool and None alone.

    Args:
        value: The value.
        inside: The containers around it, by `id`: a container that holds itself is cut off.
        reveal: Give the content of secrets, in place of a mask.
    """
    if type(value) is Secret:
        value = value.reveal() if reveal else str(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < _BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if id(value) in inside:
        return _CUT
    inside |= {id(value)}
    if isinstance(value, Fields):
        value = value.fields
    if isinstance(value, dict):
        names = key_names(value, reveal=reveal)
        items = [plain(item, inside, reveal=reveal) for item in value.values()]
        return dict(zip(names, items, strict=True))
    if isinstance(value, _ARRAYS):
        return [plain(item, inside, reveal=reveal) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item, inside, reveal=reveal) for item in _in_order(value)]
    if hasattr(value, "tolist"):  # of numpy
        return plain(value.tolist(), inside)
    return str(value)


def key_names(keys: Collection[Any], *, reveal: bool = False) -> list[str]:
    """Give the texts that the keys of one dict are shown as, no two of which are the same.

    A text keeps its name. Another key of this name is written as in a path: `[7]` beside `"7"`.
    Two secrets, whose masks are the same, are told apart by a number.
    """
    names = [key_text(key, reveal=reveal) for key in keys]
    if len({*names}) == len(names):
        return names
    taken = {key for key in keys if isinstance(key, str)}
    for at, key in enumerate(keys):
        if isinstance(key, str):
            continue
        name = in_brackets(key) if names[at] in taken and type(key) is not Secret else names[at]
        first, number = name, 1
        while name in taken:
            number += 1
            name = f"{first} ({number})"
        taken.add(name)
        names[at] = name
    return names


def in_brackets(key: Any) -> str:
    """Give a key as a path has it that is no text."""
    return f"[{shown(key)}]"


def key_text(key: Any, *, reveal: bool = False) -> str:
    """Give the text that a key is shown as in JSON."""
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    if isinstance(key, Fields):
        return repr(key)
    return key if isinstance(key, str) else str(plain(key, reveal=reveal))


def _in_order(members: Iterable[Any]) -> list[Any]:
    return sorted(members, key=lambda member: (type(member).__name__, shown(member)))


def shown(value: Any) -> str:
    """Give the `repr` of a value; that of a number is cut if it has too many digits."""
    try:
        return repr(value)
    except ValueError:
        return f"<{type(value).__name__} of more than {_DIGITS:,} digits>"

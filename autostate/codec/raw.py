"""JSON that needs no translation, or has had it: writing it as bytes, tags and references.

A *tag* is an object with exactly one key that begins with `$`. Two kinds of values are detected
only when bytes are made of them, because a check of each value would slow down all of them: strings
that UTF-8 cannot hold, and ints that have more digits than a reader accepts.
"""

from __future__ import annotations

import binascii
import math
import re
import sys
from collections.abc import Collection, Iterator
from typing import Any, Final

from autostate.codec.signatures import Json
from autostate.memory import encode

_DIGITS: Final = 4300
"""The most digits of an int that msgspec reads, whatever the interpreter's own limit is."""
_BITS: Final = 2000
"""If one int of a value has to be tagged, all ints of more bits are: safely below any limit."""
_TOO_LONG: Final = rb"\d{4301}"


NATIVE: Final[frozenset[type]] = frozenset({str, int, bool, type(None)})
"""The types whose values msgspec writes as they are."""

_FLOATS: Final = NATIVE | {float}
_STR: Final = frozenset({str})


def is_flat(values: Collection[Any]) -> bool:
    """Tell whether values are scalars that msgspec writes as they are, with finite floats."""
    if NATIVE.issuperset(map(type, values)):
        return True
    if not _FLOATS.issuperset(map(type, values)):
        return False
    # The sum of finite floats may overflow; then the slower way is used, which is correct as well.
    return math.isfinite(sum([value for value in values if type(value) is float]))


def dump(json: Json) -> bytes:
    """Write a translated value as JSON.

    Raises:
        RecursionError: It is nested more deeply than the interpreter allows.
    """
    data = dump_as_is(json)
    return encode(escape(json)) if data is None else data


def dump_as_is(json: Json) -> bytes | None:
    """Write a translated value as JSON; None if it holds a lone surrogate, or too many digits."""
    try:
        data = encode(json)
    except ValueError:
        return None
    limited = len(data) <= _DIGITS or sys.get_int_max_str_digits() == _DIGITS
    if not limited and re.search(_TOO_LONG, data):
        return None
    return data


def escape(value: Any) -> Any:
    """Tag values that JSON cannot hold: strings with lone surrogates, ints with many digits."""
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            data = binascii.b2a_base64(value.encode("utf-8", "surrogatepass"), newline=False)
            return {"$str": data.decode()}
        return value
    if type(value) is int:
        return {"$int": hex(value)} if value.bit_length() > _BITS else value
    if isinstance(value, dict):
        if is_tagged(value):
            [(tag, content)] = value.items()
            return {tag: escape(content)}
        if all(map(_is_utf8, value)):
            return {key: escape(item) for key, item in value.items()}
        return {"$dict": [[escape(key), escape(item)] for key, item in value.items()]}
    return [escape(item) for item in value] if isinstance(value, list | tuple | set) else value


def _is_utf8(text: str) -> bool:
    return type(escape(text)) is str


def is_tagged(json: dict[str, Any]) -> bool:
    """Tell whether a JSON object is a tag."""
    return len(json) == 1 and next(iter(json)).startswith("$")


def references(json: Json) -> Iterator[int]:
    """Find the nodes to which a translated value refers."""
    left = [json]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            node = value.get("$ref")
            if len(value) == 1 and type(node) is int:
                yield node
            else:
                left += value.values()


def with_references(json: Json, ids: dict[int, int]) -> Json:
    """Copy a translated value, with other node numbers."""
    if isinstance(json, list):
        return [with_references(item, ids) for item in json]
    if not isinstance(json, dict):
        return json
    node = json.get("$ref")
    if len(json) == 1 and type(node) is int:
        return {"$ref": ids.get(node, node)}
    return {key: with_references(item, ids) for key, item in json.items()}

"""Keys and members that are, or hold, nan: they are not equal to themselves."""

from __future__ import annotations

import decimal
import re
from collections.abc import Collection
from typing import Any, Final

from autostate.tracking.node_capture import dump_key, is_key
from autostate.tracking.parts import PART, parts_of

_MAYBE_NAN: Final = frozenset({float, complex, decimal.Decimal, tuple, frozenset})
_NAN: Final = re.compile(rb'\{"\$[a-z]+":"[^"]*nan', re.IGNORECASE)


def has_nan(*several: Collection[Any]) -> bool:
    """Tell whether a key is, or holds, nan: no other nan is equal to it."""
    for keys in several:
        parts = parts_of(keys) if len(keys) > PART else (keys,)
        if not all(_MAYBE_NAN.isdisjoint(map(type, part)) for part in parts):  # enough, mostly
            found = (key for key in keys if type(key) in _MAYBE_NAN and is_key(key))
            if any(is_nan(dump_key(key)) for key in found):
                return True
    return False


def is_nan(encoded: bytes) -> bool:
    """Tell whether an encoded key or member is, or holds, nan. No text can look like that."""
    return _NAN.search(encoded) is not None

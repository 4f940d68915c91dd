"""What a value is, in all that the codec promises to keep: `exact(one) == exact(other)`."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np

from autostate.codec.classes import attributes_by_name, slots_of

ITEMS = (list, tuple, deque)
SETS = (set, frozenset)


def exact(value: Any) -> Any:
    """Describe a value: exact classes, order, and everything inside. Of sets order says nothing."""
    cls = type(value)
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        flags = array.flags.fnc, array.flags.writeable
        return cls, repr(array.dtype), array.shape, array.tolist().__repr__(), flags
    if cls is random.Random:
        return cls, value.getstate()
    described: list[Any] = [cls]
    if isinstance(value, defaultdict):
        described.append(value.default_factory)
    if isinstance(value, deque):
        described.append(value.maxlen)
    if isinstance(value, dict):
        described.append([(exact(key), exact(item)) for key, item in value.items()])
    elif isinstance(value, ITEMS):
        described.append([exact(item) for item in value])
    elif isinstance(value, SETS):
        described.append(sorted(repr(exact(member)) for member in value))
    elif cls in (int, bool):
        return cls, hex(value)
    elif cls is slice:
        return cls, exact((value.start, value.stop, value.step))
    elif isinstance(value, PurePath | Fraction | range):
        return cls, value
    elif not hasattr(value, "__dict__") and not slots_of(cls):
        described.append(repr(value))
    elif hasattr(cls, "__members__"):  # an enum
        described.append(repr(value))
        return tuple(described)
    own = {name: exact(item) for name, item in attributes_by_name(value, slots_of(cls)).items()}
    return *described, own

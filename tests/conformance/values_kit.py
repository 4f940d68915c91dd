"""What a value is, in all that the codec promises to keep: `exact(one) == exact(other)`."""

from __future__ import annotations

import enum
import random
from collections import defaultdict, deque
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np

from autostate.codec.introspection import attributes_by_name, slots_of
from autostate.tracking.barrier import VARIANTS

OPAQUE = (PurePath, Fraction, range)
"""What is equal if it is of the same class and `==`."""


def exact(value: Any) -> Any:
    """Describe a value: exact classes, order, and everything inside. Of sets order says nothing.

    Persisted containers are described as what they stand for.
    """
    cls = type(value)
    forms = VARIANTS.get(cls)
    if forms is not None:
        cls = forms.kind.builtin
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        flags = array.flags.fnc, array.flags.writeable
        return cls, repr(array.dtype), array.shape, array.tolist().__repr__(), flags
    if cls is random.Random:
        return cls, value.getstate()
    content = _content(value)
    if forms is not None or hasattr(cls, "__members__"):
        return cls, content
    own = {name: exact(item) for name, item in attributes_by_name(value, slots_of(cls)).items()}
    return (cls, content, own) if own and not isinstance(value, OPAQUE) else (cls, content)


def _content(value: Any) -> Any:
    """What a value holds, beside its attributes."""
    if isinstance(value, dict):
        factory = value.default_factory if isinstance(value, defaultdict) else None
        return factory, [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return getattr(value, "maxlen", None), [exact(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(exact(member)) for member in value)
    if type(value) in (int, bool):
        return hex(value)
    if type(value) is slice:
        return exact((value.start, value.stop, value.step))
    if isinstance(value, OPAQUE):
        return value
    has_attributes = hasattr(value, "__dict__") or slots_of(type(value))
    return None if has_attributes and not isinstance(value, enum.Enum) else repr(value)

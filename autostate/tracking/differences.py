"""Numbers that several writers have changed: one writer's change is undone as a difference."""

from __future__ import annotations

import math
from typing import Any, Final

MISSING: Final = object()
"""In the place of a value that is missing."""


def _is_number(value: Any) -> bool:
    cls = type(value)
    return cls in (int, float, complex) or (cls.__module__, cls.__qualname__) in (
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
    )


def shifted(values: list[Any], former: Any, after: Any) -> list[Any] | None:
    """Subtract a difference from numbers; None if a value is no number. MISSING counts as 0.

    Args:
        values: The numbers.
        former: The value before the write that is undone.
        after: The value that this write left.
    """
    numbers = [0 if value is MISSING else value for value in (former, after, *values)]
    if (former is MISSING and after is MISSING) or not all(map(_is_number, numbers)):
        return None
    if values[-1] is MISSING:
        return None
    try:
        difference = numbers[1] - numbers[0]
        made = [number - difference for number in numbers[2:]]
    except (ArithmeticError, TypeError):
        return None
    finite = all(math.isfinite(one) for one in made if type(one) is float)
    return made if finite else None

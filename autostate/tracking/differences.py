"""Former and present values, compared when the writes of one of several writers are undone."""

from __future__ import annotations

import math
from collections.abc import Collection
from operator import is_
from typing import Any, Final

MISSING: Final = object()
"""In the place of a value that is missing."""


def same_items(items: Collection[Any], others: Collection[Any]) -> bool:
    """Tell whether two collections hold the same objects, in the same order."""
    return len(items) == len(others) and all(map(is_, items, others))


def is_number(value: Any) -> bool:
    """Tell whether a value counts as a number: `bool` does not."""
    cls = type(value)
    return cls in (int, float, complex) or (cls.__module__, cls.__qualname__) in (
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
    )


def same_number(value: Any, other: Any) -> bool:
    """Tell whether two values are the same number, of one type."""
    return type(value) is type(other) and is_number(value) and bool(value == other)


def shifted(values: list[Any], former: Any, after: Any) -> list[Any] | None:
    """Undo one writer's change of a number as a difference, since others have written, too.

    MISSING counts as 0.

    Args:
        values: The numbers.
        former: The value before the write that is undone.
        after: The value that this write left.

    Returns:
        The numbers less the difference; None if a value is no number.
    """
    numbers = [0 if value is MISSING else value for value in (former, after, *values)]
    if (former is MISSING and after is MISSING) or not all(map(is_number, numbers)):
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

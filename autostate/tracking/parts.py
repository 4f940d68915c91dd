"""Large collections in parts: no other thread runs during one call of C.

A call over a million keys takes 20 ms, and to free a million references takes 10. Between parts the
interpreter lets a thread run that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

PART: Final = 32_768
"""Items that one call of C copies, looks at, or frees: that takes less than a millisecond."""


def parts_of(items: Iterable[Any]) -> Iterator[list[Any]]:
    """List items in parts. What is iterated must not change meanwhile."""
    left = iter(items)
    while part := [*islice(left, PART)]:
        yield part


def handed_over(parts: list[list[Any]]) -> Iterator[list[Any]]:
    """Yield parts and keep none of them: each is freed as soon as it is done."""
    parts.reverse()
    while parts:
        yield parts.pop()


def free(items: list[Any]) -> None:
    """Empty a list."""
    while items:
        del items[-PART:]

"""What a container holds, whatever a class of the program makes of its methods.

A class may show other than it has, by `__getitem__`, `__contains__`, `__missing__`, `__len__` or
attributes that hide methods. What is saved is what it has.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

_MISSING: Final = object()
_maxlen: Final[Any] = vars(deque)["maxlen"]


def item_of(container: Any, slot: Any) -> Any:
    """The item under a key or at a position; nothing is made for a key that is missing.

    Raises:
        LookupError: There is none.
    """
    if isinstance(container, list):
        return list.__getitem__(container, slot)
    if isinstance(container, dict):
        value = dict.get(container, slot, _MISSING)
        if value is _MISSING:
            raise KeyError(slot)
        return value
    if isinstance(container, deque):
        return deque.__getitem__(container, slot)
    return container[slot]


def has(container: Any, key: Any) -> bool:
    """Whether a key or member is in a dict or set."""
    if isinstance(container, dict):
        return dict.__contains__(container, key)
    return set.__contains__(container, key)


def items_of(sequence: Any) -> list[Any]:
    """The items of a list or deque."""
    if isinstance(sequence, list):
        return list.copy(sequence)
    return list(deque.__iter__(sequence))


def maxlen_of(container: deque[Any]) -> int | None:
    """The greatest length of a deque."""
    return _maxlen.__get__(container)  # type: ignore[no-any-return]

"""The first entries of a container or an object, for those who show it to a person."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Final

SHOWABLE: Final = (dict, list, set, frozenset, tuple, deque)
_SORTED: Final = 10_000


def first_entries(value: Any, most: int) -> tuple[list[tuple[Any, Any]], int]:
    """Give the first entries of a container, or fields of an object of a `@persisted` class.

    They are copied by one call of C, so that other threads may write.

    Args:
        value: The container or object.
        most: The most entries to give.

    Returns:
        The entries, each with its key, index or name; of a set with its number. How many it has.
    """
    if isinstance(value, dict):
        return list(islice(dict.items(value), most)), dict.__len__(value)
    if isinstance(value, (set, frozenset)):
        return list(enumerate(_in_order(value, most))), len(value)
    if isinstance(value, SHOWABLE):
        return list(enumerate(islice(value, most))), len(value)
    from autostate.objects.decorator import fields_of

    fields = fields_of(value)
    return list(fields.items())[:most], len(fields)


def _in_order(members: set[Any] | frozenset[Any], most: int) -> list[Any]:
    """Give the first members; in order if they are texts or numbers, and not very many.

    The order of others is up to code that may raise anything: that of a `Decimal` without a value
    does.
    """
    kinds = set(map(type, members)) if len(members) <= _SORTED else set()
    if kinds and (kinds <= {int, float} or kinds == {str}):
        return sorted(members)[:most]
    return list(islice(members, most))

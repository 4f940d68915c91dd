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

    fields = in_repr(type(value), fields_of(value))
    return list(fields.items())[:most], len(fields)


def in_repr(cls: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out the fields that a class keeps out of its repr: they may be secrets.

    Args:
        cls: The class: a dataclass, an attrs class, a model, or any other.
        fields: The fields of an object of it, by name.
    """
    declared = getattr(cls, "__dataclass_fields__", None) or getattr(cls, "__pydantic_fields__", {})
    attributes = {each.name: each for each in getattr(cls, "__attrs_attrs__", ())}
    hidden = {name for name, field in {**declared, **attributes}.items() if field.repr is False}
    return {name: value for name, value in fields.items() if name not in hidden}


def _in_order(members: set[Any] | frozenset[Any], most: int) -> list[Any]:
    """Give the first members; in order if they are texts or numbers, and not very many.

    The order of others is up to code that may raise anything: that of a `Decimal` without a value
    does.
    """
    kinds = set(map(type, members)) if len(members) <= _SORTED else set()
    if kinds and (kinds <= {int, float} or kinds == {str}):
        return sorted(members)[:most]
    return list(islice(members, most))

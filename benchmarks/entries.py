"""What is saved: states of a crawl, and the loops in which a program changes them.

All participants run the same loops, on a plain dict or on one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

CHANGED: Final = 0.01
"""The share of the entries that change between two saves, where only one is measured."""


def url(number: int) -> str:
    """Name a page."""
    return f"https://example.com/catalogue/item-{number}"


def page(number: int, status: int = 200) -> dict[str, Any]:
    """Make what a crawl knows of a page: four small fields."""
    return {
        "status": status,
        "depth": number % 7,
        "title": f"Item {number}",
        "price": number / 100,
    }


def entries(count: int) -> dict[str, dict[str, Any]]:
    """Make what a crawl of so many pages knows."""
    return {url(number): page(number) for number in range(count)}


def _list(number: int, status: int) -> list[Any]:
    return [*page(number, status).values()]


def _nested(number: int, status: int) -> dict[str, Any]:
    meta = {"depth": number % 7, "tags": ["new", number]}
    return {"status": status, "title": f"Item {number}", "meta": meta}


def _fill(state: Any, values: dict[str, Any]) -> None:
    state.update(values)


def _assign(state: Any, values: dict[str, Any]) -> None:
    # Nobody but the state holds a value afterwards, as in a program that makes it and assigns it.
    while values:
        each, value = values.popitem()
        state[each] = value


def _remove(state: Any, urls: Iterable[str]) -> None:
    for each in urls:
        del state[each]


def _set_field(state: Any, urls: Iterable[str], status: int) -> None:
    for each in urls:
        state[each]["status"] = status


def _set_item(state: Any, urls: Iterable[str], status: int) -> None:
    for each in urls:
        state[each][0] = status


def _set_deep(state: Any, urls: Iterable[str], status: int) -> None:
    for each in urls:
        state[each]["meta"]["depth"] = status


@dataclass(frozen=True)
class Shape:
    """A state of one shape.

    Attributes:
        what: The state, in words.
        make: Makes a value from its number and a status.
        alter: Changes something inside of the values of some URLs.
        fill: Puts many values into the state at once.
        assign: Assigns values one by one, and takes them out of the given dict.
        remove: Removes the values of some URLs.
        empty: Makes an empty plain state.
        type: The type of a value, for a participant that has to decode it.
    """

    what: str
    make: Callable[[int, int], Any]
    alter: Callable[[Any, Iterable[str], int], None]
    fill: Callable[[Any, dict[str, Any]], None] = _fill
    assign: Callable[[Any, dict[str, Any]], None] = _assign
    remove: Callable[[Any, Iterable[str]], None] = _remove
    empty: type[Any] = dict
    type: Any = Any


@dataclass
class Visit:
    """A page as an object."""

    number: int
    status: int
    title: str
    price: float


def construct(state: Any, values: dict[str, Any], cls: Any = Visit) -> None:
    """Make an object from each tuple of fields, as a program does."""
    for each, fields in values.items():
        state[each] = cls(*fields)


def _fields(number: int, status: int) -> tuple[Any, ...]:
    return number, status, f"Item {number}", number / 100


def _set_attribute(state: Any, urls: Iterable[str], status: int) -> None:
    for each in urls:
        state[each].status = status


def _no_value(number: int, status: int) -> None:
    """A member of a set has no value."""


def _add(state: Any, values: dict[str, Any]) -> None:
    for each in values:
        state.add(each)


def _discard(state: Any, urls: Iterable[str]) -> None:
    for each in urls:
        state.remove(each)


DICTS: Final = Shape("dict of dicts", page, _set_field)
LISTS: Final = Shape("dict of lists", _list, _set_item)
NESTED: Final = Shape("dict of nested dicts", _nested, _set_deep)
OBJECTS: Final = Shape("objects", _fields, _set_attribute, fill=construct, type=Visit)
MEMBERS: Final = Shape(
    "set", _no_value, _set_field, assign=_add, remove=_discard, empty=set, type=None
)
SHAPES: Final = {
    "dicts": DICTS,
    "lists": LISTS,
    "nested": NESTED,
    "objects": OBJECTS,
    "members": MEMBERS,
}

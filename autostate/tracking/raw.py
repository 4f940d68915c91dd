"""Reading what a container really holds, by the builtins' functions.

A class of the program may present other content than its objects hold, by `__getitem__`,
`__contains__`, `__missing__`, `__len__`, or attributes that hide methods. The held content is what
is saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import compress, repeat
from operator import attrgetter, is_
from typing import Any, Final

node_of: Final = attrgetter("_node_")
"""Reads the node of a tracked container."""
key_of: Final = attrgetter("_key_")
"""Reads under which key of its node a tracked container lies."""
drain: Final = deque[Any](maxlen=0).extend
"""Goes through an iterator for its effects, in C."""

FEW: Final = 20
"""Items of a sequence up to which they are read one by one."""

_MISSING: Final = object()
_maxlen: Final[Any] = vars(deque)["maxlen"]


def item_of(container: Any, slot: Any) -> Any:
    """Return the item under a key or at a position, without calling `__missing__`.

    Raises:
        LookupError: There is no such item.
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
    """Tell whether a key or member is in a dict or set."""
    if isinstance(container, dict):
        return dict.__contains__(container, key)
    return set.__contains__(container, key)


def iterate(sequence: Any) -> Iterator[Any]:
    """Iterate over the items of a list or deque; the caller does that in one step of C."""
    return (list if isinstance(sequence, list) else deque).__iter__(sequence)


def items_of(sequence: Any) -> list[Any]:
    """Return the items of a list or deque."""
    if isinstance(sequence, list):
        return list.copy(sequence)
    return list(iterate(sequence))


def items_at(sequence: Any, slots: list[int]) -> Iterator[Any]:
    """Iterate over the items of a list or deque at some positions."""
    cls = list if isinstance(sequence, list) else deque
    return map(cls.__getitem__, repeat(sequence), slots)


def maxlen_of(container: deque[Any]) -> int | None:
    """Return the greatest length of a deque."""
    return _maxlen.__get__(container)  # type: ignore[no-any-return]


def by_node(containers: list[Any], classes: list[type]) -> Iterator[tuple[list[Any], list[type]]]:
    """Divide tracked containers, and their classes, by node, if these are few.

    The list of containers is empty then: each list of a container is a reference to it.
    """
    nodes = [*map(node_of, containers)]
    different = {*nodes}
    if not 1 < len(different) <= len(nodes) // FEW:
        yield containers, classes
        return
    parts = []
    for node in different:
        which = [*map(is_, nodes, repeat(node))]
        parts.append(([*compress(containers, which)], [*compress(classes, which)]))
    containers.clear()
    yield from parts

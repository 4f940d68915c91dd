"""Objects of the program's own classes that are state objects: they are saved by reference.

What the store keeps of one is a container of its own, its *root*; see `tracking/mirror.py`. The
object itself is left as it is: it need not have a slot, a `__dict__`, a hash or weak references for
this, and is found by its identity, for as long as it is bound.
"""

from __future__ import annotations

from typing import Any, Final

OPTIONS: Final = "__autostate__"
"""The attribute of a `@persisted` class that says what was said about it."""

ROOTS: Final[dict[int, Any]] = {}
"""By the `id` of an object that is bound, its root, which keeps the object alive."""


def root_of(value: Any) -> Any | None:
    """The root of an object that is bound to a store; None for any other value."""
    return ROOTS.get(id(value))


def is_container(value: Any) -> bool:
    """Whether a value is of a persisted class: it has the slots of `tracking.barrier`."""
    cls = type(value)
    return hasattr(cls, "_node_") and hasattr(cls, "_key_")


def transient_fields(cls: type) -> frozenset[str]:
    """The fields of a class that are not saved, whether its objects are state objects or not."""
    options = (vars(base)[OPTIONS] for base in cls.__mro__ if OPTIONS in vars(base))
    return frozenset().union(*(each.transient for each in options))


def is_persisted(cls: Any) -> bool:
    """Whether a class is `@persisted`, or based on one that is."""
    return isinstance(cls, type) and any(OPTIONS in vars(base) for base in cls.__mro__)

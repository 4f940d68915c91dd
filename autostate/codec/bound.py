"""Objects of the program's own classes that are state objects: they are saved by reference.

The store keeps a container of its own for each object, the *root*; see `tracking/mirror.py`. The
object itself is unchanged: it needs no slot, no `__dict__`, no hash and no weak references for
this, and is found by its identity as long as it is bound.
"""

from __future__ import annotations

from typing import Any, Final

ROOTS: Final[dict[int, Any]] = {}
"""The roots by the `id` of the bound object; a root keeps its object alive."""


def root_of(value: Any) -> Any | None:
    """Give the root of an object that is bound to a store; None for any other value."""
    return ROOTS.get(id(value))


def is_container(value: Any) -> bool:
    """Tell whether a value is of a persisted class: it has the slots of `tracking.barrier`."""
    cls = type(value)
    return hasattr(cls, "_node_") and hasattr(cls, "_key_")

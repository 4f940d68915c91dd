"""State objects that were never given a name: nothing of them is saved, and that is said once.

A subclass with a constructor of its own that forgets `super().__init__(name)` makes such objects.
Until one is bound to a store, its `_key_` is UNNAMED; the methods that begin to fill a container
look for that, where they find that there is no node.
"""

from __future__ import annotations

import logging
from typing import Any, Final

logger: logging.Logger = logging.getLogger("autostate")

UNNAMED: Final = object()

_told: set[str] = set()


def unnamed(container: Any) -> None:
    """Tell, once for each class, that what is being written to has no name."""
    container._key_ = None
    cls = type(container)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if name not in _told:
        _told.add(name)
        logger.warning(
            "%s was written to without a name: such a state object is not saved. Let its __init__ "
            "call super().__init__(name) before it writes.",
            name,
        )

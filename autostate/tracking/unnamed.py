"""State objects that were never given a name: nothing of them is saved, and one warning says so.

A subclass whose constructor forgets `super().__init__(name)` makes such objects. The `_key_` of a
container is UNNAMED until the container is bound to a store; the methods that begin to fill a
container check this if the container has no node.
"""

from __future__ import annotations

import logging
from typing import Any, Final

logger: logging.Logger = logging.getLogger("autostate")

UNNAMED: Final = object()

_told: set[str] = set()


def unnamed(container: Any) -> None:
    """Warn, once for each class, that the container being written has no name."""
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

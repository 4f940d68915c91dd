"""Sources of changes without a mark: objects, and plain containers that the program also holds.

A persisted container marks its writes. Changes that nothing marks are found by a *source*, in every
cut. A source registers with the tracker (`Tracker.register`) when it has something to compare for
the first time, so that a program without such values runs none of its code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autostate.tracking.node import Node


class DirtySource:
    """One way to find changes without a mark. In all calls the tracker's lock is held."""

    __slots__ = ()

    def needs_polling(self) -> bool:
        """Tell whether there is anything to compare, so that regular cuts are needed."""
        return False

    def differing(self) -> int:
        """Count the values that differ from the last cut, without marking them."""
        return 0

    def collect(self) -> None:
        """Mark changed values: in a cut, when all containers are armed and none was read."""

    def complete(self) -> None:
        """Mark further changes: in a cut, when all written containers are resolved."""

    def exposed(self) -> Iterable[tuple[Node, Any]]:
        """Yield the entries that a writer can change past the barrier during the encoding."""
        return ()

    def end(self) -> None:
        """Note that a capture is encoded."""

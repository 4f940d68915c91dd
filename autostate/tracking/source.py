"""What can change without a mark: objects, and plain containers that the program holds elsewhere.

A container tells when it is written. For what cannot tell, a *source* looks in every cut. A source
registers with the tracker when it has something to look at for the first time
(`Tracker.register`), so a program that has nothing of the kind runs none of its code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autostate.tracking.node import Node


class DirtySource:
    """Something that changes without a mark. In all calls the tracker's lock is held."""

    __slots__ = ()

    def needs_polling(self) -> bool:
        """Whether there is anything to look at, so that somebody has to look from time to time."""
        return False

    def differing(self) -> int:
        """How many things differ from what they were at the last cut; nothing is marked."""
        return 0

    def collect(self) -> None:
        """Mark what has changed: in a cut, when all containers are armed and none was read."""

    def complete(self) -> None:
        """Mark what is found when all that was written is converted."""

    def exposed(self) -> Iterable[tuple[Node, Any]]:
        """Give the entries that a writer can reach past the barrier while a capture is encoded."""
        return ()

    def end(self) -> None:
        """Take note that a capture is encoded."""

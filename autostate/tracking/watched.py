"""Watched entries: entries that can change without a mark, so that every capture compares them.

A watched entry holds a plain container that somebody else holds too, or an object without a
barrier. It is encoded and compared at every cut (`watch.py`) until the container can be converted,
or the entry is removed or leaves the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from autostate.tracking.node import DirtySource, Marks, Node


class Watched:
    """The watched entries of one tracker, and their saved hashes. In all calls the lock is held.

    Attributes:
        source: Compares the entries in every cut: registers itself here.
        entries: Node and entry → hash of the saved entry; None if it is not known.
        released: The same of entries that are watched no more since the last cut.
    """

    source: ClassVar[Callable[[Marks], DirtySource]]

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self.entries: dict[tuple[Node, Any], int | None] = {}
        self.released: dict[tuple[Node, Any], int | None] = {}

    def begin(self) -> None:
        """Let every cut compare the entries from now on."""
        self._tracker.part(Watched.source)

    def add(self, node: Node, key: Any) -> None:
        """Watch an entry."""
        self.begin()
        self.entries.setdefault((node, key))

    def again(self, node: Node, key: Any, digest: int | None = None) -> None:
        """Watch an entry; `digest` is the hash of the saved entry, None if it is not known."""
        self.begin()
        self.entries[node, key] = digest

    def forget(self, of: Callable[[Node], bool]) -> None:
        """Stop watching the entries of the nodes that fulfil a condition."""
        self.entries = {at: seen for at, seen in self.entries.items() if not of(at[0])}

    def knows(self, node: Node, key: Any) -> bool:
        """Tell whether an entry is watched, or was until this capture."""
        return (node, key) in self.entries or (node, key) in self.released

    def saved(self, node: Node, key: Any, digest: int | None) -> None:
        """Remember the hash of a saved watched entry."""
        if (node, key) in self.entries:
            self.entries[node, key] = digest

    def was_saved(self, node: Node, key: Any, digest: int) -> bool:
        """Tell whether a watched entry was saved with this hash."""
        at = (node, key)
        return digest == (self.entries[at] if at in self.entries else self.released.get(at))

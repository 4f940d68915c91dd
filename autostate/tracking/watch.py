"""Watched entries: entries that can change without a mark, so that every capture compares them.

A watched entry holds a plain container that somebody else holds too, or an object without a
barrier. It is encoded and compared at every cut until the container can be converted, or the entry
is removed or leaves the state.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from autostate.tracking import conversion
from autostate.tracking.node import Node
from autostate.tracking.source import DirtySource

if TYPE_CHECKING:
    from autostate.tracking.tracker import Tracker


logger = logging.getLogger("autostate")

MANY: Final = 10_000
"""The number of watched entries above which a warning is logged."""


class Watch(DirtySource):
    """The watched entries of one tracker. In all calls the lock is held.

    Attributes:
        entries: Node and entry → hash of the saved entry; None if it is not known.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.entries: dict[tuple[Node, Any], int | None] = {}
        self._released: dict[tuple[Node, Any], int | None] = {}
        self._hinted = False
        self._checked: list[tuple[Node, Any]] = []

    def _hint(self) -> None:
        """Warn once that many watched entries are expensive, and why."""
        self._hinted = True
        node, key = next(iter(self.entries))
        logger.warning(
            "%d entries, %s%s for example, hold objects, or containers that the program also holds "
            "elsewhere: each save compares them all. Containers are converted when nothing else "
            "refers to them; instead of many small objects, keep dicts",
            len(self.entries),
            node.path,
            node.entries.step(key),
        )

    def needs_polling(self) -> bool:
        """Tell whether any entry is watched."""
        return bool(self.entries)

    def add(self, node: Node, key: Any) -> None:
        """Watch an entry."""
        self._tracker.register(self)
        self.entries.setdefault((node, key))

    def again(self, node: Node, key: Any) -> None:
        """Watch an entry whose saved hash is not known any more."""
        self.rehydrated(node, key, None)

    def rehydrated(self, node: Node, key: Any, digest: int | None) -> None:
        """Watch an entry whose saved hash is this."""
        self._tracker.register(self)
        self.entries[node, key] = digest

    def forget(self, of: Callable[[Node], bool]) -> None:
        """Stop watching the entries of such nodes."""
        self.entries = {at: seen for at, seen in self.entries.items() if not of(at[0])}

    def complete(self) -> None:
        """Mark the watched entries, and find values at several places of them."""
        self._checked = self._check()
        sharing = self._tracker.sharing
        if self.entries or sharing.nodes():
            with contextlib.suppress(RecursionError):  # it is reported when it is encoded
                sharing.resolve(list(self.entries))

    def exposed(self) -> Iterable[tuple[Node, Any]]:
        """Give the watched entries, those that were until this cut, and those of shared nodes."""
        yield from self._checked
        yield from self.entries
        for node in self._tracker.sharing.nodes():
            yield from ((node, key) for key in conversion.entries_of(node))

    def _check(self) -> list[tuple[Node, Any]]:
        """Mark the watched entries, convert containers that nobody else holds, and list all."""
        self._released = {}
        if len(self.entries) > MANY and not self._hinted:
            self._hint()
        watched = []
        for node, places in self._by_node().items():
            for key, slot in places.items():
                seen = self.entries.pop((node, key))
                self._tracker.touch(node, key)
                if conversion.convert_entry(node.obj, slot, node, key):
                    self._released[node, key] = seen
                    watched.append((node, key))
                    continue
                now = node.entries.at(slot)  # it may be another object now
                self._tracker.touch(node, now)
                self.entries[node, now] = seen
                watched.append((node, now))
        return watched

    def _by_node(self) -> dict[Node, dict[Any, Any]]:
        """Find the slots of the watched entries, by node; forget entries that are gone."""
        keys: dict[Node, list[Any]] = {}
        for node, key in self.entries:
            keys.setdefault(node, []).append(key)
        found: dict[Node, dict[Any, Any]] = {}
        for node, entries in keys.items():
            if not self._tracker.graph.reaches(node):
                places: dict[Any, Any] = {}
                if node.name is None:
                    # if the node comes back, its entries are searched again
                    self._tracker.graph.mark_unreachable(node)
            else:
                places = node.entries.locate(entries)
            for key in entries:
                if key not in places:
                    del self.entries[node, key]
                    node.entries.forget(key)
            found[node] = places
        return found

    def knows(self, node: Node, key: Any) -> bool:
        """Tell whether an entry is watched, or was until this capture."""
        return (node, key) in self.entries or (node, key) in self._released

    def saved(self, node: Node, key: Any, digest: int | None) -> None:
        """Remember the hash of a saved watched entry."""
        if (node, key) in self.entries:
            self.entries[node, key] = digest

    def was_saved(self, node: Node, key: Any, digest: int) -> bool:
        """Tell whether a watched entry was saved with this hash."""
        at = (node, key)
        return digest == (self.entries[at] if at in self.entries else self._released.get(at))

    def end(self) -> None:
        """Note that the capture is encoded."""
        self._released, self._checked = {}, []

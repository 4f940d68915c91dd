"""Compares the watched entries at every cut, and converts the containers that became free."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from typing import Any, Final

from autostate.tracking.graph import Graph
from autostate.tracking.node import DirtySource, Marks, Node
from autostate.tracking.reach import Reach
from autostate.tracking.search import entries_of
from autostate.tracking.sharing import Sharing
from autostate.tracking.watched import Watched

logger = logging.getLogger("autostate")

MANY: Final = 10_000
"""The number of watched entries above which a warning is logged."""


class Watch(DirtySource):
    """Compares the watched entries of one tracker. In all calls the lock is held."""

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._watched = tracker.part(Watched)
        self._graph = tracker.part(Graph)
        self._reach = tracker.part(Reach)
        self._sharing = tracker.part(Sharing)
        self._hinted = False
        self._checked: list[tuple[Node, Any]] = []

    def _hint(self) -> None:
        """Warn once that many watched entries are expensive, and why."""
        self._hinted = True
        node, key = next(iter(self._watched.entries))
        logger.warning(
            "%d entries, %s%s for example, hold objects, or containers that the program also holds "
            "elsewhere: each save compares them all. Containers are converted when nothing else "
            "refers to them; instead of many small objects, keep dicts",
            len(self._watched.entries),
            node.path,
            node.entries.step(key),
        )

    def needs_polling(self) -> bool:
        """Tell whether any entry is watched."""
        return bool(self._watched.entries)

    def complete(self) -> None:
        """Mark the watched entries, and find values at several places of them."""
        self._checked = self._check()
        self._reach.forget()
        if self._watched.entries or self._tracker.shared:
            with contextlib.suppress(RecursionError):  # it is reported when it is encoded
                self._sharing.resolve(list(self._watched.entries))

    def exposed(self) -> Iterable[tuple[Node, Any]]:
        """Give the watched entries, those that were until this cut, and those of shared nodes."""
        yield from self._checked
        yield from self._watched.entries
        for node in list(self._tracker.shared.values()):
            yield from ((node, key) for key in entries_of(node))

    def _check(self) -> list[tuple[Node, Any]]:
        """Mark the watched entries, convert containers that nobody else holds, and list all."""
        self._watched.released = {}
        if len(self._watched.entries) > MANY and not self._hinted:
            self._hint()
        watched = []
        for node, places in self._by_node().items():
            for key, slot in places.items():
                seen = self._watched.entries.pop((node, key))
                self._tracker.touch(node, key)
                if self._convert(node, slot, key):
                    self._watched.released[node, key] = seen
                    watched.append((node, key))
                    continue
                now = node.entries.at(slot)  # it may be another object now
                self._tracker.touch(node, now)
                self._watched.entries[node, now] = seen
                watched.append((node, now))
        return watched

    def _convert(self, node: Node, slot: Any, key: Any) -> bool:
        """Convert the value of an entry; leave one that is nested too deeply to be watched."""
        try:
            return self._graph.convert_deep(node.obj, slot, node, key)
        except RecursionError:
            return False

    def _by_node(self) -> dict[Node, dict[Any, Any]]:
        """Find the slots of the watched entries, by node; forget entries that are gone."""
        keys: dict[Node, list[Any]] = {}
        for node, key in self._watched.entries:
            keys.setdefault(node, []).append(key)
        found: dict[Node, dict[Any, Any]] = {}
        for node, entries in keys.items():
            if not self._reach.reaches(node):
                places: dict[Any, Any] = {}
                if node.name is None:
                    # if the node comes back, its entries are searched again
                    self._reach.mark_unreachable(node)
            else:
                places = node.entries.locate(entries)
            for key in entries:
                if key not in places:
                    del self._watched.entries[node, key]
                    node.entries.forget(key)
            found[node] = places
        return found

    def end(self) -> None:
        """Forget what was kept for the capture: it is encoded."""
        self._watched.released, self._checked = {}, []


Watched.source = Watch

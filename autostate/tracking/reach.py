"""Which nodes the state reaches.

A node that no entry refers to any more is *unreachable*: nothing of it is saved until an entry
refers to it again (`Graph.revive`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from autostate.tracking.node import Marks, Node
from autostate.tracking.search import holds


class Reach:
    """Which nodes of one tracker the state reaches. In all calls the lock is held."""

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._reached: dict[Node, bool] = {}

    def forget(self) -> None:
        """Forget the findings: they hold only while the lock is held, and keep nodes alive."""
        self._reached = {}

    def in_use(self, nodes: Iterable[Node]) -> Iterator[Node]:
        """Yield the nodes that the state reaches; mark the others as unreachable."""
        for node in nodes:
            if self.reaches(node):
                yield node
            elif node.name is None:
                self.mark_unreachable(node)

    def mark_unreachable(self, node: Node) -> None:
        """Forget the marks and hashes of a node that nothing refers to."""
        node.unreachable = True
        # Compaction removes the node from the store: if it is revived, it is saved as a whole.
        node.entries.all_dirty, node.entries.saved = True, None
        node.entries.clear_marks()

    def reaches(self, node: Node) -> bool:
        """Tell whether some root refers to a node, directly or through other nodes.

        A root that is stored, and that the program has not asked for yet, may refer to a node that
        was rebuilt for another root.
        """
        seen = {node: None}
        left = [node]
        while left:
            one = left.pop()
            if one.name is not None:
                if self._tracker.roots.get(one.name) is not one:
                    continue
                self._reached[node] = True
                return True
            if one in self._reached:
                if self._reached[one]:
                    self._reached[node] = True
                    return True
                continue
            for referrer in self._referrers(one):
                if referrer not in seen:
                    seen[referrer] = None
                    left.append(referrer)
        reached = self._tracker.may_be_referred_to(seen)
        # If no root was found, none reaches any node on the way; if one may, it is not known which.
        self._reached |= dict.fromkeys([node] if reached else seen, reached)
        return reached

    def _referrers(self, node: Node) -> list[Node]:
        """List the nodes that refer to a node; forget referrers that no longer do."""
        found = []
        # Referrers are noted and never taken back: whether one still refers is seen only here.
        for referrer_id, key in list(node.referrers):
            referrer = self._tracker.nodes.get(referrer_id)
            if referrer is not None and self._refers(referrer, key, node):
                found.append(referrer)
            else:
                del node.referrers[referrer_id, key]
        return found

    def _refers(self, referrer: Node, key: Any, node: Node) -> bool:
        return holds(referrer.entries.values(key), referrer, node)

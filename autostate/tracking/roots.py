"""The roots of one store: how an object is bound to a name, rehydrated, and released again."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autostate.process.interrupts import uninterrupted
from autostate.tracking.barrier import VARIANTS, arm, disarm
from autostate.tracking.flat import is_flat
from autostate.tracking.graph import Graph
from autostate.tracking.kind import KINDS, PLAIN
from autostate.tracking.node import Marks, Node
from autostate.tracking.rehydration import Rehydration, State
from autostate.tracking.search import inline
from autostate.tracking.watched import Watched
from autostate.tracking.written import Written
from autostate.warned import shows_warnings

if TYPE_CHECKING:
    from autostate.signing import Signer

logger: logging.Logger = logging.getLogger("autostate")


class Roots(Marks, ABC):
    """The roots of one store, live or only stored.

    Attributes:
        graph: To which node and entry each container belongs.
        watched: The watched entries.
        written: The containers that were written since the last cut.
    """

    def __init__(
        self, *, wake: Callable[[], None], signer: Signer | None, on_unknown: Callable[[], str]
    ) -> None:
        super().__init__(wake=wake, signer=signer, on_unknown=on_unknown)
        self.graph: Graph = self.part(Graph)
        self.watched: Watched = self.part(Watched)
        self.written: Written = self.part(Written)
        self._rehydration = Rehydration(self, {})

    def collected(self, ids: Iterable[int]) -> None:
        """Note that compaction left out nodes that nothing referenced."""
        with self.lock:
            for node_id in ids:
                node = self.nodes.get(node_id)
                if node is not None and node.name is None:
                    node.entries.forget_saved()

    def load(self, states: Mapping[int, State], next_id: int) -> None:
        """Take the recovered state from which roots are rehydrated."""
        with self.lock:
            self._rehydration = Rehydration(self, dict(states))
            self._next_id = max(self._next_id, next_id)

    def root(self, name: str) -> Any | None:
        """Return the live object of that name, if it exists (another root may refer to it)."""
        node = self.roots.get(name)
        return None if node is None else node.obj

    @property
    def names(self) -> list[str]:
        """List the names of all roots, live or only stored, in order."""
        with self.lock:
            return sorted({*self.roots, *self._rehydration.names})

    def may_be_referred_to(self, nodes: Iterable[Node]) -> bool:
        """Tell whether a root that is only stored may refer to one of these nodes."""
        return self._rehydration.may_refer_to(nodes)

    def kind(self, name: str) -> str | None:
        """Return the kind of a root, live or stored; None if there is none of that name."""
        node = self.roots.get(name)
        return node.kind.name if node is not None else self._rehydration.kind(name)

    @shows_warnings
    def attach(self, container: Any, name: str, kind: str) -> bool:
        """Bind an empty container to a name and rehydrate it.

        Returns:
            Whether there was anything to resume.
        """
        with self.lock:
            stored = self._rehydration.attach(container, name)
            if stored is not None:
                return True
            node = Node(self, self.new_id(), KINDS[kind], container, name)
            node.entries.all_dirty = True
            complete = KINDS[kind].complete
            try:
                container._node_ = node
                self.nodes[node.id] = self.roots[name] = node
                self.dirty_nodes[node] = None
                container._key_ = None
                arm(container)
                if complete is None:
                    self.unresolved[id(container)] = container
                else:  # an object, which marks itself if it holds containers
                    complete(container)()
            except BaseException:  # else the half-made root would be found as a live one
                uninterrupted(lambda: self._take_back(node))
                raise
            self.wake()
            return False

    def _take_back(self, node: Node) -> None:
        """Forget a root that could not be made."""
        self.discard(node)
        self.written.forget_unbound()

    @shows_warnings
    def detach(self, name: str) -> Node | None:
        """Remove a root from the state; its object becomes plain."""
        with self.lock:
            node = self.roots.get(name)
            if node is not None:
                if node.capture is not None:  # save it as it was at the cut, then remove it
                    with contextlib.suppress(Exception):  # of the user's own code: reported later
                        node.capture.encode_rest()
                del self.roots[name]
                self.nodes.pop(node.id, None)
            node_id = node.id if node is not None else self._rehydration.forget(name)
            if node_id is not None:
                self.deleted.append(node_id)
                self.wake()
            if node is not None:
                self._release(node)
            return node

    def _release(self, node: Node) -> None:
        rest: Any = node.obj
        if node.kind.shape == "mapping":
            rest = []
            for value in dict.values(node.obj):
                known = VARIANTS.get(type(value))
                if known is None or value._node_ is not node:
                    rest.append(value)
                else:
                    value._node_ = None
                    value.__class__ = known.disarmed
                    if not is_flat(value):
                        rest.append(value)
        node.kind.release(node.obj)
        for container in [*inline(rest, node), node.obj]:
            if type(container) not in PLAIN and container._node_ is node:  # else see `sharing.py`
                container._node_ = None
                disarm(container)
        node.entries.all_dirty, node.entries.keys, node.entries.drops = False, {}, {}
        node.entries.saved = None  # a copy of items would be part of a circle
        self.dirty_nodes.pop(node, None)
        self.settled.discard(node)
        self.written.forget_unbound()
        self.watched.leave(node)

    def mark_all(self) -> None:
        """Mark all that is live."""
        with self.lock:
            self.mark_anew(list(self.nodes.values()))

    @shows_warnings
    def mark_lost(self, *, unopened: bool = True) -> None:
        """Mark everything, because the store has lost it.

        Args:
            unopened: Whether to mark also the roots that were not asked for yet; else they are
                forgotten.
        """
        with self.lock:
            if not unopened:
                self._rehydration = Rehydration(self, {})
            self._rehydration.lost = True  # what cannot be rebuilt now may be later
            self.mark_all()
            for name in self._rehydration.names:
                try:
                    self._rehydration.attach(None, name)
                except Exception as error:  # also of the user's own code: the others are saved
                    logger.critical(
                        "the store has lost %s, which is saved again only if this process opens "
                        "it: %s",
                        *(name, str(error) or type(error).__name__),
                    )

    def close(self) -> None:
        """Untrack all objects: they become plain, and run at full speed."""
        with self.lock:
            self.closed = True
            for node in list(self.nodes.values()):
                self._release(node)
            self.roots.clear()

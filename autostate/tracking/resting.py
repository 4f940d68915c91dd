"""Objects with containers of atoms in their fields: a full compare does not encode them.

The scan finds each assignment to a field, and each write to a container in it is marked. What
remains are writes past the barrier, `heapq.heappush(shop.queue, page)` for example. So what the
containers hold is noted when a full compare has saved it, and compared by identity in the next
ones: some calls of C for `SIZE` objects. As long as nothing differs, the nodes are *settled*.

The containers themselves are not noted: a reference would make them look held by somebody.
"""

from __future__ import annotations

from itertools import chain, compress
from operator import is_, not_
from typing import Any, Final

from msgspec import Struct

from autostate.tracking.barrier import VARIANT_SETS
from autostate.tracking.node import Marks, Node, OpenCapture
from autostate.tracking.search import ATOMS

SIZE: Final = 64
"""Objects that are noted together."""

_MAPPINGS: Final = VARIANT_SETS["dict"]
_OTHERS: Final = (VARIANT_SETS["list"], VARIANT_SETS["set"], VARIANT_SETS["deque"])


class Content(Struct):
    """What the containers in the fields of some objects hold.

    Attributes:
        ids: The `id`s of the containers.
        lengths: Their lengths.
        parts: Their keys, members and items, and then the values of the dicts.
    """

    ids: list[int]
    lengths: list[int]
    parts: list[Any]

    def is_same(self, other: Content) -> bool:
        """Tell whether the same objects are in the same containers."""
        if (self.ids, self.lengths) != (other.ids, other.lengths):
            return False
        return len(self.parts) == len(other.parts) and all(map(is_, self.parts, other.parts))


def content_of(nodes: list[Node]) -> Content | None:
    """Read the containers in the fields of objects; None if they hold more than atoms."""
    values = [*chain.from_iterable(map(dict.values, [node.obj for node in nodes]))]
    containers = [*compress(values, map(not_, map(ATOMS.__contains__, map(type, values))))]
    del values
    types = set(map(type, containers))
    if not types <= _MAPPINGS.union(*_OTHERS):
        return None
    dicts = containers
    if not types <= _MAPPINGS:
        dicts = [one for one in containers if type(one) in _MAPPINGS]
    parts = [
        *chain.from_iterable(containers),
        *chain.from_iterable(map(dict.values, dicts)),
    ]
    if not ATOMS.issuperset(map(type, parts)):
        return None
    return Content([*map(id, containers)], [*map(len, containers)], parts)


class Resting:
    """The settled objects of one tracker with containers. In all calls the lock is held."""

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._noted: list[tuple[list[Node], Content]] = []
        self._pending: list[tuple[list[Node], Content]] = []
        self._capture: OpenCapture | None = None  # the one to which `_pending` belongs

    def differing(self) -> list[Node]:
        """List the objects whose containers hold something else; these are settled no more."""
        settled, found, noted = self._tracker.settled, list[Node](), []
        for nodes, content in self._noted:
            now = content_of(nodes) if settled.issuperset(nodes) else None
            if now is not None and content.is_same(now):
                noted.append((nodes, content))
            else:
                found += filter(settled.__contains__, nodes)
        self._noted = noted
        settled.difference_update(found)
        return found

    def note(self, nodes: list[Node]) -> None:
        """Note what objects hold that this cut is going to compare."""
        self._pending, self._capture = [], self._tracker.capture
        for start in range(0, len(nodes), SIZE):
            some = nodes[start : start + SIZE]
            content = content_of(some)
            if content is not None:
                self._pending.append((some, content))

    def saved(self, capture: OpenCapture, nodes: set[Node]) -> None:
        """Settle the objects that were saved as they were noted, with the same capture."""
        pending = self._pending if self._capture is capture else []
        for some, content in pending:
            if nodes.issuperset(some):
                self._tracker.settled.update(some)
                self._noted.append((some, content))
        self._pending, self._capture = [], None

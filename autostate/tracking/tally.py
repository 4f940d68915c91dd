"""What the containers amount to that were written since the last cut.

While the program writes, the flush thread asks for this again and again. To read all listed
containers each time would hold up every thread, for a million of them a tenth of a second; so each
is read once, in slices. What is written to it later does not count.
"""

from __future__ import annotations

from itertools import compress
from operator import attrgetter, call, is_not
from typing import TYPE_CHECKING, Any, Final

from autostate.tracking.barrier import VARIANTS
from autostate.tracking.raw import node_of

if TYPE_CHECKING:
    from autostate.tracking.node import Node

SLICE: Final = 2_000
"""Containers that are read with the lock held: less than a millisecond."""

_length_of: Final = attrgetter("length")
_object_of: Final = attrgetter("_node_.obj")


class Tally:
    """The sums over the listed containers. The lock is held during each call.

    Attributes:
        nodes: The nodes of the containers, and perhaps of some that were listed before.
        count: The number of containers that are read.
        size: Bytes of the inline ones that are read, as an estimate.
    """

    __slots__ = ("count", "nodes", "size")

    def __init__(self) -> None:
        self.nodes: set[Node] = set()
        self.count = 0
        self.size = 0

    def read(self, written: list[Any]) -> None:
        """Read some of those containers that are not read yet."""
        some = written[self.count : self.count + SLICE]
        self.count += len(some)
        nodes = {*map(node_of, some)}
        if None in nodes:  # some were detached
            some = [one for one in some if one._node_ is not None]
            nodes.discard(None)
        self.nodes |= nodes
        inline = [*compress(some, map(is_not, map(_object_of, some), some))]
        lengths = map(_length_of, map(VARIANTS.__getitem__, map(type, inline)))
        self.size += 16 * (len(some) + sum(map(call, lengths, inline)))

    def shorten(self, count: int) -> None:
        """Note that only the first of the listed containers are left."""
        if count < self.count:
            self.size = self.size * count // self.count
            self.count = count
        if not count:
            self.nodes = set()

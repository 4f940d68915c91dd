"""Processes that share a state and come and go, in one process and over a store in memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from autostate.shared import fold as folding
from autostate.shared.kinds import COUNTER, Kind
from autostate.shared.own_writer import ReplicaWriter
from autostate.shared.replica import Replica
from autostate.shared.writer import Pending
from tests.faulty import FaultyStore, Promises, Records


class Writers:
    """Processes that come and go, at times that a test chooses.

    Args:
        promises: What the store promises.
    """

    def __init__(self, promises: Promises) -> None:
        self.promises = promises
        self.records: Records = {}
        self.now = 1e9

    def new(self, store: FaultyStore | None = None) -> Replica:
        """Begin a process."""
        made = store or FaultyStore(self.records, **self.promises)
        return Replica(made, now=lambda: self.now)

    def open(self, replica: Replica, name: str, kind: Kind) -> tuple[Any, Any]:
        """Open an object of a process; give its handle and its container."""
        builtin = {"counter": Counter, "set": set, "dict": dict}[kind.name]
        container = replica.open(name, kind, lambda _: builtin())
        return replica.objects[name], container

    def fold(self) -> None:
        """Fold in a process of its own."""
        replica = self.new()
        assert folding.fold(replica.shelf, replica.kind_of, replica._clock) is not None

    def others(self, count: int) -> None:
        """Let other processes come, count, and end; fold after each."""
        for _ in range(count):
            replica = self.new()
            self.open(replica, "others", COUNTER)[0].write({"page": 1})
            replica.flush(5.0)
            self.fold()


class Program:
    """A process of a program with a state of its own: it goes on from its items.

    Args:
        writers: The processes beside it.
        items: How many items are in its own state.
        first: The position of the first of them.
        is_new: Whether no process was before it.
    """

    NAME = "a" * 16

    def __init__(
        self, writers: Writers, items: int, first: int = 0, *, is_new: bool = False
    ) -> None:
        self.replica: Replica = writers.new()
        self.replica.shelf.past.recall(self.NAME, is_new=is_new)
        self.writer: ReplicaWriter = self.replica.resumed(self.NAME, 1, lambda _: None)
        replica: Any = self.replica
        replica.writer = self.writer  # it has no other one
        self.put(items, first)

    def put(self, items: int, first: int = 0) -> None:
        """Take items over that are not published, as far as that is known."""
        positions = range(max(first, self.writer.number), first + items)
        objects = [{"hits": ("counter", {f"page {position}": 1})} for position in positions]
        if objects:
            with self.replica.lock:
                taken = [Pending(at + 1, each) for at, each in zip(positions, objects, strict=True)]
                self.writer.take(taken)

    def publish(self) -> None:
        """Publish the items."""
        self.replica.publish(self.writer, 5.0)


def hits(writers: Writers) -> dict[str, int]:
    """Give what a new process sees."""
    return dict(writers.open(writers.new(), "hits", COUNTER)[1])

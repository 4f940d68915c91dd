"""The writers of a replica: their contributions are shown with what the replica has read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from autostate.shared.kinds import Entries, Entry, Kind
from autostate.shared.line import Line, LineKey
from autostate.shared.shelf import Reading
from autostate.shared.writer import Writer

if TYPE_CHECKING:
    from autostate.shared.held import Held


class ReplicaWriter(Writer):
    """A writer whose contributions are shown with what the replica has read.

    Attributes:
        accept: Takes what the writer has read; the lock is held. If a fold has taken the writer's
            lineage, this has the base with it.
    """

    accept: Callable[[Reading], object]

    def unpublished(self, name: str) -> Iterator[Entries]:
        """Yield changes to an object that are not acknowledged; the lock is held."""
        for objects in (*(each.objects for each in self.attempts), self.fresh):
            if name in objects:
                yield objects[name][1]

    def _follow_now(self, timeout: float | None) -> None:
        reading = self._shelf.read(timeout)
        with self._lock:
            self.accept(reading)


class OwnWriter(ReplicaWriter):
    """The writer of a process without a state of its own.

    Attributes:
        held: The changes of open blocks.
    """

    held: Held

    def contribute(self, name: str, kind: Kind, entries: Mapping[str, Entry]) -> None:
        """Note changes; the lock is held."""
        self.held.add(name, kind, entries)

    def note_fresh(self) -> None:
        """Number the changes after all that may be published already."""
        self.next()

    def own(self, name: str) -> Iterator[Entries]:
        """Yield what this process has contributed to an object, outside of the base."""
        yield from super().own(name)
        yield from self.held.own(name)

    def unpublished(self, name: str) -> Iterator[Entries]:
        """Yield changes to an object that are not acknowledged; the lock is held."""
        yield from super().unpublished(name)
        yield from self.held.own(name)

    def _attempt(self, ends: bool) -> tuple[LineKey, Line]:
        self.held.settle()
        return super()._attempt(ends)

    def _take_back(self, number: int) -> None:
        self.held.settle()
        super()._take_back(number)

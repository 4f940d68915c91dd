"""The writers of a replica: their contributions are shown with what the replica has read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from autostate.shared.kinds import Entries, Entry, Kind, Objects
from autostate.shared.line import Line, LineKey
from autostate.shared.portions import PORTIONS, divided, size_of
from autostate.shared.shelf import Survey
from autostate.shared.writer import Pending, Writer

if TYPE_CHECKING:
    from autostate.shared.held import Held


class ReplicaWriter(Writer):
    """A writer whose contributions are shown with what the replica has read.

    Attributes:
        accept: Takes what the writer has found; the lock is held. If a fold has taken the writer's
            lineage, this has the base with it.
    """

    accept: Callable[[Survey], object]

    def unpublished(self, name: str) -> Iterator[Entries]:
        """Yield changes to an object that are not acknowledged; the lock is held."""
        for each in self.pending:
            if name in each.objects:
                yield each.objects[name][1]

    def _follow_now(self, timeout: float | None) -> None:
        found = self._shelf.survey(timeout)
        with self._lock:
            self.accept(found)


class OwnWriter(ReplicaWriter):
    """The writer of a process without a state of its own.

    Attributes:
        held: The changes of open blocks.
    """

    held: Held

    def contribute(self, name: str, kind: Kind, entries: Mapping[str, Entry]) -> None:
        """Note changes; the lock is held."""
        self.held.add(name, kind, entries)

    def batch(self) -> Objects:
        """Give what is published next, to be added to; the lock is held."""
        pending = self.pending
        if not pending or pending[-1].number <= self.sent:
            pending.append(Pending(self.next(), {}))  # above all that may be published already
        return pending[-1].objects

    def own(self, name: str) -> Iterator[Entries]:
        """Yield what this process has contributed to an object, outside of the base."""
        yield from super().own(name)
        yield from self.held.own(name)

    def unpublished(self, name: str) -> Iterator[Entries]:
        """Yield changes to an object that are not acknowledged; the lock is held."""
        yield from super().unpublished(name)
        yield from self.held.own(name)

    def _attempt(self, count: int | None) -> tuple[LineKey, Line]:
        self.held.settle()
        pending = self.pending
        if pending[-1].number > self.sent:  # with all that was added since it was begun
            pending[-1] = Pending(self.number, pending[-1].objects)
        return super()._attempt(count)

    def _divide(self) -> bool:
        """Divide what was not sent yet; each portion gets a number of its own."""
        self.held.settle()
        most = self._shelf.room // PORTIONS
        made = [each for each in self.pending if each.number <= self.sent]
        unsent = self.pending[len(made) :]
        if all(size_of(each.objects) <= most for each in unsent):
            return False
        for each in unsent:
            rest = each.objects
            while rest:
                portion, rest = divided(rest, most)
                made.append(Pending(self.next(), portion))
        is_new = len(made) > len(self.pending)
        self.pending = made
        return is_new

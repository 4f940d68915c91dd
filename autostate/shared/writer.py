"""What one process contributes to a shared state, and what is known of its publications.

A change is in one of two places, in this order:

    pending    not acknowledged; up to the number `sent` it may be in a record that has arrived
    line       acknowledged: in the lineage of the present generation

and, when the generation is folded, in the base. All of it is shown in this process at once.

    publish: pending ──▶ line ──▶ the base, when the generation is closed
                │
                └──▶ the base has taken it in, up to a number: no more to do
                     the base has not: published again, in the next generation

A writer whose name outlasts the process may be several processes: one that was replaced, perhaps
stopped for hours, and the one in its place. Their changes have the same numbers. So each change
stays by itself until it is acknowledged, and a generation is begun only when the base of the one
before is known, which tells how far any of them was taken in. In that generation both contribute
the same changes from that number on, and the lineage of the later epoch counts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from autostate.errors import StoreError, StoreUnavailableError
from autostate.process.turns import Turns
from autostate.shared.clock import HybridClock
from autostate.shared.kinds import Entries, Entry, Kind, Objects, merge_into, own_kept
from autostate.shared.line import Line, LineKey, first_attempt
from autostate.shared.portions import size_of
from autostate.shared.shelf import Base, ClosedError, LargeLineError, Reading, Shelf

KindOf = Callable[[str, str], Kind]


class FullError(ClosedError):
    """The lineage has no room for more: the generation has to be folded first."""

    def __init__(self, generation: int) -> None:
        super().__init__(generation, is_certain=True)


class UncertainError(StoreError):
    """It will never be known whether some changes to a shared state were counted."""


class Pending(NamedTuple):
    """Changes that are published together, and not acknowledged.

    Attributes:
        number: The number of the last one.
        objects: The changes.
    """

    number: int
    objects: Objects


class Writer:
    """A writer of a shared state: one in each process.

    Args:
        shelf: The records.
        kind_of: Gives the kinds of objects.
        clock: Gives the times of changes.
        lock: Held while changes are made and moved.
        id: Its name, which outlasts the process; by default a random one, which does not.
        epoch: See `line.LineKey`.

    Attributes:
        id: Its name.
        generation: The generation in which it publishes.
        number: The number of its last change.
        pending: See the docstring of the module.
        sent: The same.
        line: The same.
        acknowledged: The number of the last change that is published.
        uncertain: Whether changes were given up because their outcome will never be known.
    """

    def __init__(
        self,
        shelf: Shelf,
        kind_of: KindOf,
        clock: HybridClock,
        lock: threading.RLock,
        *,
        id: str | None = None,  # noqa: A002 - as the attribute
        epoch: int = 0,
    ) -> None:
        self.id: str = id or os.urandom(6).hex()
        self.generation = 0
        self.number = 0
        self.pending: list[Pending] = []
        self.sent = 0
        self.line: Objects = {}
        self.acknowledged = 0
        self.uncertain: bool = False
        self._shelf = shelf
        self._kind_of = kind_of
        self._clock = clock
        self._lock = lock
        self._epoch = epoch
        self._outlasts = id is not None
        self._first = first_attempt(clock.now())
        self._tries = self._first
        self._former: list[str] = []  # keys with less in them
        self._flying: str | None = None  # the key of a publication whose outcome is not noted
        self._arrived: Line | None = None  # what is acknowledged, and not noted everywhere
        self._publishing = Turns(f"another thread publishes in {shelf.store.url}")

    # -- the origin of changes: see `kinds.Origin` ------------------------------------------------

    def next(self) -> int:
        """Return the number of this change."""
        self.number += 1
        return self.number

    def stamp(self) -> int:
        """Return a time of the hybrid logical clock."""
        return self._clock.stamp()

    # -- changes ------------------------------------------------------------------------------

    def add(self, name: str, kind: Kind, entries: Mapping[str, Entry]) -> None:
        """Note changes; the lock is held."""
        pending = self.pending
        if self._outlasts or not pending or pending[-1].number <= self.sent:
            pending.append(Pending(self.number, {}))
        objects = pending[-1].objects
        _, known = objects.setdefault(name, (kind.name, {}))
        merge_into(kind, known, entries)
        pending[-1] = Pending(self.number, objects)

    def take(self, changes: Sequence[Pending]) -> None:
        """Take over changes that have numbers already, all or none; the lock is held.

        Raises:
            StateTypeError: This program merges values that the former one has not merged, or vice
                versa.
        """
        self._merged({}, changes)
        self.pending = [*self.pending, *changes]
        self.number = changes[-1].number

    def own(self, name: str) -> Iterator[Entries]:
        """Yield what this process has contributed to an object, outside of the base."""
        self._settle()
        for objects in (self.line, *(each.objects for each in self.pending)):
            if name in objects:
                yield objects[name][1]

    @property
    def is_behind(self) -> bool:
        """Whether there are changes that are not acknowledged."""
        return bool(self.pending)

    def resume(self, reading: Reading) -> None:
        """Go on where a former process of this name has stopped; the lock is held.

        Args:
            reading: What was read, and is settled: a lineage that came too late is none of it.
        """
        mine = [(key, line) for key, line in reading.lines.items() if key.writer == self.id]
        if mine:
            key, line = max(mine)
            self.generation, self.number = key.generation, line.number
            self.line = line.objects
        else:
            self.generation = reading.base.through + 1
            self.number = reading.base.taken.get(self.id, (0, 0))[1]
        self.acknowledged = self.number

    # -- publishing ---------------------------------------------------------------------------

    def publish(self, *, timeout: float | None = None) -> int:
        """Publish all changes; return the bytes of the lineage, 0 if there was nothing to publish.

        Raises:
            FullError: What is acknowledged in this generation leaves no room for the rest: fold,
                and try again.
            ClosedError: The generation is closed, and the base does not tell yet how far this
                writer was taken in: fold, and try again.
            UncertainError: It will never be known whether some changes were counted.
            StoreUnavailableError: The outcome is unknown. Try again.
        """
        return self._publishing.run(self._publish, timeout)

    def _publish(self, timeout: float | None) -> int:
        last, size, count = self.number, 0, None
        while True:
            with self._lock:
                self._check()
                self._settle()
                if not self.pending or self.pending[0].number > last:
                    return size
                sent = self.sent
                begun = self._attempt(count) if self.generation else None
            if begun is None:
                self._follow_now(timeout)
                continue
            key, line = begun
            try:
                size, count = self._shelf.publish(key, line, self._former, timeout), None
            except LargeLineError as error:
                count, last = self._fewer(key, line, sent, error), self.number
            except ClosedError as closed:
                self._note_failure(key, has_arrived=None if closed.is_certain else key)
                self._follow_now(timeout)
                if self.generation == key.generation:
                    raise
            except StoreUnavailableError:
                self._note_failure(key, has_arrived=key)
                raise
            except StoreError:
                self._note_failure(key, has_arrived=None)
                raise
            else:
                self._note_success(key, line)

    def _attempt(self, count: int | None) -> tuple[LineKey, Line]:
        """Begin a publication of the first changes, or of all; the lock is held."""
        pending = self.pending[:count]
        objects = self._merged(self.line, pending)
        self.sent = pending[-1].number
        if self._flying is not None:  # Ctrl-C has interrupted it: as after an unknown outcome
            self._take_another_key(self._flying)
        key = LineKey(self.generation, self.id, self._epoch, self._tries)
        self._flying = key.text
        return key, Line(self.sent, objects, lasts=self._outlasts)

    def _fewer(self, key: LineKey, line: Line, sent: int, error: LargeLineError) -> int | None:
        """Tell how many of the pending changes to publish, since a lineage was too large.

        What was sent before is in all later lineages, so that no view goes back. It had room.

        Args:
            key: The key of the lineage.
            line: The lineage.
            sent: The former `sent`.
            error: The error.

        Returns:
            How many; None: as many as there are.

        Raises:
            FullError: There is no room.
            LargeLineError: One change is too large.
        """
        with self._lock:
            if self.generation != key.generation:
                return None
            self._flying, self.sent = None, sent
            tried = sum(each.number <= line.number for each in self.pending)
            most = len(self.pending) if self._divide() else tried - 1
            sizes = (size_of(each.objects) for each in self.pending[:most])
            total = accumulate(sizes, initial=size_of(self.line))
            fitting = sum(size <= self._shelf.room for size in total) - 1
            count = max(fitting, sum(each.number <= sent for each in self.pending))
        if count > 0:
            return count
        if self.line:
            raise FullError(self.generation)
        raise error

    def _divide(self) -> bool:
        """Divide pending changes into several, if that is possible; the lock is held."""
        return False

    def _note_success(self, key: LineKey, line: Line) -> None:
        with self._lock:
            # Else a refresh has found the base meanwhile that has this lineage.
            if self.generation == key.generation:
                self._arrived = line
                self._settle()

    def _settle(self) -> None:
        """Note everywhere what is acknowledged, also if Ctrl-C interrupts it; the lock is held."""
        line = self._arrived
        if line is not None:
            self.line = line.objects
            self.acknowledged = line.number
            self._drop(line.number)
            self._former, self._flying = [], None
            self._arrived = None

    def _take_another_key(self, former: str) -> None:
        self._tries += 1  # first: a publication must not delete its own key
        self._former.append(former)
        self._flying = None

    def _note_failure(self, key: LineKey, *, has_arrived: LineKey | None) -> None:
        """Note what may be in the store now: nothing of the last attempt, or this record."""
        with self._lock:
            if self.generation != key.generation:
                return
            if has_arrived is not None:
                self._take_another_key(key.text)
                return
            self._flying = None
            if not self._former:
                self.sent = 0

    def _follow_now(self, timeout: float | None) -> None:
        found = self._shelf.survey(timeout)
        with self._lock:
            self.follow(found.base, found.generation)

    def follow(self, base: Base, generation: int) -> None:
        """Go on in the generation that is open, if this is known to be right; the lock is held."""
        self._settle()
        if self._outlasts:
            if base.is_settled and base.through >= self.generation:
                self._follow(base, base.through + 1)
        elif not self.generation:
            self.generation = generation
        elif base.is_settled and base.through >= self.generation:
            self._follow(base, generation)
        elif not (self.sent or self.line) and generation > self.generation:
            self._begin(generation)

    def _follow(self, base: Base, generation: int) -> None:
        taken_in, number = base.taken.get(self.id, (0, 0))
        is_forgotten = taken_in < self.generation < base.known_from
        if is_forgotten and self.sent and not self._outlasts:  # see `past.py`
            self.uncertain = True
            self._drop(self.sent)
        self.acknowledged = max(self.acknowledged, number)
        self.number = max(self.number, number)
        self._drop(number)
        self.line = {}
        self._begin(generation)

    def _drop(self, number: int) -> None:
        """Forget the changes up to a number: they are published, or given up."""
        self.pending = [each for each in self.pending if each.number > number]
        if self.sent <= number:
            self.sent = 0

    def _begin(self, generation: int) -> None:
        self.generation = generation
        self.sent = 0
        self._tries = self._first
        self._former, self._flying = [], None

    def _check(self) -> None:
        if self.uncertain:
            self.uncertain = False
            raise UncertainError(
                "this process was stopped for so long that it will never be known whether its last "
                "changes to the shared state were counted; they are left out"
            )

    def _merged(self, line: Objects, pending: Sequence[Pending]) -> Objects:
        made = {name: (kind, dict(entries)) for name, (kind, entries) in line.items()}
        for each in pending:
            for name, (kind_name, entries) in each.objects.items():
                _, known = made.setdefault(name, (kind_name, {}))
                merge_into(self._kind_of(name, kind_name), known, entries, own_kept)
        return made

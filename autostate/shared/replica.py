"""The shared objects of one process, and what this process knows of all contributions.

A read shows the changes of this process at once, and those of others as of the last refresh. It
never goes back: a refresh reads at least what was acknowledged before it, and all that this process
has contributed is merged with it.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from autostate.deadline import Deadline
from autostate.errors import FlushError, ReadOnlyError, StoreUnavailableError, forget_locals
from autostate.process.turns import Turns
from autostate.shared import fold
from autostate.shared.clock import HybridClock
from autostate.shared.held import Held, Target
from autostate.shared.inherited import Inherited, with_lines
from autostate.shared.keys import kind_named
from autostate.shared.kinds import DictKind, Entries, Kind, merge_into
from autostate.shared.line import LineKey
from autostate.shared.object import Shared
from autostate.shared.own_writer import OwnWriter, ReplicaWriter
from autostate.shared.patience import Patience
from autostate.shared.reopened import Reopened
from autostate.shared.setback import Setback
from autostate.shared.shelf import Base, ClosedError, Reading, Shelf, Survey
from autostate.shared.writer import FullError, Writer
from autostate.stores.base import Store
from autostate.tracking import Tracker
from autostate.tracking.blocks import Blocks
from autostate.tracking.node import Marks

if TYPE_CHECKING:
    import asyncio

    from autostate.shared.confirmed import Confirmed

__all__ = ["Replica", "Shared"]

LONGEST_WAIT: Final = 30.0
"""Seconds that a refresh may take."""
METERED_AGE: Final = 10.0
"""Seconds for which a reading is good enough for another object, where each lineage is a request
that is paid for: so often do others publish there. Several objects are mostly made in a row."""


class Replica:
    """The shared objects of one process in one store.

    Args:
        store: The store; it is closed with this.
        now: The time of day in seconds.

    Attributes:
        shelf: The records.
        lock: Held while objects change.
        writer: What this process contributes.
        is_refreshed: Whether a thread refreshes the objects at an interval.
        last_error: Gives why the last attempt to publish or refresh failed.
        wake: Called after each change.
        confirmed: Gives where changes go that are published only when they are durable elsewhere.
    """

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self.shelf: Shelf = Shelf(store)
        self.lock: threading.RLock = threading.RLock()
        self.objects: dict[str, Shared] = {}
        self.is_refreshed: bool = False
        self.last_error: Callable[[], Exception | None] = lambda: None
        self._fetched_at: float = -math.inf
        self._read_at = self._read_until = -math.inf
        self.wake: Callable[[], None] = lambda: None
        self.tracker: Tracker = Tracker(wake=lambda: None)
        self.tracker.lock = self.lock
        self.confirmed: Callable[[], Confirmed | None] = lambda: None
        self._clock = HybridClock(now)
        self._store = store
        self._reading: Reading | None = None
        self._refreshing = Turns(f"another thread reads {store.url}")
        self._patience = Patience(is_metered=store.metered)
        self._setback = Setback(store.url, is_one_step=not self.shelf.has_single_lineages)
        self._surveyed: Survey | None = None
        self.writer: OwnWriter = self._own_writer()
        self._others: dict[str, Confirmed] = {}
        self._inherited = Inherited(_published)

    def _own_writer(self) -> OwnWriter:
        made = OwnWriter(self.shelf, self.kind_of, self._clock, self.lock)
        made.accept, made.held = self._follow, self.held(self.tracker, made)
        return made

    def held(self, tracker: Marks, target: Target) -> Held:
        """Make what keeps the changes of the open blocks of a tracker."""
        return Held(
            tracker,
            target,
            self.kind_of,
            room=self.shelf.room,
            show_again=self.show_again,
            wake=self._wake_later,
        )

    def _wake_later(self) -> None:
        self.wake()

    def stamp(self) -> int:
        """Return a time of the hybrid logical clock; the lock is held."""
        return self._clock.stamp()

    def join(self, confirmed: Confirmed) -> None:
        """Show the changes of a program with a state of its own, too.

        Raises:
            StoreError: What was read before does not tell how far the program has published, and
                the store could not be read again.
        """
        self.shelf.past.recall(confirmed.id, is_new=confirmed.is_new)
        reading = self._reading
        if reading is not None and self.shelf.past.is_unknown(confirmed.id, reading.base):
            self._read(None)
        with self.lock:
            self._others[confirmed.id] = confirmed
            if self._reading is not None:
                confirmed.note(_published(confirmed.id, self._reading))
            for name, keys in confirmed.keys().items():
                self.show_again(name, keys)

    def resumed(self, name: str, epoch: int, forget: Callable[[int], None]) -> ReplicaWriter:
        """Make a writer that goes on where a former process has stopped.

        Args:
            name: The name of the writer.
            epoch: The epoch of the program's own state.
            forget: Called with the number of the last change that is published; the lock is held.

        Raises:
            StoreError: The store could not be read.
        """

        def go_on(timeout: float | None) -> ReplicaWriter:
            reading = self._read(timeout)
            with self.lock:
                # The own state may have been restored to an earlier moment, with a lower epoch.
                epochs = [key.epoch + 1 for key in reading.lines if key.writer == name]
                writer = ReplicaWriter(
                    *(self.shelf, self.kind_of, self._clock, self.lock),
                    id=name,
                    epoch=max([epoch, *epochs]),
                )
                writer.accept = self._follow
                writer.resume(reading)
                forget(writer.number)
                self._inherited.forget(name)
                return writer

        return self._refreshing.run(go_on, None)

    def show_again(self, name: str, keys: Collection[str] = ()) -> None:
        """Show keys of an object anew, without reading; also those that are not clear."""
        with self.lock:
            shared = self.objects.get(name)
            if shared is not None and self._reading is not None:
                keys = {*keys, *shared.unclear}
                with shared.named():
                    shared.show_again(self._merged(shared, self._reading, keys), keys)

    def show_undone(self) -> None:
        """Show no longer what was undone, where the end of a block could not do that."""
        for held in (self.writer.held, *(each.held for each in self._others.values())):
            held.show_undone()

    def kind_of(self, name: str, kind_name: str) -> Kind:
        """Give the kind of an object, with the functions of the program."""
        known = self.objects.get(name)
        return kind_named(kind_name) if known is None else known.kind

    def open(self, name: str, kind: Kind, make: Callable[[Shared], Any]) -> Any:
        """Give the shared object of a name; make it with what is stored.

        Raises:
            StateTypeError: Another program uses the name for another kind, or this one merges its
                values by other functions.
            StoreError: The store could not be read.
        """
        with self.lock:
            known = self.objects.get(name)
            if known is not None:
                fold.checked(kind, name, known.kind.name)
                if isinstance(kind, DictKind):
                    kind.check_merges_as(name, known.kind)
                return known.container
        if not self._is_fresh():
            self._read(None)
        with self.lock:
            self.tracker.note_loop()
            if name not in self.objects and self._reading is not None:
                made = Shared(self, name, kind)
                made.container, made.read_at = make(made), self._read_at
                self._fill(made, self._reading)
                self.objects[name] = made
            return self.objects[name].container

    def _is_fresh(self) -> bool:
        """Tell whether an object that is made now needs no reading."""
        if self._reading is None or not (self._store.metered and self.shelf.has_single_lineages):
            return False
        return time.monotonic() - self._read_until < METERED_AGE  # it may have taken long

    # -- reading ------------------------------------------------------------------------------

    def refresh(self, timeout: float | None = None) -> None:
        """Read what others have published, and show it.

        Raises:
            StoreError: The store could not be read; the view stays as it was.
        """
        self.fetch(timeout)
        self.show()

    def fetch(self, timeout: float | None = None) -> None:
        """Read what others have published, and change no object.

        Raises:
            StoreError: The store could not be read.
        """
        self._refreshing.run(self._fetch, timeout)

    def _fetch(self, timeout: float | None) -> None:
        began = time.monotonic()
        self._read(timeout)
        self._fetched_at = began

    def show(self) -> None:
        """Show what was read last; an object that cannot be shown keeps no other one back.

        Raises:
            AutostateError: An object cannot be shown, such as one with a value of an unknown class.
                It stays as it was.
        """
        with self.lock:
            failed = self._show()
        if failed is not None:
            raise failed

    def _show(self) -> Exception | None:
        failed: Exception | None = None
        if self._reading is not None:
            for each in self.objects.values():
                try:
                    self._fill(each, self._reading)
                except Exception as error:  # also of a function of the user that merges
                    failed = failed or error
                else:
                    each.read_at = max(each.read_at, self._fetched_at)
        return failed

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return a running event loop in which shared objects are used."""
        return self.tracker.loop()

    def _read(self, timeout: float | None) -> Reading:
        end = Deadline.after(LONGEST_WAIT if timeout is None else timeout)
        for pause in self._patience.pauses():
            began = time.monotonic()
            with self.lock:
                known = self._known()
            reading = self.shelf.read(timeout)
            with self.lock:
                if self._accept(reading, known):
                    self._read_at = max(self._read_at, began)
                    self._read_until = time.monotonic()
                    return reading
            if end.left() <= pause:
                raise StoreUnavailableError(
                    f"the shared state in {self._store.url} is folded again and again while it is "
                    "read: try again"
                )
            if not reading.is_settled and self._is_left(self.shelf.survey(timeout)):
                self._fold(end.left())
            time.sleep(pause)
        raise AssertionError("unreachable")

    def unpublished(self, name: str) -> set[str]:
        """Give the keys of an object whose changes are not published; the lock is held."""
        found: set[str] = set()
        for entries in self.writer.unpublished(name):
            found.update(entries)
        for confirmed in self._others.values():
            for entries in confirmed.unpublished(name):
                found.update(entries)
        return found

    def _known(self) -> tuple[Reading | None, int]:
        """Give what was read last, and the latest generation of a writer; the lock is held."""
        return self._reading, max(each.generation for each in self._writers())

    def _accept(self, reading: Reading, known: tuple[Reading | None, int]) -> bool:
        """Let the writers follow what was read; tell whether it can be shown; the lock is held.

        Args:
            reading: What was read.
            known: What was known when the reading began.
        """
        self._follow_all(reading.base, reading.generation)
        if not reading.is_settled:
            return False
        before, latest = self._known()
        # Of two threads that read, the later one may have read the earlier state.
        if latest > reading.generation or (before is not None and reading.is_before(before)):
            if (before, latest) != known or not self._setback.is_certain():
                return False
        else:
            self._setback.clear()
        self._reading = reading
        self._inherited.note(reading)
        for confirmed in self._others.values():
            confirmed.note(_published(confirmed.id, reading))
        return True

    def _follow(self, found: Survey) -> None:
        """Let the writers follow what one of them has found; the lock is held.

        What they had in their lineages is in the base then, so the view needs this, too.
        """
        self._surveyed = found
        self._follow_all(found.base, found.generation)
        before = self._reading
        if before is not None and found.base.is_settled:
            self._reading = before.on(found)
            self._inherited.note(self._reading)

    def _follow_all(self, base: Base, generation: int) -> None:
        for writer in self._writers():
            writer.follow(base, generation)

    def _writers(self) -> list[ReplicaWriter]:
        others = [each.writer for each in self._others.values()]
        return [self.writer, *(writer for writer in others if writer is not None)]

    def _fill(self, shared: Shared, reading: Reading) -> None:
        """Merge all contributions to an object; the lock is held."""
        with shared.named():
            shared.set_entries(self._merged(shared, reading))

    def _merged(
        self, shared: Shared, reading: Reading, keys: Collection[str] | None = None
    ) -> Entries:
        """Merge all contributions to some keys of an object, or to all; the lock is held.

        What is written from now on is later than all of them.
        """
        kind, merged = shared.kind, Entries()
        for entries in self._contributions(shared.name, kind, reading):
            if keys is None and not merged:
                merged.update(entries)
            elif keys is None:
                merge_into(kind, merged, entries)
            else:
                some = {key: entries[key] for key in keys if key in entries}
                merge_into(kind, merged, some)
        if kind.name == "dict":
            for entry in merged.values():
                self._clock.see(entry[0])
        return merged

    def _contributions(self, name: str, kind: Kind, reading: Reading) -> Iterator[Entries]:
        for kind_name, entries in reading.base.objects.get(name, {}).items():
            fold.checked(kind, name, kind_name)
            yield entries
        # Earlier lineages of a writer are there only if the store has gone back.
        mine = {each.id: each.generation for each in self._writers()}
        for key, line in reading.lines.items():
            if key.generation < mine.get(key.writer, sys.maxsize) and name in line.objects:
                kind_name, entries = line.objects[name]
                fold.checked(kind, name, kind_name)
                yield entries
        yield from self.writer.own(name)
        yield from self._inherited.own(name)
        for confirmed in self._others.values():
            yield from confirmed.own(name, _published(confirmed.id, reading))

    # -- publishing ---------------------------------------------------------------------------

    def flush(self, timeout: float) -> None:
        """Return when all changes before the call are published.

        Raises:
            FlushError: They were not published in time; they stay in memory.
            UncertainError: It will never be known whether some were counted.
        """
        self.publish(self.writer, timeout)

    def publish(self, writer: Writer, timeout: float) -> None:
        """Publish the changes of a writer; see `flush`."""
        end = Deadline.after(timeout)
        size = 0
        for pause in self._patience.pauses():
            try:
                size = writer.publish(timeout=max(end.left(), 0.001))
                break
            except (ClosedError, StoreUnavailableError) as error:
                if isinstance(error, FullError) and self._makes_room(end.left()):
                    continue
                if end.left() <= pause:
                    forget_locals(error)
                    raise FlushError(
                        f"changes to the shared state in {self._store.url} could not be published "
                        f"in {timeout:.3g} s: {error}. They stay in memory"
                    ) from error
                found = self._surveyed
                if isinstance(error, ClosedError) and found is not None and self._is_left(found):
                    self._fold(end.left())
                time.sleep(pause)
        reading = self._reading
        is_large = size > fold.LARGE
        if is_large or (reading is not None and self._is_due(reading.base, reading.lines)):
            with contextlib.suppress(StoreUnavailableError):
                self.fold_if_due(is_large=is_large, timeout=max(end.left(), 0.001))

    def _makes_room(self, seconds: float) -> bool:
        """Fold, unless another process does; tell whether it was done."""
        with contextlib.suppress(StoreUnavailableError):
            return seconds > 0 and self.fold_if_due(is_large=True, timeout=seconds)
        return False

    def fold_if_due(self, *, is_large: bool = False, timeout: float | None = None) -> bool:
        """Fold if there are many lineages, or large ones, and no other process is about to."""
        found = self.shelf.survey(timeout)
        with self.lock:
            self._follow(found)
        if found.is_folding or not (is_large or self._is_due(found.base, found.keys)):
            return False
        return self._fold(timeout)

    def _is_due(self, base: Base, lineages: Collection[LineKey]) -> bool:
        interval = fold.METERED_INTERVAL if self._store.metered else fold.INTERVAL
        youth = interval if self.shelf.has_single_lineages else 0.0
        return fold.is_due(base, lineages, self._clock.now(), interval, youth)

    def _fold(self, timeout: float | None) -> bool:
        try:
            folded = fold.fold(self.shelf, self.kind_of, self._clock, timeout)
        except ReadOnlyError:  # another process will
            return False
        return folded is not None

    def _is_left(self, found: Survey) -> bool:
        """Tell whether a generation has been closed for so long that its folder is gone."""
        seconds = found.seconds * (1 + found.lineages / 10)
        return self._patience.is_over((found.base.through, self.shelf.version), seconds)

    def leave_to_parent(self, opener: Callable[[], Store], *, is_locked: bool) -> object:
        """Go on in the child of a fork, on another connection, as a writer that has nothing yet.

        Args:
            opener: Opens the store in this process, when it is needed.
            is_locked: Whether the thread that forks holds the lock; else one that does not exist
                here may hold it, in the midst of a change.

        Returns:
            What belongs to the parent, and must be neither used nor freed.
        """
        before = self.shelf, self._store
        self._store = Reopened(before[1], opener)
        self.shelf = Shelf(self._store, before[0].past)
        self._refreshing = Turns(f"another thread reads {self._store.url}")
        if not is_locked:
            self.lock = self.tracker.lock = threading.RLock()
            for each in self.objects.values():
                each.lock = self.lock
        with self.lock:
            others = [each.forked() for each in self._others.values()]
            writers = [self.writer, *(each for each in others if each is not None)]
            for writer in writers:
                self._inherited.add(writer)
            if self._reading is not None:
                self._reading = with_lines(self._reading, writers)
            self.writer.held.forget()
            blocks = self.tracker.part_in_use(Blocks)
            if blocks is not None:
                blocks.forked()
            self.writer = self._own_writer()
            self._show()
        return before

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _published(name: str, reading: Reading) -> int:
    """Give the number of the last change of a writer that a reading has."""
    numbers = [line.number for key, line in reading.lines.items() if key.writer == name]
    return max([reading.base.taken.get(name, (0, 0))[1], *numbers])

"""Changes of a program with a state of its own: published only when they are durable there.

A program that is killed goes on from its own state, and does the work since then again. What it has
contributed to a shared state meanwhile would count twice. So its changes are items of an outbox in
the program's own state: they are saved together with what belongs to them, and published
afterwards. The changes between two cuts are one item, which each cut puts into the outbox; those of
an open block of `atomic()` are held until its end (`held.py`). So the items of a cut are later than
all of former cuts, however long a block is open.

The writer has the name of the outbox, which outlives the process, and the numbers of its changes
are those of the items. So the lineage, or else the base, tells which items have arrived. The epoch
of the own state orders the incarnations: what a replaced process still publishes does not count.

The place of the outbox is the URL for which its items are meant.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from autostate.deadline import Deadline
from autostate.delivery.destination import Destination, Found, OutboxItem, UnreachedError
from autostate.delivery.outbox import Outbox
from autostate.errors import AutostateError, FlushError
from autostate.memory import encode
from autostate.shared.held import Held
from autostate.shared.kinds import Entries, Entry, Kind, Objects
from autostate.shared.own_writer import ReplicaWriter
from autostate.shared.portions import PORTIONS, divided
from autostate.shared.unpublished import NAME, Change, decode, mean
from autostate.shared.writer import Pending, Writer
from autostate.tracking.blocks import Blocks
from autostate.tracking.node import DirtySource

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager
    from autostate.shared.replica import Replica

logger: logging.Logger = logging.getLogger("autostate")

PUBLISHING: Final = 30.0
"""Seconds for which one delivery tries to publish."""
_ROOM: Final = 1 << 60


MOST: Final = 1_000
"""Entries of one object, from which number on changes do not wait for the next cut."""


class Confirmed(DirtySource):
    """The changes of a program with a state of its own.

    Nothing here waits for the shared state but the thread of the outbox, which reads how far a
    former process has come before it publishes (`_resumed`).

    Args:
        replica: The shared objects of the process.
        manager: The manager of the program's own state.
        epoch: Gives the epoch under which this process writes that state.
        url: The URL of the shared state.

    Attributes:
        fresh: Changes of no open block since the last cut.
        held: Changes of open blocks.
        outbox: The outbox.
        id: Its name.
        is_new: Whether no process has published anything from it before this one.

    Raises:
        StoreError: The outbox holds changes for another shared state.
    """

    def __init__(
        self, replica: Replica, manager: StateManager, epoch: Callable[[], int], url: str
    ) -> None:
        self._replica = replica
        self._most = replica.shelf.room // PORTIONS
        self._epoch = epoch
        self.fresh: Objects = {}
        self._pending: dict[int, Objects] = {}
        self._putting: int | None = None
        self._writer: ReplicaWriter | None = None
        self._making = threading.Lock()
        with self._making:  # the outbox begins to deliver what a former process has left
            mean(manager, url)
            self._tracker = manager._tracker()
            self.held: Held = replica.held(self._tracker, self)
            self.outbox: _SharedOutbox = manager.companion(
                NAME, lambda: _SharedOutbox(manager, self)
            )
            self._ledger = self.outbox._ledger
            self.id: str = self._ledger.id
            self.is_new: bool = not self._ledger.next_position
            for position, text in self._ledger.snapshot()[1]:
                self._pending[position] = decode(text.encode())
            replica.join(self)
            with self._tracker.lock:
                self._tracker.sources = [*self._tracker.sources, self]

    @property
    def is_kept(self) -> bool:
        """Whether the outbox is there: it was neither deleted nor closed."""
        return self._ledger.is_kept

    @property
    def writer(self) -> ReplicaWriter | None:
        """What publishes the changes; None: it is not known yet what a former process has done."""
        return self._writer

    # -- the origin of changes: see `kinds.Origin` ------------------------------------------------

    def next(self) -> int:
        """Return the number of this change; its item gets a position that is not lower."""
        return self._ledger.take_position() + 1

    def stamp(self) -> int:
        """Return a time of the hybrid logical clock."""
        return self._replica.stamp()

    # -- changes ------------------------------------------------------------------------------

    def contribute(self, name: str, kind: Kind, entries: Mapping[str, Entry]) -> None:
        """Note changes; the lock of the replica is held.

        Raises:
            RuntimeError: The outbox was closed.
            LateWriteError: The block of this context was closed.
        """
        if self.held.add(name, kind, entries) >= MOST:
            self.put_fresh()  # else the next cut would encode all of it at once

    def batch(self) -> Objects:
        """Give what the next cut puts into the outbox, to be added to; the lock is held."""
        if not self.fresh:
            self._ledger.ask_for_cut()
        return self.fresh

    def complete(self) -> None:
        """Put what was changed since the last cut into the outbox: see `DirtySource`."""
        self.put_fresh()

    def put_fresh(self) -> None:
        """Make an item of the changes that belong to no open block; several, if they are large.

        Ctrl-C may interrupt this. So the position is noted before anything is put there; no cut
        comes before this is called again.
        """
        with self._tracker.lock:
            self.held.settle()
            if self._putting is not None:
                self._write(lambda: self._ledger.state.pop(self._putting, None))
                self._pending.pop(self._putting, None)
                self._putting = None
            while self.fresh and self.is_kept:
                part, rest, data = self.fresh, Objects(), encode(self.fresh)
                if len(data) > self._most:
                    part, rest = divided(self.fresh, self._most)
                    data = encode(part)
                self._putting = self._ledger.next_position
                self._write(partial(self._ledger.put, [data.decode()]))
                self._pending[self._putting] = part
                self.fresh, self._putting = rest, None

    def _write(self, write: Callable[[], object]) -> None:
        blocks = self._tracker.part_in_use(Blocks)
        if blocks is None:
            write()
        else:
            blocks.write_aside(write)

    def own(self, name: str, known: int) -> list[Entries]:
        """Give changes to an object that are not published; the lock is held.

        Args:
            name: The name of the object.
            known: The number of the last change that a reading has.
        """
        writer = self._writer
        found = [] if writer is None else [*writer.own(name)]
        return found + self._pending_to(name, 0 if writer else known)

    def unpublished(self, name: str) -> list[Entries]:
        """Give the same without what is published, as far as that is known."""
        writer = self._writer
        return self._pending_to(name) + ([] if writer is None else [*writer.unpublished(name)])

    def _pending_to(self, name: str, known: int = 0) -> list[Entries]:
        with self._tracker.lock:
            pending = [each for at, each in self._pending.items() if at >= known]
            found = [each[name][1] for each in (*pending, self.fresh) if name in each]
            return found + self.held.own(name)

    def keys(self) -> dict[str, list[str]]:
        """Give the keys that a former process has changed, by the names of objects."""
        found: dict[str, list[str]] = {}
        for objects in self._pending.values():
            for name, (_, entries) in objects.items():
                found.setdefault(name, []).extend(entries)
        return found

    def note(self, known: int) -> None:
        """Number changes above all that a reading has; the lock is held.

        They are anyway, unless the program's own state was restored to an earlier moment.
        """
        if known > self._ledger.next_position:
            self._ledger.skip_to(known)

    # -- the outbox ---------------------------------------------------------------------------

    def _resumed(self) -> Writer:
        """Give the writer; first read what former processes have published."""
        with self._making:
            if self._writer is None:
                self._writer = self._replica.resumed(self.id, self._epoch(), self._resume)
            return self._writer

    def _resume(self, number: int) -> None:
        """Forget changes that are published, up to a number, and show all others."""
        with self._tracker.lock:
            left = [(at, text) for at, text in self._ledger.snapshot()[1] if at >= number]
            known = self._pending  # without the items that the parent of this process has sent
            self._pending = {at: known.get(at) or decode(text.encode()) for at, text in left}

    def forked(self) -> ReplicaWriter | None:
        """Go on in the child of a fork; give the writer, which is the parent's.

        The child of a process that has ended may become the owner: then it publishes what is in the
        outbox. Until then it only shows that. What open blocks have changed is the parent's.
        """
        self._making = threading.Lock()
        self.held.forget()
        if self.fresh:  # the state is not kept in this process
            self._pending[self._ledger.next_position] = self.fresh
            self.fresh = {}
        writer, self._writer = self._writer, None
        return writer

    def deliver(self, items: Sequence[OutboxItem[Change]]) -> None:
        """Publish changes that are durable in the program's own state."""
        try:
            writer = self._resumed()
            with self._replica.lock, self._tracker.lock:
                new = [item for item in items if item.position >= writer.number]
                if new:
                    writer.take([Pending(item.position + 1, item.value) for item in new])
                for item in items:
                    self._pending.pop(item.position, None)
            self._replica.publish(writer, PUBLISHING)
        except AutostateError as error:
            # Also if this program uses the name for another kind than the former one: the changes
            # are kept, and tried again.
            raise UnreachedError(str(error)) from error

    def arrived(self, items: Sequence[OutboxItem[Change]]) -> Collection[int]:
        """Tell which changes are published."""
        try:
            number = self._resumed().acknowledged
        except AutostateError as error:
            raise UnreachedError(str(error)) from error
        return [item.position for item in items if item.position < number]

    @property
    def error(self) -> Exception | None:
        """Why the last attempt to publish failed; None: it did not."""
        error = self.outbox.error
        return error if isinstance(error, Exception) else None

    @property
    def is_behind(self) -> bool:
        """Whether there are changes of no open block that are not published."""
        return bool(self.fresh) or len(self.outbox) > 0

    def flush(self, timeout: float) -> None:
        """Publish everything that was changed before the call, but for open blocks.

        Raises:
            FlushError: It was not published in time; it stays in the program's own state.
        """
        if not self.is_behind:
            return
        left = self.outbox.publish(timeout)
        if left:
            last = "" if self.outbox.error is None else f": {self.outbox.error}"
            raise FlushError(
                f"changes to a shared state could not be published in {timeout:.3g} s{last}. They "
                "stay in the program's own state"
            )


class _SharedOutbox(Outbox[Change]):
    """The outbox of one state."""

    def __init__(self, manager: StateManager, confirmed: Confirmed) -> None:
        self._confirmed = confirmed
        publications = _Publications(confirmed)
        super().__init__(
            manager, NAME, publications, capacity=_ROOM, capacity_bytes=_ROOM, own=True
        )

    def publish(self, timeout: float) -> bool:
        """Save, and wait until all that was there before the call is delivered.

        What others put meanwhile is not waited for.

        Returns:
            Whether something is left.
        """
        end = Deadline.after(timeout)
        unsavable = self._save(timeout)
        number = self._ledger.next_position

        def is_done() -> bool:
            return not any(position < number for position in self._ledger.positions())

        self._courier.hurry(end.left())
        with self._flush_thread.job.patient_cut.standing_still():
            is_left = not self._courier.wait_until(is_done, end.left())
        if unsavable is not None and not is_left:
            raise unsavable
        return is_left

    def end(self, timeout: float) -> None:
        """Deliver as far as the time allows, and stop; see `Companion`."""
        self._confirmed.put_fresh()
        super().end(timeout)

    async def end_async(self, timeout: float) -> None:  # noqa: ASYNC109 - as Outbox
        """Do the same without blocking the event loop."""
        self._confirmed.put_fresh()
        await super().end_async(timeout)


class _Publications(Destination[Change]):
    """The shared state, as the destination of an outbox."""

    def __init__(self, confirmed: Confirmed) -> None:
        self._confirmed = confirmed

    def encode(self, value: Change) -> str:
        """Return the text of a change."""
        return encode(value).decode()

    def decode(self, text: str) -> Change:
        """Return the change of a text."""
        return decode(text.encode())

    def deliver(self, items: Sequence[OutboxItem[Change]], place: Any) -> Any:
        """Publish changes."""
        self._confirmed.deliver(items)
        return place

    def find(self, items: Sequence[OutboxItem[Change]], place: Any) -> Found:
        """Tell which changes are published."""
        return self._confirmed.arrived(items), place

"""Changes of a program with a state of its own: published only when they are durable there.

A program that is killed goes on from its own state, and does the work since then again. What it has
contributed to a shared state meanwhile would count twice. So each change is an item of an outbox in
the program's own state: it is saved together with what belongs to it, an `atomic()` block that
raises takes it back, and it is published afterwards.

The writer has the name of the outbox, which outlives the process, and the numbers of its changes
are those of the items. So the lineage, or else the base, tells which items have arrived. The epoch
of the own state orders the incarnations: what a replaced process still publishes does not count.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from autostate.delivery.destination import Destination, Found, OutboxItem, UnreachedError
from autostate.delivery.outbox import Outbox
from autostate.errors import FlushError, StoreUnavailableError
from autostate.memory import encode
from autostate.shared.kinds import Entries, Entry, Kind
from autostate.shared.shelf import ClosedError
from autostate.shared.writer import UncertainError, Writer
from autostate.tracking.savepoint import innermost

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager
    from autostate.shared.replica import Replica

logger: logging.Logger = logging.getLogger("autostate")

NAME: Final = "autostate.shared"
"""The name of the outbox."""
PUBLISHING: Final = 30.0
"""Seconds for which one delivery tries to publish."""
_ROOM: Final = 1 << 60


class Change(Struct, array_like=True):
    """What one call has changed.

    Attributes:
        name: The name of the object.
        kind: The name of its kind.
        entries: The entries that it contributes.
    """

    name: str
    kind: str
    entries: Entries


_decode: Final = msgspec.json.Decoder(Change).decode


class Confirmed:
    """The changes of a program with a state of its own.

    Args:
        replica: The shared objects of the process.
        manager: The manager of the program's own state.
        epoch: The epoch of its incarnation.
    """

    def __init__(self, replica: Replica, manager: StateManager, epoch: int) -> None:
        self._replica = replica
        self._pending: dict[int, Change] = {}
        self._undone: list[int] = []
        # The outbox begins to deliver what a former process has left. It has to wait until it is
        # known what that process has published.
        self._making = threading.Lock()
        with self._making:
            self.outbox: Outbox[Change] = manager.companion(
                NAME,
                lambda: Outbox(
                    manager,
                    NAME,
                    _Publications(self),
                    capacity=_ROOM,
                    capacity_bytes=_ROOM,
                    own=True,
                ),
            )
            self._ledger = self.outbox._ledger
            self._tracker = manager._tracker()
            self.writer: Writer = replica.new_writer(id=self._ledger.id, epoch=epoch)
            self.id: str = self.writer.id
            replica.join(self.writer, self)
            with replica.lock:
                for position, text in self._ledger.snapshot()[1]:
                    if position + 1 > self.writer.number:
                        self._pending[position] = _decode(text.encode())

    # -- the origin of changes: see `kinds.Origin` ------------------------------------------------

    def next(self) -> int:
        """Return the number of the item that is about to be put."""
        return self._ledger.next_position + 1

    def stamp(self) -> int:
        """Return a time of the hybrid logical clock."""
        return self.writer.stamp()

    # -- changes ------------------------------------------------------------------------------

    def add(self, name: str, kind: Kind, entries: Mapping[str, Entry]) -> None:
        """Put changes into the outbox; the lock of the replica is held."""
        change = Change(name, kind.name, dict(entries))
        [position] = self._ledger.put([encode(change).decode()])
        self._pending[position] = change
        point = innermost(self._tracker)
        if point is not None:
            point.when_undone.append(lambda: self._take_back(position))

    def _take_back(self, position: int) -> None:
        """Show a change no longer that was undone; the lock of the tracker is held."""
        self._undone.append(position)
        # Who writes takes the replica's lock first. Else a thread of the replica does this soon.
        if self._replica.lock.acquire(blocking=False):
            try:
                self.drop_undone()
            finally:
                self._replica.lock.release()
        else:
            self._replica.wake()

    def drop_undone(self) -> None:
        """Forget changes that were undone; the lock is held."""
        while self._undone:
            change = self._pending.pop(self._undone.pop(), None)
            if change is not None:
                self._replica.fill_again(change.name)

    def own(self, name: str) -> Iterator[Entries]:
        """Yield changes to an object that the writer does not have yet."""
        for change in self._pending.values():
            if change.name == name:
                yield change.entries

    # -- the outbox ---------------------------------------------------------------------------

    def deliver(self, items: Sequence[OutboxItem[Change]]) -> None:
        """Publish changes that are durable in the program's own state."""
        with self._making:
            replica, writer = self._replica, self.writer
        with replica.lock:
            for item in items:
                change = item.value
                if item.position + 1 > writer.number:
                    writer.number = item.position + 1
                    writer.add(
                        change.name, replica.kind_of(change.name, change.kind), change.entries
                    )
                self._pending.pop(item.position, None)
        try:
            replica.publish(writer, PUBLISHING)
        except UncertainError as error:
            logger.warning("%s", error)
        except (FlushError, StoreUnavailableError, ClosedError) as error:
            raise UnreachedError(str(error)) from error

    def arrived(self, items: Sequence[OutboxItem[Change]]) -> Collection[int]:
        """Tell which changes are published."""
        with self._making:
            number = self.writer.acknowledged
        return [item.position for item in items if item.position + 1 <= number]

    def flush(self, timeout: float) -> None:
        """Publish everything that was changed before the call, but for open blocks.

        Raises:
            FlushError: It was not published in time; it stays in the program's own state.
        """
        if not len(self.outbox) or self.outbox._drain(timeout, ending=False):
            return
        if innermost(self._tracker) is None:
            last = "" if self.outbox.error is None else f": {self.outbox.error}"
            raise FlushError(
                f"changes to a shared state could not be published in {timeout:.3g} s{last}. They "
                "stay in the program's own state"
            )


class _Publications(Destination[Change]):
    """The shared state, as the destination of an outbox."""

    def __init__(self, confirmed: Confirmed) -> None:
        self._confirmed = confirmed

    def encode(self, value: Change) -> str:
        """Return the text of a change."""
        return encode(value).decode()

    def decode(self, text: str) -> Change:
        """Return the change of a text."""
        return _decode(text.encode())

    def deliver(self, items: Sequence[OutboxItem[Change]], place: Any) -> Any:
        """Publish changes."""
        self._confirmed.deliver(items)
        return place

    def find(self, items: Sequence[OutboxItem[Change]], place: Any) -> Found:
        """Tell which changes are published."""
        return self._confirmed.arrived(items), place

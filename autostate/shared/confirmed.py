"""Changes of a program with a state of its own: published only when they are durable there.

A program that is killed goes on from its own state, and does the work since then again. What it has
contributed to a shared state meanwhile would count twice. So each change is an item of an outbox in
the program's own state: it is saved together with what belongs to it, an `atomic()` block that
raises takes it back, and it is published afterwards.

The writer has the name of the outbox, which outlives the process, and the numbers of its changes
are those of the items. So the lineage, or else the base, tells which items have arrived. The epoch
of the own state orders the incarnations: what a replaced process still publishes does not count.

The place of the outbox is the URL for which its items are meant.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from autostate.containers.outbox_state import OutboxState, outbox_state
from autostate.delivery.destination import Destination, Found, OutboxItem, UnreachedError
from autostate.delivery.outbox import Outbox
from autostate.errors import AutostateError, FlushError, StoreError
from autostate.memory import encode
from autostate.shared.kinds import Entries, Entry, Kind, merge_into
from autostate.shared.writer import UncertainError, Writer
from autostate.stores import file_of
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

    Nothing here waits for the shared state but the thread of the outbox, which reads how far a
    former process has come before it publishes (`_resumed`).

    Args:
        replica: The shared objects of the process.
        manager: The manager of the program's own state.
        epoch: The epoch of its incarnation.
        url: The URL of the shared state.

    Raises:
        StoreError: The outbox holds changes for another shared state.
    """

    def __init__(self, replica: Replica, manager: StateManager, epoch: int, url: str) -> None:
        self._replica = replica
        self._epoch = epoch
        self._pending: dict[int, Change] = {}
        self._undone: list[int] = []
        self._writer: Writer | None = None
        self._making = threading.Lock()
        with self._making:  # the outbox begins to deliver what a former process has left
            _mean(manager, url)
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
            self.id: str = self._ledger.id
            for position, text in self._ledger.snapshot()[1]:
                self._pending[position] = _decode(text.encode())
            replica.join(self)

    @property
    def is_kept(self) -> bool:
        """Whether the outbox is there: it was neither deleted nor closed."""
        return self._ledger.is_kept

    @property
    def writer(self) -> Writer | None:
        """What publishes the changes; None: it is not known yet what a former process has done."""
        return self._writer

    # -- the origin of changes: see `kinds.Origin` ------------------------------------------------

    def next(self) -> int:
        """Return the number of the item that is about to be put."""
        return self._ledger.next_position + 1

    def stamp(self) -> int:
        """Return a time of the hybrid logical clock."""
        return self._replica.stamp()

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

    def own(self, name: str, known: int) -> Iterator[Entries]:
        """Yield changes to an object that are not published; the lock is held.

        Args:
            name: The name of the object.
            known: The number of the last change that a reading has.
        """
        if self._writer is not None:
            yield from self._writer.own(name)
            known = 0  # what the writer has is not pending
        for position, change in self._pending.items():
            if change.name == name and position >= known:
                yield change.entries

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
                self._writer = self._replica.resumed(self.id, self._epoch, self._forget)
            return self._writer

    def _forget(self, number: int) -> None:
        """Forget changes that are published, up to a number; the lock is held."""
        for position in [at for at in self._pending if at < number]:
            del self._pending[position]

    def deliver(self, items: Sequence[OutboxItem[Change]]) -> None:
        """Publish changes that are durable in the program's own state."""
        try:
            writer = self._resumed()
            with self._replica.lock:
                self._hand_over(writer, [item for item in items if item.position >= writer.number])
                for item in items:
                    self._pending.pop(item.position, None)
            self._replica.publish(writer, PUBLISHING)
        except UncertainError as error:
            logger.warning("%s", error)
        except AutostateError as error:
            # Also if this program lacks the function that merges the values of a dict, or another
            # one uses the name for another kind: the changes are kept, and tried again.
            raise UnreachedError(str(error)) from error

    def _hand_over(self, writer: Writer, items: Sequence[OutboxItem[Change]]) -> None:
        """Let the writer have changes, all or none; the lock is held."""
        if not items:
            return
        fresh = {name: (kind, dict(entries)) for name, (kind, entries) in writer.fresh.items()}
        for item in items:
            change = item.value
            _, known = fresh.setdefault(change.name, (change.kind, {}))
            merge_into(self._replica.kind_of(change.name, change.kind), known, change.entries)
        writer.fresh, writer.number = fresh, items[-1].position + 1

    def arrived(self, items: Sequence[OutboxItem[Change]]) -> Collection[int]:
        """Tell which changes are published."""
        try:
            number = self._resumed().acknowledged
        except AutostateError as error:
            raise UnreachedError(str(error)) from error
        return [item.position for item in items if item.position < number]

    @property
    def is_behind(self) -> bool:
        """Whether there are changes that are not published."""
        return len(self.outbox) > 0

    def flush(self, timeout: float) -> None:
        """Publish everything that was changed before the call, but for open blocks.

        Raises:
            FlushError: It was not published in time; it stays in the program's own state.
        """
        if not self.is_behind or self.outbox._drain(timeout, ending=False):
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


def _mean(manager: StateManager, url: str) -> None:
    """Note for which shared state the items of the outbox are meant.

    Raises:
        StoreError: It holds items that are meant for another one.
    """
    state = outbox_state(manager, NAME, own=True)
    place, known = _place(url, manager.url), state.get("place")
    if known not in (None, place):
        left = _count(state)
        if left:
            raise StoreError(
                f"the state of this program in {manager.url} holds {left} changes of a former "
                f"process that are not published in the shared state in {known}, for which they "
                f"are meant, and the shared state is now in {url}. Nothing is lost: name {known} "
                "until they are published"
            )
    if known != place:
        # In an empty context: an `atomic()` block around the first change may raise.
        contextvars.Context().run(state.__setitem__, "place", place)


def _count(state: OutboxState) -> int:
    return sum(type(key) is int for key in state) + len(state.get("aside", ()))


def _place(url: str, own: str) -> str:
    """Name a shared state so that a file beside the program's own may move with it."""
    path, beside = file_of(url), file_of(own)
    if path is None:
        return url
    folder = os.path.realpath(path.parent)
    if beside is not None and folder == os.path.realpath(beside.parent):
        return f"sqlite:///./{path.name}"
    return f"sqlite:///{folder}/{path.name}"

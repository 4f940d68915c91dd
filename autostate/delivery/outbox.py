"""`outbox()`: things that have to be done outside, once the state that they belong to is durable.

A transactional outbox [1]: an item is put into the state, and so becomes durable at the same moment
as everything else that the program has written. Only then it is delivered. Its delivery is recorded
with the next save. After a kill in between the destination is asked what has arrived.

[1] https://microservices.io/patterns/data/transactional-outbox.html
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from autostate import announced, hub, logs
from autostate.deadline import Deadline
from autostate.delivery.courier import Courier
from autostate.delivery.destination import Destination, FunctionDestination, OutboxItem
from autostate.delivery.ledger import Ledger
from autostate.delivery.reason import reason
from autostate.delivery.room import CAPACITY, CAPACITY_BYTES, Room
from autostate.errors import (
    DeliveryRefusedError,
    OutboxFullError,
    StateTypeError,
    UnsupportedTypeError,
)
from autostate.process import exit_status
from autostate.runtime.api import current_manager
from autostate.tracking.savepoint import innermost

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager
    from autostate.saving.thread import FlushThread

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("autostate")

Deliver = Callable[[Sequence[OutboxItem[T]]], Awaitable[object] | object]

ATTEMPTS: Final = 8
DRAINING: Final = 0.75
"""So much of the time at the end is for deliveries; the rest for the call that is under way."""


class AsideItem(NamedTuple, Generic[T]):
    """An item that could not be delivered.

    Attributes:
        item: The item.
        error: Why: the name of the exception's class, and its message.
    """

    item: OutboxItem[T]
    error: str


class Outbox(Generic[T]):
    """Items that have to be delivered. Made by `autostate.outbox`; safe for threads."""

    def __init__(
        self,
        manager: StateManager,
        name: str,
        destination: Destination[T],
        *,
        capacity: int = CAPACITY,
        capacity_bytes: int = CAPACITY_BYTES,
        attempts: int = ATTEMPTS,
        own: bool = False,
    ) -> None:
        self.name: str = name
        self.capacity: int = capacity
        self.capacity_bytes: int = capacity_bytes
        self.destination: Destination[T] = destination
        # Not the manager, which is closed before the outbox is drained for the last time.
        self._incarnation = manager._opened()
        self._ledger = Ledger(manager, name, self._wake, own=own)
        self._granted = (0, 0)
        self._courier: Courier[T] = Courier(
            name,
            self._ledger,
            destination,
            attempts=attempts,
            has_owned_since=self._has_owned_since,
            save_soon=self._save_soon,
            sender=manager,
        )
        self._courier.wake()
        for signal in (hub.migrating, hub.aborting):
            signal.connect_own(self._on_kill)

    def __repr__(self) -> str:
        return f"<Outbox {self.name!r}: {len(self)} pending>"

    def __len__(self) -> int:
        """Return the number of items that are not delivered, without those set aside."""
        return len(self._ledger)

    def __bool__(self) -> bool:
        return True

    @property
    def pending_bytes(self) -> int:
        """The bytes of the encoded values of the items that are not delivered."""
        return self._ledger.bytes

    @property
    def delivered(self) -> int:
        """The number of items that this process has delivered."""
        return self._courier.delivered

    @property
    def error(self) -> BaseException | None:
        """The last error of the destination; None if it has taken items since."""
        return self._courier.error

    def put(self, *values: T, timeout: float | None = None) -> None:
        """Add items. They are delivered, in order, after the save that has them.

        The values are encoded now: later changes of them do not count. Inside `atomic()` the items
        belong to the block, and go with it if it raises.

        A full outbox makes the caller wait until there is room, unless an event loop runs in the
        calling thread: call `await outbox.put_async(…)` in coroutines. Inside a block the caller
        waits for what is saved; items of blocks that are open would wait for their own end, and
        one block may put any number of them.

        Args:
            values: The items.
            timeout: The most seconds to wait for room; the setting `flush_timeout` by default.

        Raises:
            UnsupportedTypeError: An item cannot be kept; none is added.
            OutboxFullError: There is no room; none is added.
        """
        texts = self._encoded(values)
        room = Room(self._ledger, self.capacity, self.capacity_bytes, texts)
        if not (room.is_there() or self._is_let_in_anyway()):
            self._ledger.pass_gate()
            if _in_loop():
                raise self._full("call `await outbox.put_async(…)`, which waits")
            if self._courier.is_this_thread():
                raise self._full("what delivers cannot wait for its own end")
            end = Deadline.after(self._seconds(timeout))
            self._flush_thread.flush_soon()
            with self._flush_thread.job.patient_cut.standing_still():
                if not self._courier.wait_until(self._is_let_in(room), end.left()):
                    raise self._full("it does not get room in time")
            self._grant(room)
        self._ledger.put(texts)

    async def put_async(self, *values: T, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Add items like `put`; wait for room without blocking the event loop."""
        texts = self._encoded(values)
        room = Room(self._ledger, self.capacity, self.capacity_bytes, texts)
        if not (room.is_there() or self._is_let_in_anyway()):
            self._ledger.pass_gate()
            end = Deadline.after(self._seconds(timeout))
            self._flush_thread.flush_soon()
            with self._flush_thread.job.patient_cut.active_loops.waiting():
                if not await self._courier.until(self._is_let_in(room), end.left()):
                    raise self._full("it does not get room in time")
            self._grant(room)
        self._ledger.put(texts)

    def snapshot(self) -> tuple[object, list[OutboxItem[T]]]:
        """Return the place of the destination and the items that are pending, at one moment."""
        place, found = self._ledger.snapshot()
        return place, [self._item(position, text) for position, text in found]

    def aside(self) -> list[AsideItem[T]]:
        """Return the items that were set aside, because they have failed too often."""
        ledger = self._ledger
        return [
            AsideItem(self._item(position, text), error) for position, text, error in ledger.aside()
        ]

    def retry_aside(self) -> None:
        """Put the items that were set aside at the end of the outbox again, with new ids."""
        self._ledger.retry_aside()

    def forget_aside(self) -> None:
        """Delete the items that were set aside."""
        self._ledger.forget_aside()

    def drain(self, timeout: float | None = None) -> bool:
        """Save, and wait until everything is delivered.

        Args:
            timeout: The most seconds to wait; the setting `flush_timeout` by default.

        Inside a unit of work, such as the handler of a request, it does not wait for items of units
        that have not ended: these are saved only afterwards.

        Returns:
            Whether everything has arrived, but for what was set aside. The rest stays in the
            state, and is delivered later.

        Raises:
            FlushError: What is in the outbox could not be saved; see `autostate.flush`.
            UnsupportedTypeError: A value in the state cannot be saved. Everything else was saved,
                and was delivered as far as the time allowed.
            DeliveryRefusedError: The destination will not take items any more.
            StateInUseError: This process may not write the state, so another one delivers.
            RuntimeError: Called where nothing can be delivered meanwhile: in the event loop that
                the destination needs, by the destination itself, or inside `atomic()`.
        """
        if not len(self):
            return True
        self._ledger.pass_gate()
        if self._courier.needs_running_loop():
            raise RuntimeError(
                f"the outbox {self.name!r} delivers in this event loop, which drain() would block: "
                "call `await outbox.drain_async()`"
            )
        if self._courier.is_this_thread():
            raise RuntimeError("drain() was called by what delivers, and would wait for itself")
        return self._drain(self._seconds(timeout), ending=False)

    def _drain(self, seconds: float, *, ending: bool) -> bool:
        end = Deadline.after(seconds)
        unsavable = self._save(seconds, ending=ending)
        self._courier.hurry(end.left())
        with self._flush_thread.job.patient_cut.standing_still():
            self._courier.wait_until(self._what_drains(), end.left())
        self._check_refused()
        if unsavable is not None:
            raise unsavable
        return not len(self)

    async def drain_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as drain
        """Drain without blocking the event loop; see `drain`."""
        if not len(self):
            return True
        self._ledger.pass_gate()
        return await self._drain_async(self._seconds(timeout), ending=False)

    async def _drain_async(self, seconds: float, *, ending: bool) -> bool:
        end = Deadline.after(seconds)
        unsavable = None
        try:
            await self._flush_thread.durable(seconds, ending=ending)
        except UnsupportedTypeError as error:  # everything else is durable
            unsavable = error
        self._courier.hurry(end.left())
        with self._flush_thread.job.patient_cut.active_loops.waiting():
            await self._courier.until(self._what_drains(), end.left())
        self._check_refused()
        if unsavable is not None:
            raise unsavable
        return not len(self)

    # -- inside -------------------------------------------------------------------------------

    def _self_state(self) -> Any:
        """Give the state object, for `info(outbox)` and `delete(outbox)`."""
        return self._ledger.state

    @property
    def _flush_thread(self) -> FlushThread:
        return self._incarnation.flush_thread  # the child of a fork has another one

    def _save(self, seconds: float, *, ending: bool = False) -> UnsupportedTypeError | None:
        """Save; return the error of a value that cannot be saved: everything else is durable."""
        try:
            self._flush_thread.flush(seconds, ending=ending)
        except UnsupportedTypeError as error:
            return error
        return None

    def _save_soon(self) -> None:
        self._flush_thread.flush_soon()

    def _has_owned_since(self, moment: float) -> bool:
        return self._flush_thread.has_owned_since(moment)

    def _seconds(self, timeout: float | None) -> float:
        return self._flush_thread.settings.flush_timeout if timeout is None else timeout

    def _wake(self) -> None:
        self._courier.wake()
        self._courier.tell()

    def _on_kill(self, sender: object, time_remaining: float | None = None, **rest: object) -> None:
        """Try again at once what has failed: there may be no other process for long."""
        self._courier.hurry(math.inf if time_remaining is None else time_remaining)

    def _encoded(self, values: Iterable[T]) -> list[str]:
        return list(map(self.destination.encode, values))

    def _item(self, position: int, text: str) -> OutboxItem[T]:
        value = self.destination.decode(text)
        return OutboxItem(f"{self._ledger.id}-{position}", position, value)

    def _what_drains(self) -> Callable[[], bool]:
        """Give what a drain waits for; not for the end of the unit that the caller is in."""
        ledger = self._ledger
        if innermost(self._incarnation.tracker) is None:
            return lambda: not len(ledger)
        return lambda: ledger.is_all_fresh

    def _is_let_in(self, room: Room) -> Callable[[], bool]:
        """Give what a put waits for; not for the end of the block or unit that the caller is in."""
        tracker, ledger = self._incarnation.tracker, self._ledger
        if tracker.inside_atomic():  # no save comes before its end
            return lambda: room.is_there() or ledger.is_all_fresh
        if innermost(tracker) is None:
            return room.is_there
        waits = tracker.waits_for_itself  # then no save comes, as several threads have written
        return lambda: (
            room.is_there() or room.is_out_of_reach() or (ledger.is_all_fresh and waits())
        )

    def _grant(self, room: Room) -> None:
        """After a wait that has not brought room, let the next calls in without one."""
        if not room.is_there():
            self._granted = (2 * len(self._ledger), 2 * self._ledger.bytes)

    def _is_let_in_anyway(self) -> bool:
        """Tell whether a put goes on without room, since no wait brings any."""
        if not self._incarnation.tracker.inside_atomic():
            return self._is_granted()
        if self._ledger.is_all_fresh:
            self._flush_thread.flush_soon()  # after the block: then later blocks can wait
        return self._ledger.is_all_fresh

    def _is_granted(self) -> bool:
        """Tell whether a unit of work goes on beyond the room, as a wait has allowed it."""
        ledger, (count, size) = self._ledger, self._granted
        return (
            len(ledger) < count
            and ledger.bytes < size
            and ledger.is_all_fresh
            and innermost(self._incarnation.tracker) is not None
        )

    def _full(self, advice: str) -> OutboxFullError:
        ledger, error = self._ledger, self._courier.error
        last = "" if error is None else f"; the last error: {reason(error)}"
        aside = ""
        if ledger.aside_count:
            count, size = ledger.aside_count, ledger.aside_bytes
            aside = f", besides {count:,} that are set aside ({size:,} bytes; see Outbox.aside)"
        return OutboxFullError(
            f"the outbox {self.name!r} has {len(self):,} items of {ledger.bytes:,} bytes that are "
            f"not delivered{aside}, and room for {self.capacity:,} of {self.capacity_bytes:,} "
            f"bytes: {advice}{last}"
        )

    def _check_refused(self) -> None:
        if self._courier.refused and len(self):
            raise DeliveryRefusedError(*(self._courier.error or DeliveryRefusedError()).args)

    def end(self, timeout: float) -> None:
        """Deliver as far as the time allows, and stop; called before the last save."""
        end = Deadline.after(timeout)
        try:
            if self._courier.needs_running_loop():
                end = Deadline.after(0.0)  # what is under way waits for this thread
            elif timeout > 0 and self._may_drain():
                self._tell_of_waiting(timeout * DRAINING)
                self._drain(timeout * DRAINING, ending=True)
        except Exception as error:  # the last save reports what hinders saving
            logger.debug("the outbox %r is not drained: %s", self.name, reason(error))
        finally:
            for signal in (hub.migrating, hub.aborting):
                signal.disconnect_own(self._on_kill)
            self._courier.stop(end.left())
            self._ledger.close()
        if self._ledger.is_ours and len(self):
            last = "" if self.error is None else f"; the last error: {reason(self.error)}"
            logger.warning(
                "the outbox %r keeps %d items that are not delivered for the next process%s",
                *(self.name, len(self), last),
                extra=logs.attributes("not_delivered", outbox=self.name, items=len(self)),
            )
            store = self._incarnation.store
            if not getattr(store, "outlives_run", True) and announced.seconds_to_kill() is None:
                exit_status.note_loss()  # there is no next process unless the run is resurrected

    async def end_async(self, timeout: float) -> None:  # noqa: ASYNC109 - as end
        """Deliver as far as the time allows, without blocking the event loop."""
        try:
            if self._may_drain():
                self._tell_of_waiting(timeout)
                await self._drain_async(timeout, ending=True)
        except Exception as error:
            logger.debug("the outbox %r is not drained: %s", self.name, reason(error))

    def _tell_of_waiting(self, seconds: float) -> None:
        """Say why the process does not end at once, if the destination fails."""
        if self.error is not None and not self._courier.refused:
            logger.warning(
                "the end waits up to %.0f s for the outbox %r, whose destination fails: %s",
                *(seconds, self.name, reason(self.error)),
            )

    def _may_drain(self) -> bool:
        """Tell whether the end of the process waits for deliveries."""
        return self._ledger.is_ours and len(self) > 0


def outbox(
    name: str,
    deliver: Deliver[T] | Destination[T],
    *,
    batch: int | None = None,
    capacity: int = CAPACITY,
    capacity_bytes: int = CAPACITY_BYTES,
    attempts: int = ATTEMPTS,
) -> Outbox[T]:
    """Make or resume an outbox: what is put into it is delivered after the save that has it.

    Each item is delivered at least once, also after kill -9 at any moment, in the order of the
    saves, with an id that stays the same. Where the destination can tell what has arrived (see
    `Destination.find`), each item arrives exactly once.

    Args:
        name: The name of the state object that keeps the items.
        deliver: Called with a batch of `OutboxItem`s; a function or a coroutine function. When it
            returns, the items count as delivered; if it raises, they are tried again. Or a
            `Destination`.
        batch: The most items of one call of a function; 1,000 by default.
        capacity: The most items that may be pending or set aside.
        capacity_bytes: The most bytes of their encoded values. Items of one call are added together
            if nothing is pending, however many they are.
        attempts: After so many failures an item is set aside, so that the others go on.

    Returns:
        The outbox; the same one for the same name.

    Raises:
        StateTypeError: The name belongs to a state object of another kind.
        ValueError: The name cannot be used, or its outbox delivers to something else already.

    Example:
        >>> import autostate
        >>> def send(items):
        ...     for item in items:
        ...         print(item.position, item.value)
        >>> mails = autostate.outbox("mails", send)
        >>> mails.put({"to": "ann@example.com"})
        >>> mails.drain()
        0 {'to': 'ann@example.com'}
        True
    """
    manager = current_manager()
    destination = _destination(deliver, batch)
    made = manager.companion(
        name,
        lambda: Outbox(
            manager,
            name,
            destination,
            capacity=capacity,
            capacity_bytes=capacity_bytes,
            attempts=attempts,
        ),
    )
    if not isinstance(made, Outbox):
        raise StateTypeError(f"{name!r} is in use already, and is no outbox: use another name")
    if not made.destination.is_same(destination):
        raise ValueError(
            f"the outbox {name!r} delivers to something else already: pass the same function or "
            "destination again, or use another name"
        )
    return made


def _destination(deliver: Deliver[T] | Destination[T], batch: int | None) -> Destination[T]:
    if not isinstance(deliver, Destination):
        if not callable(deliver):
            raise TypeError(f"{type(deliver).__name__} is neither a function nor a Destination")
        return FunctionDestination(deliver, batch or Destination.batch)
    if batch is not None:
        raise TypeError("batch is for functions; a destination knows its own")
    return deliver


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

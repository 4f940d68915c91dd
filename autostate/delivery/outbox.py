"""`outbox()`: things that have to be done outside, once the state that they belong to is durable.

A transactional outbox [1]: an item is put into the state, and so becomes durable at the same moment
as everything else that the program has written. Only then it is delivered. Its delivery is recorded
with the next save. After a kill in between the destination is asked what has arrived.

[1] https://microservices.io/patterns/data/transactional-outbox.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from autostate.delivery.courier import Courier
from autostate.delivery.destination import Destination, FunctionDestination, OutboxItem
from autostate.delivery.ledger import Ledger
from autostate.errors import DeliveryRefusedError, OutboxFullError
from autostate.runtime.api import current_manager

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("autostate")

Deliver = Callable[[Sequence[OutboxItem[T]]], Awaitable[object] | object]

CAPACITY: Final = 100_000
ATTEMPTS: Final = 8


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
        attempts: int = ATTEMPTS,
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.destination = destination
        self._manager = manager
        self._ledger = Ledger(manager, name, self._wake)
        self._courier: Courier[T] = Courier(
            name, self._ledger, destination, attempts=attempts, sender=manager
        )
        self._courier.wake()

    def __repr__(self) -> str:
        return f"<Outbox {self.name!r}: {len(self)} pending>"

    def __len__(self) -> int:
        """Return the number of items that are not delivered, without those set aside."""
        return len(self._ledger)

    def __bool__(self) -> bool:
        return True

    @property
    def delivered(self) -> int:
        """The number of items that this process has delivered."""
        return self._courier.delivered

    @property
    def error(self) -> Exception | None:
        """The last error of the destination; None if it has taken items since."""
        return self._courier.error

    def put(self, *values: T, timeout: float | None = None) -> None:
        """Add items. They are delivered, in order, after the save that has them.

        The values are encoded now: later changes of them do not count. Inside `atomic()` the items
        belong to the block, and go with it if it raises.

        A full outbox makes the caller wait until there is room, unless an event loop runs in the
        calling thread, or the call is inside a block: the block would wait for its own end. Call
        `await outbox.put_async(…)` in coroutines.

        Args:
            values: The items.
            timeout: The most seconds to wait for room; the setting `flush_timeout` by default.

        Raises:
            UnsupportedTypeError: An item cannot be kept; none is added.
            OutboxFullError: There is no room; none is added.
        """
        texts = self._encoded(values)
        if self._has_room(len(texts)):
            self._put(texts)
            return
        if _in_loop():
            raise self._full("call `await outbox.put_async(…)`, which waits")
        seconds = self._manager.settings.flush_timeout if timeout is None else timeout
        self._manager.save_soon()
        if not self._courier.wait_for_less(self._most_before(len(texts)), seconds):
            raise self._full("it does not get room in time")
        self._put(texts)

    async def put_async(self, *values: T, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Add items like `put`; wait for room without blocking the event loop."""
        texts = self._encoded(values)
        if not self._has_room(len(texts)):
            seconds = self._manager.settings.flush_timeout if timeout is None else timeout
            self._manager.save_soon()
            if not await self._courier.until_less(self._most_before(len(texts)), seconds):
                raise self._full("it does not get room in time")
        self._put(texts)

    def aside(self) -> list[AsideItem[T]]:
        """Return the items that were set aside, because they have failed too often."""
        ledger = self._ledger
        return [
            AsideItem(self._item(position, text), error) for position, text, error in ledger.aside()
        ]

    def retry_aside(self) -> None:
        """Put the items that were set aside at the end of the outbox again, with new ids."""
        found = self._ledger.aside()
        self._put([text for _, text, _ in found])
        self._ledger.forget_aside(position for position, _, _ in found)

    def forget_aside(self) -> None:
        """Delete the items that were set aside."""
        self._ledger.forget_aside(position for position, _, _ in self._ledger.aside())

    def drain(self, timeout: float | None = None) -> bool:
        """Save, and wait until everything is delivered.

        Args:
            timeout: The most seconds to wait; the setting `flush_timeout` by default.

        Returns:
            Whether everything has arrived, but for what was set aside. The rest stays in the
            state, and is delivered later.

        Raises:
            FlushError: What is in the outbox could not be saved; see `autostate.flush`.
            DeliveryRefusedError: The destination will not take items any more.
        """
        seconds = self._manager.settings.flush_timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        if not len(self):
            return True
        self._manager.flush(seconds)
        self._courier.hurry()
        done = self._courier.wait_for_less(1, max(0.0, end - time.monotonic()))
        self._check_refused()
        return done

    async def drain_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as drain
        """Drain without blocking the event loop; see `drain`."""
        seconds = self._manager.settings.flush_timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        if not len(self):
            return True
        await self._manager.durable(seconds)
        self._courier.hurry()
        done = await self._courier.until_less(1, end - time.monotonic())
        self._check_refused()
        return done

    # -- inside -------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._courier.wake()

    def _put(self, texts: Iterable[str]) -> None:
        self._ledger.put(texts)

    def _encoded(self, values: Iterable[T]) -> list[str]:
        return list(map(self.destination.encode, values))

    def _item(self, position: int, text: str) -> OutboxItem[T]:
        value = self.destination.decode(text)
        return OutboxItem(f"{self._ledger.id}-{position}", position, value)

    def _has_room(self, count: int) -> bool:
        """Tell whether items may be added; a call with more items than the capacity may, if empty.

        Inside a block nobody waits.
        """
        pending = len(self._ledger)
        return pending + count <= self.capacity or not pending or self._manager.inside_atomic()

    def _most_before(self, count: int) -> int:
        """Return below which number of pending items there is room for so many more."""
        return max(1, self.capacity - count + 1)

    def _full(self, advice: str) -> OutboxFullError:
        error = self._courier.error
        reason = "" if error is None else f"; the last error: {type(error).__name__}: {error}"
        return OutboxFullError(
            f"the outbox {self.name!r} has {len(self):,} items that are not delivered, and room "
            f"for {self.capacity:,}: {advice}{reason}"
        )

    def _check_refused(self) -> None:
        if self._courier.refused and len(self):
            raise DeliveryRefusedError(*(self._courier.error or DeliveryRefusedError()).args)

    def end(self, timeout: float) -> None:
        """Deliver as far as the time allows, and stop; called before the last save."""
        try:
            if timeout > 0:
                self.drain(timeout)
        except Exception as error:  # the last save reports what hinders saving
            logger.debug("the outbox %r is not drained: %s", self.name, error)
        finally:
            self._courier.stop(timeout)
        if left := len(self):
            logger.info("the outbox %r keeps %d items for the next process", self.name, left)

    async def end_async(self, timeout: float) -> None:  # noqa: ASYNC109 - as end
        """Deliver as far as the time allows, without blocking the event loop."""
        try:
            await self.drain_async(timeout)
        except Exception as error:
            logger.debug("the outbox %r is not drained: %s", self.name, error)


def outbox(
    name: str,
    deliver: Deliver[T] | Destination[T],
    *,
    capacity: int = CAPACITY,
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
        capacity: The most items that may be pending.
        attempts: After so many failures an item is set aside, so that the others go on.

    Returns:
        The outbox; the same one for the same name.

    Raises:
        StateTypeError: The name belongs to a state object of another kind.
        ValueError: The name cannot be used.

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
    destination = deliver if isinstance(deliver, Destination) else FunctionDestination(deliver)
    return manager.companion(
        name, lambda: Outbox(manager, name, destination, capacity=capacity, attempts=attempts)
    )


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

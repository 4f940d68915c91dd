"""The thread of an outbox, which delivers what is durable.

Why a thread: it delivers while the event loop is blocked, gone, or never existed, and at the end of
the process. Coroutine functions run in the loop in which the outbox was made, as long as it runs.

What happens to an item that fails:

- After any error it is not known what has arrived, so `find` is asked before the next attempt.
- The items are tried again, later and later. From the second failure on the first one is sent
  alone, so that one bad item does not fail the others.
- An item that has failed `attempts` times alone is set aside, and the next ones are delivered. An
  error of the connection does not count, and neither does it count if item after item fails: then
  the destination is at fault, and nothing is set aside until it takes an item again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from autostate import hub, logs
from autostate.deadline import backoff
from autostate.delivery.destination import Destination, OutboxItem
from autostate.errors import AutostateError, DeliveryRefusedError
from autostate.process.interrupts import Worker

if TYPE_CHECKING:
    from autostate.delivery.ledger import Ledger

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("autostate")

MOST_IN_A_ROW: Final = 3
"""So many items in a row may be set aside; then the destination is at fault, not the items."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
"""Seconds before another attempt."""

LOOP_CHECK: Final = 0.25
"""Seconds between checks whether the event loop still runs."""


class Courier(Generic[T]):
    """Delivers the durable items of a ledger, in order, one call of the destination at a time.

    Args:
        name: The name of the outbox.
        ledger: What is pending.
        destination: Where it goes.
        attempts: After so many failures an item is set aside.
        sender: The sender of the hub's signals.
        clock: Seconds that never jump.

    Attributes:
        error: The last error of the destination; None if it has taken items since.
        refused: Whether the destination will not take items any more.
        delivered: The number of items that have arrived in this process.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        destination: Destination[T],
        *,
        attempts: int,
        sender: object = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: Exception | None = None
        self.refused = False
        self.delivered = 0
        self._name = name
        self._ledger = ledger
        self._destination = destination
        self._attempts = attempts
        self._sender = sender
        self._clock = clock
        self._begun = False
        self._unsure: list[int] = list(ledger.resumed)
        self._settled_at = clock() + destination.settle if self._unsure else 0.0
        self._failures = 0
        self._in_a_row = 0
        self._not_before = 0.0
        self._news = threading.Event()
        self._moved = threading.Condition()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self._stopped = False
        self._thread: Worker | None = None
        self._process = os.getpid()
        self._starting = threading.Lock()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._own_loop: asyncio.Runner | None = None

    # -- for any thread -----------------------------------------------------------------------

    def wake(self) -> None:
        """Go on: something has become durable. Starts the thread if it does not run."""
        self._news.set()
        if self._is_alive() or self._stopped:
            return
        with self._starting:
            if not self._is_alive():
                self._thread = Worker(self._run, f"autostate-outbox-{self._name}")
                try:
                    self._thread.start()
                except RuntimeError:  # no threads are left, or the interpreter is ending
                    self._thread = None

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def hurry(self) -> None:
        """Try again at once."""
        self._not_before = 0.0
        self.wake()

    def wait_for_less(self, count: int, timeout: float) -> bool:
        """Wait until fewer items are pending; tell whether that is so."""
        with self._moved:
            self._moved.wait_for(lambda: self._is_over(count), timeout)
        return len(self._ledger) < count

    async def until_less(self, count: int, timeout: float) -> bool:  # noqa: ASYNC109 - as above
        """Wait like `wait_for_less`, without blocking the event loop."""
        end = self._clock() + timeout
        loop = asyncio.get_running_loop()
        while not self._is_over(count) and (left := end - self._clock()) > 0:
            moved: asyncio.Future[None] = loop.create_future()
            self._waiting[moved] = loop
            try:
                if not self._is_over(count):  # it may have moved meanwhile
                    await asyncio.wait([moved], timeout=left)
            finally:
                self._waiting.pop(moved, None)
        return len(self._ledger) < count

    def _is_over(self, count: int) -> bool:
        """Tell whether there is no point in waiting for fewer items."""
        return len(self._ledger) < count or self.refused or self._stopped

    def _tell(self) -> None:
        """Wake those who wait for fewer items."""
        with self._moved:
            self._moved.notify_all()
        for moved, loop in list(self._waiting.items()):
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(_finish, moved)

    def stop(self, timeout: float) -> None:
        """End the thread, after the call of the destination that is under way."""
        self._stopped = True
        self._news.set()
        self._tell()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        if self._process != os.getpid():  # a fork: the parent may have sent any of them
            self._process, self._unsure = os.getpid(), self._ledger.positions()
            self._loop = self._own_loop = None
        try:
            while not self._stopped and self._ledger.is_kept and not self.refused:
                self._news.clear()
                wait = self._step()
                if wait is None or wait > 0:
                    self._news.wait(wait)
        finally:
            if self._own_loop is not None:
                self._own_loop.close()

    def _step(self) -> float | None:
        """Take one step.

        Returns:
            The seconds to wait before the next step unless there is news; None: for news.
        """
        pause = self._not_before - self._clock()
        if pause > 0:
            return pause
        batch: list[OutboxItem[T]] = []
        try:
            if not self._begin():
                return None
            if self._unsure and (pause := self._find()) > 0:
                return pause
            batch = self._next()
            if not batch:
                return None
            place = self._call(self._destination.deliver, batch, self._ledger.place)
            self._arrived([item.position for item in batch], place)
        except DeliveryRefusedError as error:
            self._refuse(error)
        except Exception as error:
            self._failed(error, batch)
        return 0.0

    def _begin(self) -> bool:
        """Note the place where the first item will arrive; tell whether it is durable."""
        if not self._begun:
            if not self._ledger.has_place and not self._ledger.resumed:
                place = self._call(self._destination.begin)
                if place is not None:
                    self._ledger.set_place(place)
                self._needs_place = place is not None
            else:
                self._needs_place = False
            self._begun = True
        return not self._needs_place or self._ledger.has_place

    def _find(self) -> float:
        """Ask what has arrived of the items that may have been sent; return seconds to wait."""
        pause = self._settled_at - self._clock()
        if pause > 0:
            return pause
        items = [item for item in self._items(len(self._unsure)) if item.position in self._unsure]
        if items:
            arrived, place = self._call(self._destination.find, items, self._ledger.place)
            self._arrived(arrived, place)
        self._unsure = []
        return 0.0

    def _next(self) -> list[OutboxItem[T]]:
        alone = self._failures > 1
        return self._items(1 if alone else self._destination.batch)

    def _items(self, most: int) -> list[OutboxItem[T]]:
        decode, name = self._destination.decode, self._ledger.id
        texts = self._ledger.ready(most, self._destination.batch_bytes)
        return [OutboxItem(f"{name}-{at}", at, decode(text)) for at, text in texts]

    def _arrived(self, positions: Sequence[int] | Any, place: Any) -> None:
        self._ledger.delivered(positions, place)
        if positions:
            if self.error is not None:
                logger.warning("the outbox %r delivers again", self._name)
            self.delivered += len(positions)
            self.error, self._failures, self._in_a_row = None, 0, 0
        self._tell()

    def _failed(self, error: Exception, batch: list[OutboxItem[T]]) -> None:
        """Note a failure, and set an item aside that has failed too often."""
        self.error = error
        self._failures += 1
        self._unsure = self._unsure or [item.position for item in batch]
        number = self._failures
        self._not_before = self._clock() + backoff(number, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        is_bad = (
            len(batch) == 1
            and number >= self._attempts
            and not isinstance(error, OSError)
            and self._in_a_row < MOST_IN_A_ROW
        )
        if number & (number - 1) == 0 or is_bad:
            logs.heard().log(
                logging.ERROR if is_bad else logging.WARNING,
                "the outbox %r could not deliver%s: %s: %s; %s",
                self._name,
                "" if number == 1 else f", for the {number}th time",
                type(error).__name__,
                error,
                "the item is set aside, see Outbox.aside" if is_bad else "it is tried again",
                exc_info=None if isinstance(error, (OSError, AutostateError)) else error,
            )
        hub.delivery_failed.send(
            self._sender, outbox=self._name, error=error, failures=number, aside=is_bad
        )
        if is_bad:
            self._ledger.set_aside(batch[0].position, f"{type(error).__name__}: {error}")
            self._unsure = []
            self._in_a_row += 1
            self._failures = 1  # the next one is sent alone, too, if it fails once
            self._not_before = 0.0
            self._tell()

    def _refuse(self, error: DeliveryRefusedError) -> None:
        self.error, self.refused = error, True
        logs.heard().critical(
            "the outbox %r has stopped, its destination refuses: %s; %d items are kept, and the "
            "next process tries again",
            *(self._name, error, len(self._ledger)),
        )
        hub.delivery_failed.send(
            self._sender, outbox=self._name, error=error, failures=self._failures + 1, aside=False
        )
        self._tell()

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the destination; if it has to be awaited, in an event loop."""
        result = method(*args)
        if not isinstance(result, Awaitable):
            return result
        loop = self._loop
        if loop is not None and loop.is_running():
            future: Future[Any] = asyncio.run_coroutine_threadsafe(_awaited(result), loop)
            while not future.done() and loop.is_running():
                wait([future], timeout=LOOP_CHECK)
            if future.done():
                return future.result()
            future.cancel()
            raise ConnectionAbortedError("the event loop ended in the midst of a delivery")
        if self._own_loop is None:
            self._own_loop = asyncio.Runner()
        return self._own_loop.run(_awaited(result))


def _finish(moved: asyncio.Future[None]) -> None:
    if not moved.done():
        moved.set_result(None)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result

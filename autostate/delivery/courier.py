"""The thread of an outbox, which delivers what is durable.

Why a thread: it delivers while the event loop is blocked, gone, or never existed, and at the end of
the process. Coroutine functions run in the loop in which the outbox was made, as long as it runs.

What happens to items that fail:

- After any error it is not known what has arrived, so `find` is asked before the next attempt.
- The items are tried again, later and later. From the second failure on fewer items are sent
  together, at last one alone; after each success twice as many. So one bad item among a thousand is
  found in a few attempts, and the items before it are delivered.
- An item that has failed `attempts` times alone is set aside, and the next ones are delivered. An
  error of the connection does not count. If item after item fails, the destination may be at fault:
  nothing is set aside until it has taken an item again, and later items are tried, too, each alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Future
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from autostate import hub, logs
from autostate.deadline import backoff
from autostate.delivery.awaiting import awaited, outcome
from autostate.delivery.destination import (
    Destination,
    FunctionDestination,
    OutboxItem,
    RetryLaterError,
)
from autostate.delivery.reason import reason
from autostate.errors import (
    DeliveryRefusedError,
    FencedError,
    ReadOnlyError,
    StateInUseError,
    forget_locals,
)
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
LONGEST_WAITED: Final = 2.0
"""Seconds before another attempt while somebody waits in `drain`."""
SHRINKING: Final = 8
"""By this factor fewer items are sent together after a failure."""

CONFIRMED: Final = 1.0
"""Seconds for which the store's answer that this process owns the state holds."""
UNCONFIRMED: Final = 5.0
"""Seconds before the store is asked again."""

LOOK: Final = 0.5
"""Seconds between two looks of those who wait, at what nobody tells them."""

SILENT: Final = 300.0
"""Seconds after which a warning tells of a call of the destination that has not returned."""


class Courier(Generic[T]):
    """Delivers the durable items of a ledger, in order, one call of the destination at a time.

    Args:
        name: The name of the outbox.
        ledger: What is pending.
        destination: Where it goes.
        attempts: After so many failures an item is set aside.
        has_owned_since: Tells whether this process has owned the state at a moment of the clock, or
            later; if that is not known yet, the ledger will be told.
        save_soon: Asks for a save, without waiting for it.
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
        has_owned_since: Callable[[float], bool] = lambda _moment: True,
        save_soon: Callable[[], None] = lambda: None,
        sender: object = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: BaseException | None = None
        self.refused: bool = False
        self.delivered: int = 0
        self._name = name
        self._ledger = ledger
        self._destination = destination
        self._finds = type(destination).find is not Destination.find
        self._attempts = attempts
        self._has_owned_since = has_owned_since
        self._save_soon = save_soon
        self._unconfirmed_since = math.inf
        self._sender = sender
        self._clock = clock
        self._begun = False
        self._moves = 0  # odd while something may be under way
        self._settled_at = 0.0
        self._unsure: list[int] = []
        self._doubt(ledger.resumed, None)
        self._most = destination.batch
        self._failures = 0
        self._tries: dict[int, int] = {}  # how often items have failed alone
        self._probe = 0
        self._bad: tuple[int, str] | None = None  # to be set aside, unless it has arrived
        self._in_a_row = 0
        self._not_before = 0.0  # a moment that `hurry` brings forward
        self._asked_for = 0.0  # one that the destination has asked for
        self._hurried_until = 0.0
        self._called_at = math.inf  # when the call began that is under way
        self._stopped = False
        self._own_loop: asyncio.Runner | None = None
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._process = os.getpid()
        self._make_locks()

    def _make_locks(self) -> None:
        # No Event and no Condition: Ctrl-C may leave their locks taken, and this thread would hang.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._blocked: dict[queue.SimpleQueue[None], None] = {}
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self._starting = threading.Lock()
        self._thread: Worker | None = None

    def _check_process(self) -> None:
        """Begin anew in the child of a fork, where locks of other threads may be held for ever."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._make_locks()
            self._loop = self._own_loop = None
            self._unsure = []
            self._doubt(self._ledger.positions(), None)  # the parent may have sent any of them

    def _doubt(self, positions: Sequence[int], error: BaseException | None) -> None:
        """Note items of which it is not known whether they have arrived."""
        if self._finds and positions:
            self._unsure = self._unsure or list(positions)
            self._settled_at = self._clock() + self._destination.settle_after(error)

    # -- for any thread -----------------------------------------------------------------------

    def wake(self) -> None:
        """Go on: something has become durable. Starts the thread if it does not run."""
        self._check_process()
        self._note_news()
        self._tell_of_silence()
        if self._is_alive() or self._stopped or self.refused:
            return
        with self._starting:
            if not self._is_alive():
                # Not in the caller's context: what the thread writes is of no block of `atomic()`.
                context = contextvars.Context()
                self._thread = Worker(
                    lambda: context.run(self._run), f"autostate-outbox-{self._name}"
                )
                try:
                    self._thread.start()
                except RuntimeError:  # no threads are left, or the interpreter is ending
                    self._thread = None

    def _tell_of_silence(self) -> None:
        """Warn, once for each call, if the destination does not return."""
        silent = self._clock() - self._called_at
        if silent >= SILENT:
            self._called_at = math.inf
            logs.heard().warning(
                "the outbox %r has waited for its destination for %.0f s, and delivers nothing "
                "meanwhile: give what it calls a timeout",
                *(self._name, silent),
                extra=logs.attributes("delivery_waits", outbox=self._name, duration=silent),
            )

    def _note_news(self) -> None:
        if self._news.empty():
            self._news.put(None)

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def is_this_thread(self) -> bool:
        """Tell whether the destination is what calls this."""
        return self._thread is not None and self._thread is threading.current_thread()

    @property
    def standing(self) -> int | None:
        """A number that changes when something arrives; None while it is not known what has."""
        moves = self._moves
        return None if moves % 2 or self._unsure else moves

    def needs_running_loop(self) -> bool:
        """Tell whether nothing is delivered while the calling thread waits."""
        function: Any = self._destination.deliver
        if isinstance(self._destination, FunctionDestination):
            function = self._destination.function
        is_async = any(map(iscoroutinefunction, (function, getattr(function, "__call__", None))))  # noqa: B004 - not whether it can be called
        return is_async and self._loop is not None and self._loop is asyncio._get_running_loop()

    def hurry(self, seconds: float) -> None:
        """Try again at once, and then often for so many seconds, unless asked for a pause."""
        self._hurried_until = self._clock() + seconds
        self._not_before = 0.0
        self._hasten_place()
        self.wake()

    def _hasten_place(self) -> None:
        """Save at once where the first item will arrive, if somebody waits for the items."""
        ledger = self._ledger
        if ledger.knows_place and not ledger.has_place and self._clock() < self._hurried_until:
            self._save_soon()

    def wait_until(self, is_done: Callable[[], bool], timeout: float) -> bool:
        """Wait until something is so that deliveries bring about; tell whether it is."""
        self._check_process()
        end = self._clock() + timeout
        moved: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._blocked[moved] = None
        try:
            while not self._is_over(is_done) and (left := end - self._clock()) > 0:
                with contextlib.suppress(queue.Empty):
                    moved.get(timeout=min(left, LOOK))
        finally:
            self._blocked.pop(moved, None)
        return is_done()

    async def until(self, is_done: Callable[[], bool], timeout: float) -> bool:  # noqa: ASYNC109 - as above
        """Wait like `wait_until`, without blocking the event loop."""
        self._check_process()
        end = self._clock() + timeout
        loop = asyncio.get_running_loop()
        while not self._is_over(is_done) and (left := end - self._clock()) > 0:
            moved: asyncio.Future[None] = loop.create_future()
            self._waiting[moved] = loop
            try:
                if not self._is_over(is_done):  # it may have moved meanwhile
                    await asyncio.wait([moved], timeout=min(left, LOOK))
            finally:
                self._waiting.pop(moved, None)
        return is_done()

    def _is_over(self, is_done: Callable[[], bool]) -> bool:
        """Tell whether there is no point in waiting."""
        return is_done() or self.refused or self._stopped or not len(self._ledger)

    def tell(self) -> None:
        """Wake those who wait for fewer items, or for a save."""
        for blocked in list(self._blocked):
            blocked.put(None)
        for moved, loop in list(self._waiting.items()):
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(_finish, moved)

    def stop(self, timeout: float) -> None:
        """End the thread, after the call of the destination that is under way."""
        self._check_process()
        self._stopped = True
        self._note_news()
        self.tell()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopped and self._ledger.is_kept and not self.refused:
                with contextlib.suppress(queue.Empty):
                    self._news.get_nowait()
                self._moves += 1
                try:
                    wait = self._step()
                finally:
                    self._moves += 1
                if wait is None or wait > 0:
                    with contextlib.suppress(queue.Empty):
                        self._news.get(timeout=wait)
        finally:
            try:
                self._destination.close()
            except Exception as error:
                logger.debug("the destination of the outbox %r: %s", self._name, reason(error))
            if self._own_loop is not None:
                self._own_loop.close()
                self._own_loop = None

    def _step(self) -> float | None:
        """Take one step.

        Returns:
            The seconds to wait before the next step unless there is news; None: for news.
        """
        if not self._ledger.is_ours:
            return None
        pause = max(self._not_before, self._asked_for) - self._clock()
        if pause > 0:
            return pause
        batch: list[OutboxItem[T]] = []
        try:
            if not self._begin():
                return None
            if self._unsure:
                if (pause := self._settled_at - self._clock()) > 0:
                    return pause
                if not self._is_owner():
                    return UNCONFIRMED
                self._find()
            if self._bad is not None:
                self._set_aside(*self._bad)
            batch = self._next()
            if not batch or self._stopped:
                return None
            # The store may have confirmed that when the items became durable. A process that was
            # paused since, and replaced, would go on with all that it has.
            if not self._is_owner():
                return UNCONFIRMED
            place = self._call(self._destination.deliver, batch, self._ledger.place)
            self._arrived([item.position for item in batch], place)
        except (FencedError, StateInUseError, ReadOnlyError):
            return None  # another process delivers
        except DeliveryRefusedError as error:
            batch = []  # of this frame, the traceback of the error shows the items
            self._refuse(error)
        except BaseException as error:  # SystemExit, too, ends nothing but the attempt
            positions = [item.position for item in batch]
            batch = []
            self._failed(error, positions)
        return 0.0

    def _is_owner(self) -> bool:
        """Tell whether this process owned the state a moment ago, or when that was first asked."""
        now = self._clock()
        self._unconfirmed_since = min(self._unconfirmed_since, now)
        if not self._has_owned_since(min(now - CONFIRMED, self._unconfirmed_since)):
            return False
        self._unconfirmed_since = math.inf
        return True

    def _begin(self) -> bool:
        """Note the place where the first item will arrive; tell whether it is durable."""
        ledger = self._ledger
        if not self._begun:
            if not ledger.knows_place:
                place = self._call(self._destination.begin)
                if place is not None:
                    ledger.set_place(place)
                    # Nothing is sent before a place is durable, so a former process has sent none.
                    self._unsure = []
                    self._hasten_place()
            self._begun = True
        return ledger.has_place or not ledger.knows_place

    def _find(self) -> None:
        """Ask what has arrived of the items that may have been sent."""
        unsure = set(self._unsure)
        # All at once, however many bytes: the place that `find` returns is behind all of them.
        items = [item for item in self._items(None, None) if item.position in unsure]
        if items:
            arrived, place = self._call(self._destination.find, items, self._ledger.place)
            self._arrived(arrived, place)
        self._unsure = []

    def _next(self) -> list[OutboxItem[T]]:
        if self._probe:  # another item alone: is it the items, or the destination?
            items = self._items(self._probe + 1, None)
            self._probe = min(self._probe, len(items) - 1)
            return items[self._probe :]
        return self._items(self._most, self._destination.batch_bytes)

    def _items(self, most: int | None, most_bytes: int | None) -> list[OutboxItem[T]]:
        """Return the next items; those before the first one that cannot be decoded, if any."""
        decode, name = self._destination.decode, self._ledger.id
        items: list[OutboxItem[T]] = []
        for position, text in self._ledger.ready(most, most_bytes):
            try:
                value = decode(text)
            except Exception as error:
                if not items and most is not None:
                    raise _UndecodableError(position) from error
                if most is not None:
                    break
                continue
            items.append(OutboxItem(f"{name}-{position}", position, value))
        return items

    def _arrived(self, positions: Collection[int], place: Any) -> None:
        self._ledger.delivered(positions, place)
        if positions:
            if self._failures > 1:  # the log has told of one failure that it is tried again
                extra = logs.attributes("delivery_works", outbox=self._name)
                logger.warning("the outbox %r delivers again", self._name, extra=extra)
            self.delivered += len(positions)
            self.error, self._failures, self._in_a_row = None, 0, 0
            self._asked_for, self._probe = 0.0, 0
            for position in positions:
                self._tries.pop(position, None)
            self._most = min(2 * self._most, self._destination.batch)
        self.tell()

    def _failed(self, error: BaseException, positions: list[int]) -> None:
        """Note a failure; an item that has failed too often is set aside in the next step."""
        if isinstance(error, _UndecodableError):
            positions, cause = [error.position], error.__cause__
            assert cause is not None
            error = cause
        else:
            self._doubt(positions, error)
        forget_locals(error, own=True)
        self.error = error
        self._failures = number = self._failures + 1
        now = self._clock()
        if isinstance(error, RetryLaterError):
            self._asked_for = now + error.seconds
        longest = LONGEST_WAITED if now < self._hurried_until else LONGEST_PAUSE
        self._not_before = now + backoff(number, first=FIRST_PAUSE, longest=longest)
        if len(positions) > 1 and (number > 1 or self._most < self._destination.batch):
            self._most = max(1, len(positions) // SHRINKING)
        is_bad = False
        if len(positions) == 1 and not isinstance(error, OSError):
            tries = self._tries[positions[0]] = self._tries.get(positions[0], 0) + 1
            is_bad = tries >= self._attempts and self._in_a_row < MOST_IN_A_ROW
            if tries >= self._attempts and not is_bad:
                self._probe += 1
        if is_bad:
            self._bad = (positions[0], f"{type(error).__name__}: {error}")
            self._not_before = 0.0
        if number & (number - 1) == 0 or is_bad:
            logs.heard().log(
                logging.ERROR if is_bad else logging.WARNING,
                "the outbox %r could not deliver%s: %s; %s",
                self._name,
                "" if number == 1 else f", {number} times in a row",
                reason(error),
                "the item is set aside, see Outbox.aside" if is_bad else "it is tried again",
                extra=logs.attributes(
                    "delivery_failed",
                    error=type(error).__name__,
                    failures=number,
                    outbox=self._name,
                ),
            )
        hub.delivery_failed.send(
            self._sender, outbox=self._name, error=error, failures=number, aside=is_bad
        )

    def _set_aside(self, position: int, error: str) -> None:
        """Set an item aside, unless `find` has found it meanwhile."""
        self._bad = None
        self._tries.pop(position, None)
        if self._ledger.has(position):
            self._ledger.set_aside(position, error)
            self._in_a_row += 1
            self._failures, self._most = 0, 1
            self.tell()

    def _refuse(self, error: DeliveryRefusedError) -> None:
        forget_locals(error, own=True)
        self.error, self.refused = error, True
        logs.heard().critical(
            "the outbox %r has stopped, its destination refuses: %s; %d items are kept, and the "
            "next process tries again",
            *(self._name, error, len(self._ledger)),
        )
        hub.delivery_failed.send(
            self._sender, outbox=self._name, error=error, failures=self._failures + 1, aside=False
        )
        self.tell()

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the destination; if it has to be awaited, in an event loop."""
        self._called_at = self._clock()
        try:
            return self._result(method(*args))
        finally:
            self._called_at = math.inf

    def _result(self, result: Any) -> Any:
        if not isinstance(result, Awaitable):
            return result
        coroutine = awaited(result)
        loop = self._loop
        if loop is not None and loop.is_running():
            try:
                future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, loop)
            except RuntimeError:  # it was closed just now
                return self._in_own_loop(coroutine)
            return outcome(future, loop)
        return self._in_own_loop(coroutine)

    def _in_own_loop(self, coroutine: Any) -> Any:
        if self._own_loop is None:
            self._own_loop = asyncio.Runner()
        return self._own_loop.run(coroutine)


class _UndecodableError(Exception):
    """The first item that is due cannot be decoded; its cause says why."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def _finish(moved: asyncio.Future[None]) -> None:
    if not moved.done():
        moved.set_result(None)

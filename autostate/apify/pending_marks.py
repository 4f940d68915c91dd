"""The marks of handled requests that are due: a state object, and how they are made.

A request is marked as handled in its queue only when the save that covers its handler is done.
Until then the mark is *pending*, and lies in the same commit as what the handler has written. After
a kill in between, the next process marks the request and does not work it again.

Why no `Outbox`: pending marks are a set, not a queue. A local queue refuses to mark a request that
this process has not fetched, and such a mark must not hold up those after it; a fetched request is
looked up by its unique key; and a queue that is dropped takes its marks along. Marks can be made
more than once, so that nobody has to be asked which have arrived.

The state is a dict from unique keys to the requests as JSON, as they were when they were marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Final

from autostate import logs
from autostate.containers.outbox_state import OutboxState
from autostate.containers.root import blank
from autostate.deadline import backoff
from autostate.errors import AutostateError

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager

logger: logging.Logger = logging.getLogger("autostate")

AT_ONCE: Final = 10
"""So many marks are made at the same time, at least."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 20.0
"""Seconds before another attempt to make a mark."""

DRAINING: Final = 10.0
"""Seconds for which a metamorph waits for marks, at most."""

Make = Callable[[str], Awaitable[bool]]


class PendingMarks:
    """The pending marks of one queue. `put` and `forget` may be called by any thread.

    Args:
        manager: The manager of the state.
        name: The name of the state object.
        make: Makes a mark, given a request as JSON; tells whether it is made.

    Attributes:
        waits: Whether a mark waits for a save; see `tracking.capture.Follower`.
        before_end: Called before the last marks are made.
        at_once: So many marks are made at the same time: as many as the crawl would make by itself,
            or it would have to wait for them in the end.
    """

    def __init__(self, manager: StateManager, name: str, make: Make) -> None:
        self.waits = False
        self.before_end: Callable[[], None] = lambda: None
        self.at_once: int = AT_ONCE
        self._name = name
        self._make = make
        self._manager = manager
        tracker = manager._tracker()
        self._lock: threading.RLock = tracker.lock
        self._state: OutboxState = manager.create(
            name, "outbox", functools.partial(blank, OutboxState), own=True
        )
        self._fresh: dict[str, bool] = {}  # whether it was written
        self._taken: deque[tuple[int, list[str]]] = deque()
        self._ready: dict[str, None] = dict.fromkeys(self._state)  # left by a former process
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._queue: deque[str] = deque()  # of those that are ready: to be made now, in order
        self._paused: list[tuple[float, str]] = []  # a heap: to be tried again, and when
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._news: asyncio.Event | None = None
        self._moved: set[asyncio.Event] = set()
        tracker.followers.append(self)

    def __len__(self) -> int:
        """Return the number of pending marks; those of open units count."""
        return len(self._state)

    def __contains__(self, key: str) -> bool:
        return key in self._state

    @property
    def unsaved(self) -> bool:
        """Whether a mark waits for a save."""
        return bool(self._fresh or self._taken)

    @property
    def oldest(self) -> float:
        """Since when the oldest of the requests has been in work, by `units.clock`."""
        return min(self._since.values(), default=float("inf"))

    # -- in the event loop of the queue ---------------------------------------------------------

    def put(self, key: str, request: str, since: float) -> None:
        """Note that a request is handled; the mark is made after the save that has this note.

        Args:
            key: The unique key of the request.
            request: The request as JSON.
            since: When the request was fetched, by `units.clock`.
        """
        self._loop = asyncio.get_running_loop()
        self._since[key] = since
        self.waits = True
        self._fresh[key] = False  # before it is written: a cut that has it must find it here
        self._state[key] = request
        self._fresh[key] = True

    def make_now(self, key: str | None = None) -> None:
        """Make the marks that are durable: in the background, and soon.

        Args:
            key: The unique key of a request that was fetched: its mark is tried again at once.
        """
        self._loop = asyncio.get_running_loop()
        if key is not None and key in self._ready:
            self._queue.appendleft(key)
        self._start()

    async def made(
        self,
        timeout: float,  # noqa: ASYNC109 - it ends without an error
        is_enough: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait until no mark is pending; tell whether that is so.

        Args:
            timeout: The most seconds to wait.
            is_enough: Tells whether to wait no longer.
        """
        end = time.monotonic() + timeout
        moved = asyncio.Event()
        self._moved.add(moved)
        try:
            while self._state and not is_enough() and (left := end - time.monotonic()) > 0:
                moved.clear()
                self._start()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), min(left, 0.5))
            return not self._state
        finally:
            self._moved.discard(moved)

    def _start(self) -> None:
        """Let the task run that makes the marks."""
        if self._news is not None:
            self._news.set()
        if self._ready and (self._task is None or self._task.done()):
            # In an empty context: what it writes belongs to no unit of work.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context(), name="autostate-marks"
            )

    async def _run(self) -> None:
        self._news = news = asyncio.Event()
        self._paused = []
        self._queue = deque(list(self._ready))  # the flush thread may append to either
        making: dict[str, asyncio.Task[None]] = {}
        errors: list[BaseException] = []

        def made(task: asyncio.Task[None]) -> None:
            del making[task.get_name()]
            if not task.cancelled() and (error := task.exception()) is not None:
                errors.append(error)  # this process may not write any more
            news.set()

        try:
            while self._ready:
                if errors:  # whatever saves or writes reports it; nobody reads this task
                    logger.debug("no more marks of %r are made: %s", self._name, errors[0])
                    return
                news.clear()
                while len(making) < self.at_once and (key := self._next(making)) is not None:
                    making[key] = asyncio.create_task(self._make_one(key), name=key)
                    making[key].add_done_callback(made)
                pause = self._paused[0][0] - time.monotonic() if self._paused else None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), pause)
        finally:
            if self._news is news:
                self._news = None

    def _next(self, making: Collection[str]) -> str | None:
        """Return the mark to be made next, if one is due."""
        now = time.monotonic()
        while self._paused and self._paused[0][0] <= now:
            self._queue.append(heapq.heappop(self._paused)[1])
        while self._queue:
            key = self._queue.popleft()
            if key in self._ready and key not in making:
                return key
        return None

    async def _make_one(self, key: str) -> None:
        request = self._state.get(key)
        if request is not None:
            try:
                made, error = await self._make(request), None
            except Exception as raised:
                made, error = False, raised
            if not made:
                self._failed(key, error)
                return
        if self._failures.pop(key, 0) > 1:
            logger.info("the request %r is marked as handled after all", key)
        self._since.pop(key, None)
        self._ready.pop(key, None)
        self._state.pop(key, None)
        for moved in self._moved:
            moved.set()

    def _failed(self, key: str, error: Exception | None) -> None:
        number = self._failures[key] = self._failures.get(key, 0) + 1
        pause = backoff(number, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        heapq.heappush(self._paused, (time.monotonic() + pause, key))
        # The mark of a request that a former process has worked may have to wait until the queue
        # hands it out again: that is no failure.
        if key in self._since and number & (number - 1) == 0:
            logs.heard().warning(
                "a request could not be marked as handled%s%s; it is tried again",
                "" if number == 1 else f", {number} times in a row",
                "" if error is None else f": {type(error).__name__}: {error}",
            )

    # -- for any thread -------------------------------------------------------------------------

    def forget(self) -> None:
        """Forget all marks: the queue is gone."""
        with self._lock:
            self._state.clear()
            for known in (self._fresh, self._ready, self._since, self._failures):
                known.clear()
            self._taken.clear()

    async def drain_async(self) -> bool:
        """Save, and make the marks that do not belong to units that are open; tell if all are."""
        await self._manager.durable_rest()
        await self.made(DRAINING, lambda: len(self._fresh) >= len(self._state))
        return not self._state

    # -- a companion: see `runtime/companion.py` -------------------------------------------------

    async def end_async(self, timeout: float) -> None:  # noqa: ASYNC109 - see `Companion`
        """Save, and make all marks."""
        self.before_end()
        if not self._state:
            return
        end = time.monotonic() + timeout
        try:
            await self._manager.durable_rest(timeout)
        except (AutostateError, RuntimeError) as error:  # the last save reports what hinders it
            logger.debug("the marks of %r are not saved: %s", self._name, error)
            return
        await self.made(max(0.0, end - time.monotonic()))

    def end(self, timeout: float) -> None:
        """Tell what is left: without an event loop no marks can be made."""
        self.before_end()
        if self._state and timeout > 0:
            logger.info(
                "%d handled requests are left for the next process to mark", len(self._state)
            )

    # -- a follower of the cuts: see `tracking/capture.py` ----------------------------------------

    def taken(self, number: int) -> None:
        """Note which marks are part of a cut; the lock is held."""
        state = self._state
        here = [key for key in list(self._fresh) if key in state]
        for key in here:
            self._fresh.pop(key, None)
        if here:
            self._taken.append((number, here))

    def durable(self, number: int) -> None:
        """Note that all cuts up to a number are durable, and let their marks be made."""
        news = False
        while self._taken and self._taken[0][0] <= number:
            keys = self._taken.popleft()[1]
            self._ready.update(dict.fromkeys(keys))
            self._queue.extend(keys)
            news = True
        for key, is_written in list(self._fresh.items()):
            if is_written and key not in self._state:  # its unit was undone
                self._fresh.pop(key, None)
                self._since.pop(key, None)
        self.waits = self.unsaved
        loop = self._loop
        if news and loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(self._start)

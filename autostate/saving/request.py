"""Requests for a flush, and cuts between two callbacks of the event loop.

A cut should fall between two callbacks of the event loop, so that everything between two awaits is
saved together. A loop that runs is asked to hold between two callbacks (`cut_on_loop`). The cut
itself always runs on the flush thread: on any other thread Ctrl-C could strike in the middle of the
cut. Two cases need care:

- The loop's thread waits for the flush thread, in `flush()` for example, and would never reach the
  end of its callback. Then the cut is taken at once. `BlockedLoops` has the loops of such threads,
  and keeps a thread from continuing during the cut, when a timeout or Ctrl-C ends its waiting.
- The loop does not reach the end of its callback in time, or stops. Then the cut is taken anyway.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from autostate.process.interrupts import Latch
from autostate.saving import blocked_loop

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

LOOP_CHECK = 0.05
"""Seconds between checks whether a loop that was asked to hold is still running."""
LONGEST_STAND = 10.0
"""Seconds after which a loop continues although the cut is not done."""


class FlushRequest:
    """One call for a flush.

    Args:
        deadline: When the caller stops waiting, by the flush thread's clock.
        full_compare: Compare content that could have been changed past the barrier, too.
        notify: Called with the outcome, in the thread that flushed, instead of waiting for it.
    """

    def __init__(
        self,
        deadline: float,
        *,
        full_compare: bool = True,
        notify: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self.deadline = deadline
        self.full_compare = full_compare
        self._notify = notify
        self._outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def finish(self, error: BaseException | None) -> None:
        """Hand over the outcome: None when everything is durable, else the error."""
        if self._notify is None:
            self._outcomes.put(error)
        else:
            self._notify(error)

    def outcome(self, timeout: float) -> BaseException | None:
        """Wait for the outcome.

        Raises:
            queue.Empty: There is no outcome yet after `timeout` seconds.
        """
        return self._outcomes.get(timeout=max(0.0, timeout))


class BlockedLoops:
    """The event loops whose threads wait for the flush thread at this moment.

    Attributes:
        paused: The thread that is held for the present cut; None: no thread is.
    """

    def __init__(self) -> None:
        self.paused: int | None = None
        self._lock = threading.Lock()
        self._loops: list[tuple[asyncio.AbstractEventLoop, int]] = []

    @contextlib.contextmanager
    def here(self) -> Generator[None]:
        """Mark the loop of this thread, if any, as blocked during the body."""
        loop = running_loop()
        if loop is None:
            yield
            return
        here = loop, threading.get_ident()
        try:
            try:
                with self._lock:
                    self._loops.append(here)
                yield
            finally:
                self._goes_on(here)
        except BaseException:
            self._goes_on(here)  # again: Ctrl-C may have struck in the midst of it
            raise

    def _goes_on(self, here: tuple[asyncio.AbstractEventLoop, int]) -> None:
        with self._lock:
            self._loops = [one for one in self._loops if one is not here]

    @contextlib.contextmanager
    def held(self, loop: asyncio.AbstractEventLoop) -> Generator[int | None]:
        """Give the thread of this loop if it is blocked, and hold it until the end of the body."""
        with self._lock:
            yield next((thread for one, thread in self._loops if one is loop), None)

    def call(self, cut: Callable[[], T], paused: int | None) -> T:
        """Call a cut while that thread is held."""
        self.paused = paused
        try:
            return cut()
        finally:
            self.paused = None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; loads no asyncio for that."""
    events: Any = sys.modules.get("asyncio.events")
    loop: asyncio.AbstractEventLoop | None = None if events is None else events._get_running_loop()
    return loop


class LateLoop:
    """The event loop that did not hold for a cut in time, until it runs again.

    It is still in the same callback until then, and the next cut does not wait for it.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since = 0.0

    def is_late(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether this loop was late and has not run since."""
        return loop is self._loop

    def missed(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        """Note that a cut was taken without this loop, and warn."""
        if loop is not self._loop:
            self._loop, self._since = loop, since
        blocked_loop.report(loop, time.monotonic() - self._since)

    def ran(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that this loop runs again."""
        if loop is self._loop:
            self._loop = None
        blocked_loop.ran(loop)


def cut_on_loop(
    loop: asyncio.AbstractEventLoop,
    cut: Callable[[], T],
    patience: float,
    blocked_loops: BlockedLoops,
    late: LateLoop,
) -> T:
    """Call `cut` while the loop is held between two callbacks, or after `patience` without that.

    `cut` is called in this thread: in the loop's thread, Ctrl-C could strike in the middle of it.

    Args:
        loop: A loop that runs in another thread.
        cut: The function to call, exactly once.
        patience: Seconds to wait for the loop.
        blocked_loops: The loops whose threads wait for the flush thread.
        late: The loop that missed an earlier cut.

    Returns:
        The result of `cut`; its exceptions are raised here.
    """
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    over = Latch()

    def stand_still() -> None:
        late.ran(loop)
        arrived.put(threading.get_ident())
        over.wait(LONGEST_STAND)

    try:
        with contextlib.suppress(RuntimeError):  # closed meanwhile: it does not run either
            loop.call_soon_threadsafe(stand_still)
        began = time.monotonic()
        end = began if late.is_late(loop) else began + patience
        while True:
            with blocked_loops.held(loop) as thread:
                running = loop.is_running()
                if thread is not None or time.monotonic() >= end or not running:
                    if running and thread is None:
                        late.missed(loop, began)
                    return blocked_loops.call(cut, thread)
            try:
                thread = arrived.get(timeout=LOOP_CHECK)
            except queue.Empty:
                continue
            return blocked_loops.call(cut, thread)
    finally:
        over.set()

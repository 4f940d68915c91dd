"""Event loops that are held between two callbacks for a cut.

A cut should fall between two callbacks of the event loop, so that everything between two awaits is
saved together. So the loop is asked to hold, and the cut is taken meanwhile by the flush thread.
Two cases need care:

- The loop's thread waits for the flush thread, in `flush()` for example, and would never reach the
  end of its callback. Then the cut is taken at once. Such a thread must not continue during the
  cut, when a timeout or Ctrl-C ends its waiting.
- The loop does not reach the end of its callback in time, or stops. Then the cut is taken anyway.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

from autostate.deadline import Deadline
from autostate.process.interrupts import Latch
from autostate.saving import blocked_loop
from autostate.saving.request import running_loop

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

LOOP_CHECK = 0.05
"""Seconds between checks whether a loop that was asked to hold is still running."""
LONGEST_STAND = 10.0
"""Seconds after which a loop continues although the cut is not done."""


class EventLoops:
    """The event loops whose threads wait for the flush thread, and the one that was late.

    Attributes:
        late: The loop that did not hold for a cut in time, until it runs again: it is still in the
            same callback until then, and the next cut does not wait for it. None: none was late.
    """

    def __init__(self) -> None:
        self.late: asyncio.AbstractEventLoop | None = None
        self._late_since = 0.0
        self._lock = threading.Lock()
        self._blocked: list[tuple[asyncio.AbstractEventLoop, int]] = []

    @contextlib.contextmanager
    def blocked(self) -> Generator[None]:
        """Mark the loop of this thread, if any, as blocked during the body."""
        loop = running_loop()
        if loop is None:
            yield
            return
        here = loop, threading.get_ident()
        try:
            try:
                with self._lock:
                    self._blocked.append(here)
                yield
            finally:
                self._goes_on(here)
        except BaseException:
            self._goes_on(here)  # again: Ctrl-C may have struck in the midst of it
            raise

    def _goes_on(self, here: tuple[asyncio.AbstractEventLoop, int]) -> None:
        with self._lock:
            self._blocked = [one for one in self._blocked if one is not here]

    @contextlib.contextmanager
    def blocked_thread(self, loop: asyncio.AbstractEventLoop) -> Generator[int | None]:
        """Give the thread of this loop if it is blocked, and hold it until the end of the body."""
        with self._lock:
            yield next((thread for one, thread in self._blocked if one is loop), None)

    def hold(
        self, loop: asyncio.AbstractEventLoop, cut: Callable[[int | None], T], patience: float
    ) -> T:
        """Call `cut` while a loop is held between two callbacks, or after `patience` without that.

        `cut` is called in this thread: in the loop's thread, Ctrl-C could strike in the middle of
        it.

        Args:
            loop: A loop that runs in another thread.
            cut: The function to call, exactly once, with the thread that is held; None: none is.
            patience: Seconds to wait for the loop.

        Returns:
            The result of `cut`; its exceptions are raised here.
        """
        arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        over = Latch()

        def stand_still() -> None:
            if loop is self.late:
                self.late = None
            blocked_loop.ran(loop)
            arrived.put(threading.get_ident())
            over.wait(LONGEST_STAND)

        try:
            with contextlib.suppress(RuntimeError):  # closed meanwhile: it does not run either
                loop.call_soon_threadsafe(stand_still)
            began = time.monotonic()
            deadline = Deadline.after(0.0 if loop is self.late else patience)
            while True:
                with self.blocked_thread(loop) as thread:
                    running = loop.is_running()
                    if thread is not None or not (running and deadline.left()):
                        if running and thread is None:
                            self._missed(loop, began)
                        return cut(thread)
                try:
                    thread = arrived.get(timeout=LOOP_CHECK)
                except queue.Empty:
                    continue
                return cut(thread)
        finally:
            over.set()

    def _missed(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        """Note that a cut is taken without this loop, and warn."""
        if loop is not self.late:
            self.late, self._late_since = loop, since
        blocked_loop.report(loop, time.monotonic() - self._late_since)

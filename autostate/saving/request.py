"""How a flush that was asked for meets the thread that asked, and the event loop that writes.

A cut should fall between two callbacks of the event loop, so that what happens between two awaits
is saved together. A loop that runs freely is asked to stand still for the cut (`cut_on_loop`). The
cut is always taken by the flush thread: in any other one Ctrl-C could strike in the middle of
it. Two things need care:

- A loop whose thread waits for the flush thread (in `flush()`, say) stands still, and would never
  come to it: then the cut is taken at once. `BlockedLoops` knows these, and keeps such a thread
  from going on during the cut, when it stops waiting because of a timeout or Ctrl-C.
- A loop that does not come to it in time, or stops: then the cut is taken without it.
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
"""Seconds between looks whether a loop that was asked to stand still runs at all."""
LONGEST_STAND = 10.0
"""Seconds after which a loop goes on although the cut is not done."""


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
        """Hand over the outcome: None when all is durable, else what went wrong."""
        if self._notify is None:
            self._outcomes.put(error)
        else:
            self._notify(error)

    def outcome(self, timeout: float) -> BaseException | None:
        """Wait for the outcome.

        Raises:
            queue.Empty: There is none yet after `timeout` seconds.
        """
        return self._outcomes.get(timeout=max(0.0, timeout))


class BlockedLoops:
    """The event loops whose threads wait for the flush thread at this moment.

    Attributes:
        paused: The thread that stands still for the cut that is called; None: none does.
    """

    def __init__(self) -> None:
        self.paused: int | None = None
        self._lock = threading.Lock()
        self._loops: list[tuple[asyncio.AbstractEventLoop, int]] = []

    @contextlib.contextmanager
    def here(self) -> Generator[None]:
        """Wait in the body: the loop of this thread, if any, stands still."""
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
        """Give the thread of this loop if it stands still: it does until the end of the body."""
        with self._lock:
            yield next((thread for one, thread in self._loops if one is loop), None)

    def call(self, cut: Callable[[], T], paused: int | None) -> T:
        """Call a cut while that thread stands still."""
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
    """The event loop that did not come to a cut in time, until it runs again.

    It still stands in the same callback then, and the next cut does not wait for it.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since = 0.0

    def is_late(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether this loop was late and has not run since."""
        return loop is self._loop

    def missed(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        """Note that a cut was taken in another thread, and warn of it."""
        if loop is not self._loop:
            self._loop, self._since = loop, since
        blocked_loop.report(loop, time.monotonic() - self._since)

    def ran(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that it runs again."""
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
    """Call `cut` while the loop stands still between two callbacks, if it comes to that.

    It is called in this thread: in the loop's, Ctrl-C could strike in the middle of it.

    Args:
        loop: A loop that runs in another thread.
        cut: What to call, exactly once.
        patience: Seconds to wait for the loop.
        blocked_loops: The loops that stand still.
        late: The loop that was not waited for the last time.

    Returns:
        What `cut` returned; what it raises is raised here.
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

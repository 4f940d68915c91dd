"""How a flush that was asked for meets the thread that asked, and the event loop that writes.

Two meetings need care:

- A thread that asked waits, and may stop waiting (timeout, Ctrl-C) at any moment. While it waits
  it stands still, so if it is the thread of the event loop, the flusher's thread may cut in its
  place: what the loop's thread runs between two awaits is not torn apart. `FlushRequest.hold`
  makes sure that it cannot leave during the cut. The cut itself never runs in a thread that can
  be interrupted by Ctrl-C in `flush()`.
- A loop that runs freely is asked to cut between two of its callbacks (`cut_on_loop`). If it does
  not come to that in time, or stops, exactly one of the two threads takes the cut.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

LOOP_CHECK = 0.05
"""Seconds between looks whether a loop that was asked to cut still runs."""


class FlushRequest:
    """One call for a flush.

    Args:
        deadline: When the caller stops waiting, by the flusher's clock.
        sweep: Compare content that could have been changed past the barrier, too.
        loop: The event loop whose thread is going to wait in `outcome`, if it is one.
        notify: Called with the outcome, in the thread that flushed, instead of waiting for it.
    """

    def __init__(
        self,
        deadline: float,
        *,
        sweep: bool = True,
        loop: asyncio.AbstractEventLoop | None = None,
        notify: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self.deadline = deadline
        self.sweep = sweep
        self.loop = loop
        self._notify = notify
        self._outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._left = False

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

    def hold(self) -> bool:
        """Keep the waiting thread where it is until `release`; False if it has left."""
        self._gate.acquire()
        if self._left:
            self._gate.release()
        return not self._left

    def release(self) -> None:
        """Undo a successful `hold`."""
        self._gate.release()

    def leave(self) -> None:
        """Note, in the waiting thread, that it goes on; waits while it is held."""
        with self._gate:
            self._left = True


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; loads no asyncio for that."""
    events: Any = sys.modules.get("asyncio.events")
    loop: asyncio.AbstractEventLoop | None = None if events is None else events._get_running_loop()
    return loop


def cut_on_loop(loop: asyncio.AbstractEventLoop, cut: Callable[[], T], patience: float) -> T:
    """Call `cut` between two callbacks of the loop, or here if that does not happen.

    Args:
        loop: A loop that runs in another thread.
        cut: What to call, exactly once.
        patience: Seconds to wait for the loop.

    Returns:
        What `cut` returned; what it raises is raised here.
    """
    claim = threading.Lock()
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def cut_there() -> None:
        if claim.acquire(blocking=False):
            try:
                results.put((cut(), None))
            except BaseException as error:
                results.put((None, error))
                if not isinstance(error, Exception):
                    raise  # Ctrl-C belongs to the loop's thread

    try:
        loop.call_soon_threadsafe(cut_there)
    except RuntimeError:  # closed meanwhile
        return cut()
    end = time.monotonic() + patience
    while True:
        try:
            result, error = results.get(timeout=min(LOOP_CHECK, max(0.0, end - time.monotonic())))
        except queue.Empty:
            over = time.monotonic() >= end or not loop.is_running()
            if over and claim.acquire(blocking=False):
                return cut()
            if over:
                time.sleep(0)  # the loop's thread is cutting this very moment
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

"""Calls for a flush: how they get their outcome, and in which event loop they are made."""

from __future__ import annotations

import contextlib
import queue
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from autostate.errors import FencedError, FlushError, UnsupportedTypeError

if TYPE_CHECKING:
    import asyncio

LOOK: Final = 0.5
"""Seconds between two looks whether a caller waits for itself."""

VAIN: Final = (
    "flush() or durable() during the work on a request for which several threads have written, or "
    "an object past its class: no save can leave that out, so it would wait for the end of the "
    "work, and the work for it; call it after the work"
)


class FlushRequest:
    """One call for a flush.

    Args:
        deadline: When the caller stops waiting, by the flush thread's clock.
        full_compare: Compare content that could have been changed past the barrier, too.
        ending: Whether the call comes from an end (of an Actor, of a `with` block): an error that
            waiting does not mend is then retried a few times only.
    """

    def __init__(self, deadline: float, *, full_compare: bool = True, ending: bool = False) -> None:
        self.deadline = deadline
        self.full_compare = full_compare
        self.ending = ending
        self._outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def finish(self, error: BaseException | None) -> None:
        """Hand over the outcome: None when everything is durable, else the error."""
        self._outcomes.put(error)

    def outcome(self, timeout: float) -> BaseException | None:
        """Wait for the outcome.

        Raises:
            queue.Empty: There is no outcome yet after `timeout` seconds.
        """
        return self._outcomes.get(timeout=max(0.0, timeout))


class AwaitedRequest(FlushRequest):
    """A call by a coroutine, which awaits the outcome."""

    def __init__(self, deadline: float, *, ending: bool = False) -> None:
        import asyncio

        super().__init__(deadline, ending=ending)
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Future[BaseException | None] = self._loop.create_future()

    def finish(self, error: BaseException | None) -> None:
        """Hand over the outcome to the event loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._arrive, error)

    def _arrive(self, error: BaseException | None) -> None:
        if not self._arrived.done():
            self._arrived.set_result(error)

    async def awaited(
        self,
        timeout: float,  # noqa: ASYNC109 - as flush
        late: Callable[[], FlushError],
        is_vain: Callable[[], bool],
    ) -> BaseException | None:
        """Wait for the outcome; after `timeout` seconds, make that of a caller who is late.

        Args:
            timeout: The seconds.
            late: Makes the outcome.
            is_vain: Tells whether the caller waits for itself: asked often, in its context.

        Raises:
            RuntimeError: The caller waits for itself.

        The future is awaited as it is: `wait_for` of Python 3.11 drops a cancellation that comes
        together with the outcome, and a task in a loop would then go on for ever.
        """
        vain = RuntimeError(VAIN)
        looks: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal looks
            looks = self._loop.call_later(LOOK, look)
            if is_vain():
                self._arrive(vain)

        look()
        timer = self._loop.call_later(timeout, lambda: self._arrive(late()))
        try:
            error = await self._arrived
        finally:
            timer.cancel()
            if looks is not None:
                looks.cancel()
        if error is vain:
            raise vain
        return error


def fresh(error: BaseException, describe_unsaved: Callable[[], str]) -> Exception:
    """Make a fresh exception of an outcome: several threads may have waited for it.

    Args:
        error: The outcome.
        describe_unsaved: Describes what is unsaved, for errors that are none of the library's.
    """
    made: Exception
    if isinstance(error, UnsupportedTypeError):
        made = UnsupportedTypeError(error.path, error.problem)
        for note in getattr(error, "__notes__", ()):
            made.add_note(note)
        return made
    if isinstance(error, FencedError):
        made = FencedError(*error.args, owner=error.owner)
        made.__cause__ = error.__cause__
    elif isinstance(error, FlushError):
        made = type(error)(*error.args)
        made.__cause__ = error.__cause__
    else:
        told = str(error) or type(error).__name__  # a MemoryError has no words
        made = FlushError(f"the state was not saved: {told}; {describe_unsaved()}")
        made.__cause__ = error
    return made


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; loads no asyncio for that."""
    events: Any = sys.modules.get("asyncio.events")
    loop: asyncio.AbstractEventLoop | None = None if events is None else events._get_running_loop()
    return loop

"""Calls of clients that have no timeout for a call."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError as LateError
from typing import Final, TypeVar

from autostate.errors import StoreError

T = TypeVar("T")

TIMEOUT: Final = 30.0
"""Seconds to wait if the caller does not say."""


class Calls:
    """Runs calls in threads, and waits for each no longer than it may take.

    Args:
        told: Makes the library's error of the client's.
        at_once: How many calls run at the same time.
    """

    def __init__(self, told: Callable[[BaseException], StoreError], at_once: int = 1) -> None:
        self._told = told
        self._at_once = at_once
        self._threads = self._new_threads()

    def run(self, call: Callable[[], T], timeout: float | None) -> T:
        """Run a call.

        Raises:
            StoreError: The client's error; or the time is over, and the outcome unknown.
        """
        return self.result(self.begin(call), timeout)

    def begin(self, call: Callable[[], T]) -> Future[T]:
        """Begin a call; carry it out if the interpreter ends, when no thread can begin any more."""
        try:
            return self._threads.submit(call)
        except RuntimeError:
            made: Future[T] = Future()
            try:
                made.set_result(call())
            except Exception as error:
                made.set_exception(error)
            return made

    def result(self, begun: Future[T], timeout: float | None) -> T:
        """Wait for a call; see `run`."""
        try:
            return begun.result(TIMEOUT if timeout is None else max(timeout, 0.0))
        except LateError as error:
            if not begun.done():  # its thread hangs; later calls have others
                threads, self._threads = self._threads, self._new_threads()
                threads.shutdown(wait=False, cancel_futures=True)
            raise self._told(error) from error
        except StoreError:
            raise
        except Exception as error:
            raise self._told(error) from error

    def _new_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._at_once, "autostate-store")

    def close(self) -> None:
        """End the threads; one that hangs is left."""
        self._threads.shutdown(wait=False, cancel_futures=True)

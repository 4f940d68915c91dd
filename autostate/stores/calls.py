"""Calls of clients that have no timeout for a call.

Their threads are daemons. Those of a `ThreadPoolExecutor` are joined when the interpreter ends:
after a call that hangs, the last save would begin only when the client gives it up.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError as LateError
from contextlib import suppress
from typing import Any, Final, TypeVar

from autostate.errors import StoreError

T = TypeVar("T")

_Call = tuple[Future[Any], Callable[[], Any]]

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
        self._threads = _Threads(at_once)

    def run(self, call: Callable[[], T], timeout: float | None) -> T:
        """Run a call.

        Raises:
            StoreError: The client's error; or the time is over, and the outcome unknown.
        """
        return self.result(self.begin(call), timeout)

    def begin(self, call: Callable[[], T]) -> Future[T]:
        """Begin a call; carry it out if no thread can begin any more, as at the very end."""
        made: Future[T] = Future()
        if not self._threads.begin(made, call):
            _carry_out(made, call)
        return made

    def result(self, begun: Future[T], timeout: float | None) -> T:
        """Wait for a call; see `run`."""
        try:
            return begun.result(TIMEOUT if timeout is None else max(timeout, 0.0))
        except LateError as error:
            if not begun.done():  # its thread hangs; later calls have others
                threads, self._threads = self._threads, _Threads(self._at_once)
                threads.end()
            raise self._told(error) from None
        except StoreError:
            raise
        except Exception as error:
            raise self._told(error) from None

    def close(self) -> None:
        """End the threads; one that hangs is left."""
        self._threads.end()


class _Threads:
    """Some threads, each begun when all before it are at work.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._begun = 0
        self._idle = threading.Semaphore(0)
        self._ended = False
        self._todo: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()

    def begin(self, made: Future[T], call: Callable[[], T]) -> bool:
        """Give a call to a thread; tell whether there is one."""
        with self._lock:
            if self._ended:
                return False
            if self._idle.acquire(blocking=False) or self._begun == self._most:
                self._todo.put((made, call))
                return True
            self._begun += 1  # before: Ctrl-C may strike when it has begun
            try:
                threading.Thread(
                    target=self._work, args=([(made, call)],), name="autostate-store", daemon=True
                ).start()
            except RuntimeError:
                self._begun -= 1
                return False
            return True

    def end(self) -> None:
        """Drop the calls that have not begun, and end each thread that is not at work, or then."""
        with self._lock:
            self._ended = True
            with suppress(queue.Empty):
                while (waiting := self._todo.get_nowait()) is not None:
                    waiting[0].cancel()
            for _ in range(self._begun):
                self._todo.put(None)

    def _work(self, first: list[_Call]) -> None:
        item: _Call | None = first.pop()  # the thread keeps its arguments
        while item is not None:
            _carry_out(*item)
            item = None  # it holds what the call has returned
            try:
                item = self._todo.get_nowait()
            except queue.Empty:
                self._idle.release()
                item = self._todo.get()


def _carry_out(made: Future[T], call: Callable[[], T]) -> None:
    if not made.set_running_or_notify_cancel():
        return
    try:
        made.set_result(call())
    except BaseException as error:
        made.set_exception(error)

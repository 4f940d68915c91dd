"""Ctrl-C in the middle of the library's own work.

Python raises KeyboardInterrupt, or the exception of a handler of the program, between any two
instructions of the main thread. So a step that may have to be undone is noted before it is done; a
mark is made in the `finally` of the write; and a step that must be completed is repeated until it
is.

What does not work: blocking signals meanwhile, since `pthread_sigmask` takes two system calls and
does not affect signals that have arrived; replacing the handler, which only the main thread may do;
or a context manager written in Python. Its two methods are further calls in which Ctrl-C can
strike, and then nothing leaves the block.
"""

from __future__ import annotations

import _thread
import functools
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import methodcaller
from types import CodeType
from typing import Any


class Latch:
    """An event that is set once: Ctrl-C in its `wait` breaks it for no other thread.

    `threading.Event` has a lock that Ctrl-C may leave taken: then `set` hangs in another thread.

    Attributes:
        is_set: Whether the latch was set.
    """

    def __init__(self) -> None:
        self.is_set: bool = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake all waiting threads; to be called once, from one thread."""
        if not self.is_set:
            self.is_set = True
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the latch is set.

        Args:
            timeout: The most seconds to wait.

        Returns:
            Whether the latch is set.
        """
        limit = -1 if timeout is None else max(0.0, timeout)
        if not self.is_set and self._lock.acquire(timeout=limit):
            self._lock.release()
        return self.is_set


class Worker(threading.Thread):
    """A daemon thread that Ctrl-C cannot break, and that always knows whether it runs.

    `Thread.start` waits for an event that the new thread sets. Ctrl-C during the wait may leave the
    lock of the event taken (`Condition.__enter__` is interrupted after it took the lock): then the
    new thread hangs in `set` for ever. So another thread calls `Thread.start`, where Ctrl-C does
    not strike; and that other thread is begun by a single call of C, so that it is known whether it
    was begun.

    Up to Python 3.12 `is_alive` and `join` of a running thread mark it as stopped, for good, if
    Ctrl-C strikes in them: they take a lock that the thread holds, and release it for the thread.
    Then the caller would do the work of the thread while the thread does it, too.

    Args:
        target: The function that the thread runs.
        name: The name of the thread.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._process = os.getpid()
        self._starters: list[int] = []
        self._began = Latch()
        self._over = Latch()

    def start(self) -> None:
        """Start the thread, and wait until it has begun.

        Else it would begin while the caller goes on. The caller might then have to wait for the
        interpreter, just before it waits for input, and a signal at this moment wakes nobody.

        Raises:
            RuntimeError: No thread can be started.
        """
        start: Any = _thread.start_new_thread
        self._starters.extend(map(start, (self._start,), ((),)))
        self._began.wait()

    def _start(self) -> None:
        try:
            super().start()
        except RuntimeError:  # the system allowed only one more thread
            self._over.set()
            self._began.set()

    def run(self) -> None:
        """Do the work."""
        self._began.set()
        try:
            super().run()
        finally:
            self._over.set()

    def is_alive(self) -> bool:
        """Tell whether the thread was started in this process, and has not ended."""
        return bool(self._starters) and not self._over.is_set and self._process == os.getpid()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, if it was started.

        Args:
            timeout: The most seconds to wait.
        """
        if self.is_alive():
            self._over.wait(timeout)
        if self._over.is_set and self.ident is not None:
            super().join(timeout)  # its last instructions


def uninterrupted(step: Callable[[], object]) -> None:
    """Call a step that must be completed; repeat it if Ctrl-C strikes, and raise that afterwards.

    Args:
        step: The step; it can be called again after it was interrupted at any point.

    Raises:
        KeyboardInterrupt: Ctrl-C struck meanwhile; the step is done all the same.
    """
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            step()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


is_owned: Callable[[AbstractContextManager[bool]], bool] = methodcaller("_is_owned")
"""Tells whether this thread holds an RLock; `threading.Condition` asks in the same way."""


def is_passing(error: BaseException) -> bool:
    """Tell whether an error has nothing to do with the work in progress, and may not come again.

    A handler of SIGALRM may raise a TimeoutError, or an exception of the program's own, wherever
    the main thread happens to be. A RecursionError depends on the caller's depth.
    """
    passing = MemoryError | RecursionError | TimeoutError
    return not isinstance(error, Exception) or isinstance(error, passing) or _is_of_handler(error)


def _is_of_handler(error: BaseException) -> bool:
    """Tell whether a handler of a signal has raised an error."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = set(map(_code_of, filter(callable, handlers))) - {None}
    trace = error.__traceback__
    while codes and trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> CodeType | None:
    """Find the code of a function, a method, a partial function, or a callable object."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    for one in (handler, type(handler).__call__):
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None

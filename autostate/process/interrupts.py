"""Ctrl-C in the middle of the library's own work.

Python raises KeyboardInterrupt, or whatever a handler of the program raises, between any two
instructions of the main thread. So what has to be undone is noted before it is done; a mark is made
in the `finally` of what it is about; and what must come to its end is repeated until it has.

What does not work: to block signals meanwhile, since `pthread_sigmask` takes two system calls and
knows nothing of signals that have arrived; to replace the handler, which only the main thread may
do; or a context manager of Python's own around it. That is two more calls in which Ctrl-C can
strike, and if it strikes in them nothing leaves the block.
"""

from __future__ import annotations

import _thread
import functools
import os
import signal
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any


class Latch:
    """What `threading.Event` is, set once: Ctrl-C in its `wait` breaks it for no other thread.

    That of Python has a lock which Ctrl-C may leave taken: `set` then hangs in another thread.

    Attributes:
        is_set: Whether it was set.
    """

    def __init__(self) -> None:
        self.is_set: bool = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let all go on that wait; once, from one thread."""
        if not self.is_set:
            self.is_set = True
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Args:
            timeout: Seconds, at the most.

        Returns:
            Whether it is set.
        """
        limit = -1 if timeout is None else max(0.0, timeout)
        if not self.is_set and self._lock.acquire(timeout=limit):
            self._lock.release()
        return self.is_set


class Worker(threading.Thread):
    """A daemon thread that Ctrl-C cannot break, and of which it is known whether it runs.

    `Thread.start` waits for an event that the new thread sets. Ctrl-C in there may leave the lock
    of the event taken (`Condition.__enter__` is interrupted when it has it): then the new thread
    hangs in `set` for ever. So another thread calls it, in which nothing is interrupted; and that
    one is begun within a single call of C, so that it is known whether it was.

    Up to Python 3.12 `is_alive` and `join` of a thread that runs mark it as stopped, for good, if
    Ctrl-C strikes in them: they take a lock that the thread holds, and release it for the thread.
    Then the caller would do the work of the thread while that does it, too.

    Args:
        target: What it does.
        name: Of the thread.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._process = os.getpid()
        self._starters: list[int] = []
        self._began = Latch()
        self._over = Latch()

    def start(self) -> None:
        """Let it begin, and wait until it has.

        Else it would begin while the caller goes on: a signal that comes when that has to wait for
        the interpreter, just before it waits for input, wakes nobody.

        Raises:
            RuntimeError: No thread can be started.
        """
        start: Any = _thread.start_new_thread
        self._starters.extend(map(start, (self._start,), ((),)))
        self._began.wait()

    def _start(self) -> None:
        try:
            super().start()
        except RuntimeError:  # there was only one left
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
        """Tell whether it was started, in this process, and has not come to its end."""
        return bool(self._starters) and not self._over.is_set and self._process == os.getpid()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, if it was started.

        Args:
            timeout: Seconds to wait at the most.
        """
        if self.is_alive():
            self._over.wait(timeout)
        if self._over.is_set and self.ident is not None:
            super().join(timeout)  # its last instructions


def uninterrupted(step: Callable[[], object]) -> None:
    """Call what must come to its end, again if Ctrl-C strikes it, which is raised afterwards.

    Args:
        step: May be called again after it was left at any point.

    Raises:
        KeyboardInterrupt: It struck meanwhile; the step is done all the same.
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


def is_owned(lock: Any) -> bool:
    """Tell whether this thread holds an RLock; `threading.Condition` asks in the same way."""
    owned: bool = lock._is_owned()
    return owned


def is_passing(error: BaseException) -> bool:
    """Tell whether an error says nothing about what was worked on, and may not come again.

    A handler of SIGALRM may raise a TimeoutError, or an exception of the program's own: it comes
    up wherever the main thread just is. How many calls are left depends on the caller.
    """
    passing = MemoryError | RecursionError | TimeoutError
    return not isinstance(error, Exception) or isinstance(error, passing) or _is_of_handler(error)


def _is_of_handler(error: BaseException) -> bool:
    """Whether a handler of a signal has raised an error."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = set(map(_code_of, filter(callable, handlers))) - {None}
    trace = error.__traceback__
    while codes and trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> CodeType | None:
    """The code of a function, a method, a partial one, or an object that can be called."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    for one in (handler, type(handler).__call__):
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None

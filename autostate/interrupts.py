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

import os
import threading
from collections.abc import Callable
from typing import Any


class Worker(threading.Thread):
    """A daemon thread of which it is known whether it runs.

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
        self._over = False

    def run(self) -> None:
        """Do the work."""
        try:
            super().run()
        finally:
            self._over = True

    def is_alive(self) -> bool:
        """Tell whether it has begun, in this process, and not come to its end."""
        return self.ident is not None and not self._over and self._process == os.getpid()


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

    A handler of SIGALRM may raise a TimeoutError; how many calls are left depends on the caller.
    """
    passing = MemoryError | RecursionError | TimeoutError
    return not isinstance(error, Exception) or isinstance(error, passing)

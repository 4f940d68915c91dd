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

from collections.abc import Callable


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


def is_passing(error: BaseException) -> bool:
    """Tell whether an error says nothing about what was worked on, and may not come again.

    A handler of SIGALRM may raise a TimeoutError.
    """
    return not isinstance(error, Exception) or isinstance(error, MemoryError | TimeoutError)

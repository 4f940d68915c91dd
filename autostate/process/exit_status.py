"""The exit code of a process that has lost changes: 74 (EX_IOERR), unless it has another one.

The loss is known only in the last exit handler. By then Python has decided on an exit code, and
there is no way to read it: no trace of `raise SystemExit(3)` is left. Handlers of the program may
still follow, too. So the process forks. The child goes on to the end as the process would have; the
parent waits for it, and ends with the child's exit code, or with 74 in place of 0. What does not
work:

- wrapping `sys.exit` misses `raise SystemExit(main())`, which is a common idiom;
- a handler that ends the process by itself (`os._exit(74)`) hides any other code, and skips the
  rest of the end: other handlers, buffers of standard output.

Since Python 3.12 `os.fork` refuses to work at this moment; the steps of which it consists do not.

A child of `multiprocessing` is simpler as long as the exception in flight decides its exit code.
From Python 3.14 on `atexit` calls its finalizers, and ignores exceptions: there it forks as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import TracebackType
from typing import Any, Final, TypeVar

from autostate.deadline import Deadline

EX_IOERR = 74
EX_TEMPFAIL = 75
"""The exit code of a program that may not write its state, and can be started again later."""
LONGEST_END = 30.0
"""Seconds that the rest of the process, exit handlers of others included, may take."""
POLL = 0.01
FORK_IS_REFUSED = sys.hexversion >= 0x030C0000
"""`os.fork` raises while the interpreter ends."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
"""Signals that end a process on purpose; any other signal has struck the child alone."""

E = TypeVar("E", bound=Exception)

_CODE: Final = "_autostate_exit_code"
_lost = False


def expect(error: E, code: int = 1) -> E:
    """Let a program that does not catch this error end with its message alone, and this exit code.

    Its message says all: where in the library it was raised helps nobody, and the line of the
    program that a traceback shows may hold a URL with a password.

    An exception in `sys.excepthook` is passed on; SystemExit ends the process with its code.
    """
    vars(error).setdefault(_CODE, code)
    previous = sys.excepthook
    if hasattr(previous, _CODE):
        return error

    def hook(
        kind: type[BaseException], raised: BaseException, traceback: TracebackType | None
    ) -> None:
        ends_with = vars(raised).get(_CODE)
        if ends_with is None:
            previous(kind, raised, traceback)
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"autostate: {raised}\n")
        if not (sys.flags.interactive or hasattr(sys, "ps1")):
            raise SystemExit(ends_with)

    vars(hook)[_CODE] = True
    sys.excepthook = hook
    return error


def refuse() -> None:
    """End this process at once with exit code 75: another process has taken over its state."""
    _leave(EX_TEMPFAIL)


def note_loss() -> None:
    """Note that changes are lost: neither saved nor kept in a file."""
    global _lost
    _lost = True


def forget() -> None:
    """Forget losses in a forked process: they are its parent's."""
    global _lost
    _lost = False


def impose() -> None:
    """Let this process, if it has lost changes, end with 74 unless it ends with another code.

    For the last exit handler. If changes were lost, this function returns in a child process only,
    which goes on to the end in place of this process.
    """
    if not _lost:
        return
    watchdog: Any = sys.modules.get("faulthandler")
    if watchdog is not None:  # at its end the child would wait for a thread that it does not have
        watchdog.cancel_dump_traceback_later()
    child = -1
    with contextlib.suppress(Exception):  # not allowed here, or no process is left
        child = _fork()
    if child < 0:
        _leave(EX_IOERR if getattr(sys, "last_value", None) is None else 1)
    elif child:
        code = EX_IOERR
        try:
            code = _wait(child) or EX_IOERR
            if -code in SIGNALS:  # Python ends by SIGINT after a KeyboardInterrupt
                signal.signal(-code, signal.SIG_DFL)
                os.kill(os.getpid(), -code)
        finally:  # also after Ctrl-C
            os._exit(code if code > 0 else EX_IOERR)


def impose_in_child() -> None:
    """Set the exit code of a process of multiprocessing that is about to end.

    Raises:
        SystemExit: Changes were lost, and the process would end with 0.
    """
    if _lost and not _exceptions_count():
        impose()
    elif _lost and _succeeds(sys.exception()):
        raise SystemExit(EX_IOERR)


def _exceptions_count() -> bool:
    """Tell whether finalizers run while an exception can still decide the exit code."""
    from multiprocessing.process import BaseProcess

    bootstrap: Any = vars(BaseProcess)["_bootstrap"]
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is bootstrap.__code__:
            return True
    return False


def _succeeds(error: BaseException | None) -> bool:
    """Tell whether a process ends with 0 after this exception."""
    return error is None or (isinstance(error, SystemExit) and error.code in (None, 0))


def _fork() -> int:
    """Fork, also while the interpreter ends; returns 0 in the child."""
    if not FORK_IS_REFUSED:
        return os.fork()
    import ctypes

    python, libc = ctypes.pythonapi, ctypes.PyDLL(None)
    python.PyOS_BeforeFork()
    child = int(libc.fork())
    if child:
        python.PyOS_AfterFork_Parent()
    else:
        python.PyOS_AfterFork_Child()
    return child


def _wait(child: int) -> int:
    """Wait for the end of the child and return its exit code, or -N after a signal.

    Return 0 if it cannot be found out.
    """
    deadline = Deadline.after(LONGEST_END)
    with contextlib.suppress(OSError):  # somebody else has waited for it, or signals are ignored
        while deadline.left():
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(POLL)
        os.kill(child, 9)
    return 0


def _leave(code: int) -> None:
    """End at once, after flushing the printed output."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)

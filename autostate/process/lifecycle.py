"""The ends of a process, and its forks.

How each end comes to save, exactly once:

- *Return, exception, `sys.exit`, Ctrl-C*: by `atexit`. This module registers there when autostate
  is imported, so it runs after all handlers that the program registers later, and after the
  non-daemon threads have ended. The flush thread's daemon thread still runs then.
- *SIGTERM, SIGHUP with the default action* would end the process at once. The handler installed
  here only puts the signal into a queue: a handler may run in the middle of anything, also while
  its thread holds the tracker's lock, so it takes no lock. A thread of this module saves, and
  sends the signal again to the main thread; the handler then restores the default action and
  the process ends by the signal, with the exit status that the sender expects. The program runs
  on meanwhile, for as long as the save takes, at most `SIGNAL_TIMEOUT`: containers are killed
  for good ten seconds after SIGTERM. (Why not save in the handler: it would have to wait for
  locks that its own thread may hold. Why the handler has to end the process: only the main
  thread may change a signal's action. The handler runs when the main thread next executes Python
  code: if that is deep in a C call, the process ends when the call returns, as with any handler.)
  Process 1 of a container cannot end by a signal: it ends with the exit code that a shell would
  give. Else it would go on, with nothing to save what it changes.
- *A handler that was there before* is called right after the flush thread was told of the kill: it
  may need the whole grace period for an orderly end, and may not manage one.
- *A signal that the process sends to itself*: `signal_hook` saves before it is sent. A program with
  a handler of its own restores the former handler, and sends the signal again.
- *`os.execv` and its relatives*: `exec_hook` saves before.
- *`os._exit`, SIGKILL*: nothing runs. Only the last save counts.

asyncio and Crawlee set handlers of their own and remove them later, which leaves the default
action. `recheck` puts the library's handler back; it costs a microsecond, and is called at every
flush in the main thread, the only one in which signals can be handled. A handler that other code
has set since then is left alone: it may call this library's handler, and the cycle would not end.

A fork copies the objects but not the threads. In the child the objects belong to the parent: they
become plain, and the store's connection is not touched. The signals are blocked from before the
fork until the child has its default actions back: Python forgets a signal that reaches a handler in
Python just after a fork, and `Process.terminate()` would then end nothing. `multiprocessing` ends
its children by `os._exit`, without `atexit`, so there one of its own finalizers saves.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import functools
import importlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from autostate import hub
from autostate.deadline import Deadline
from autostate.ownership import program
from autostate.process import exec_hook, exit_status, signal_hook
from autostate.process.interrupts import Worker, uninterrupted

if TYPE_CHECKING:
    from multiprocessing.util import Finalize

logger: logging.Logger = logging.getLogger("autostate")

SIGNAL_TIMEOUT = 8.0
"""Seconds that the save after SIGTERM or SIGHUP may take."""
FORK_TIMEOUT = 2.0
"""The most seconds that a fork waits for changes that other threads have begun."""
Action = Callable[[int, FrameType | None], Any] | int | None
"""What happens at a signal: a handler, a constant of `signal`, or None: C code has set it."""

# `signal.getsignal` looks for a constant of that value first, and raises an error for a function.
_handler_of: Callable[[int], Action] = importlib.import_module("_signal").getsignal
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Keeper(Protocol):
    """An object that saves at the end of the process: a manager."""

    @property
    def exit_timeout(self) -> float:
        """Seconds that the last save may take."""
        ...

    def announce_kill(self) -> None:
        """Note that the end is near. Called in signal handlers: take no lock, never raise."""
        ...

    def announce_end(self) -> None:
        """Tell other processes that the end has begun. Never raise."""
        ...

    def finish(self, timeout: float) -> None:
        """Save for the last time and untrack the objects. Never raise."""
        ...

    def before_exec(self, timeout: float) -> Callable[[], None]:
        """Save before this process becomes another program; give an undo function for failure."""
        ...

    def before_fork(self, timeout: float) -> Callable[[], None]:
        """Wait until no other thread is changing anything; give a function for after the fork."""
        ...

    def forked(self) -> bool:
        """Go on in the child of a fork, where everything belongs to the parent. Take no lock.

        Return whether this process may have something to save, too, when the parent has ended.
        """
        ...


keepers: tuple[Keeper, ...] = ()
"""Those who would save at the end. Replaced as a whole: whoever goes through it takes no lock."""
_previous: dict[int, Action] = {}
"""The handlers that the library's handler has replaced, by number of the signal."""
_arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()
_watcher: threading.Thread | None = None
_lock = threading.Lock()
_exiting = threading.Lock()
_finalizer: Finalize | None = None
_end_is_expected = False
"""Whether multiprocessing calls `_finish_in_child` in its children, and forks of this process."""
_shutdown_sent = False
"""Whether `shutdown` was sent by an exit that has not ended: Ctrl-C may make it begin again."""
_saves_last: threading.Thread | None = None
"""The thread that saves for the last time, and then sends the signal that ends this process."""
_forking = threading.local()
_allocate_lock = _thread.allocate_lock
"""What makes locks: gevent and eventlet replace it."""
process: int = os.getpid()
"""The process, as Python has been told."""


def register(keeper: Keeper) -> None:
    """Let a keeper save at the end of the process, too.

    Raises:
        RuntimeError: Threads were replaced, or Python was not told of a fork; see
            `check_process`.
    """
    global keepers
    check_process()
    with _lock:
        if keeper not in keepers:  # Ctrl-C may have ended an attempt
            keepers = (*keepers, keeper)
    signal_hook.install(_ends, _save_before)
    if in_child():
        _finish_in_child()
        _expect_end_of_child()
    recheck()


def check_process() -> None:
    """Refuse to go on where the process is not as this module knows it.

    Others may have replaced threads and locks since it was imported. Greenlets would wait in its
    older locks and queues. That stops all of them, the one that is waited for among them.

    Code in C may have forked the process, of which Python was not told. It would write under the
    name of its parent, and each of them would replace what the other one has written.

    Raises:
        RuntimeError: It is not.
    """
    if _thread.allocate_lock is not _allocate_lock:
        raise RuntimeError(
            "autostate was imported before gevent or eventlet replaced the threads of Python, and "
            "would hang: call monkey.patch_all() first, before all other imports. With "
            "--preload of gunicorn, its configuration file is the place for that; uWSGI has "
            "gevent-early-monkey-patch = true"
        )
    if os.getpid() != process:  # as `_is_untold`: each flush comes here
        raise RuntimeError(
            "this process was forked by something that does not tell Python of it, and what it "
            "writes would get lost: import the program after the fork. With uWSGI set "
            "lazy-apps = true, or py-call-osafterfork = true"
        )


def _is_untold() -> bool:
    """Tell whether this process was forked, and its hooks were not called."""
    return os.getpid() != process


def unregister(keeper: Keeper) -> None:
    """Forget a keeper that was closed; with the last keeper remove the handlers, too."""
    global keepers
    with _lock:
        keepers = tuple(each for each in keepers if each is not keeper)
    if not keepers and threading.current_thread() is threading.main_thread():
        uninterrupted(_uninstall)


def recheck() -> None:
    """Install missing handlers of signals, if this thread may.

    Raises:
        RuntimeError: Threads were replaced, or Python was not told of a fork; see
            `check_process`.
    """
    check_process()
    if keepers and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if _handler_of(number) is _on_signal:  # nearly always: every flush looks
                continue
            found = signal.getsignal(number)
            if found is signal.SIG_DFL or (number not in _previous and _may_chain(found)):
                _install(number, found)


def _may_chain(found: Action) -> bool:
    """Tell whether this is another handler in Python: not "ignore", not one set by C code."""
    return callable(found) and found is not _on_signal


def _install(number: int, found: Action) -> None:
    """Install the handler; if its thread cannot be started, keep the default action."""
    with contextlib.suppress(ValueError, OSError):  # not the main interpreter
        if _watch():
            _previous[number] = found
            signal.signal(number, _on_signal)


def _uninstall() -> None:
    """Restore the former handlers that were not replaced since. May be repeated."""
    global _watcher, _arrived
    for number, previous in list(_previous.items()):
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, previous)
        _previous.pop(number, None)
    watcher = _watcher
    if watcher is not None and watcher is not threading.current_thread():
        _arrived.put(None)
        watcher.join(1.0)
        _arrived = queue.SimpleQueue()
    _watcher = None


def _watch() -> bool:
    """Start the thread that saves after a signal; tell whether it runs."""
    global _watcher
    if _watcher is None or not _watcher.is_alive():
        _watcher = Worker(_wait, "autostate-signals")
        try:
            _watcher.start()
        except RuntimeError:  # the interpreter is ending
            _watcher = None
            return False
    return True


def _wait() -> None:
    """Wait for a signal, save, and send it again."""
    while threading.current_thread() is _watcher and (number := _arrived.get()) is not None:
        _save_before(number)
        _send_again(number)


def _send_again(number: int) -> None:
    """Let the process end by the signal.

    The signal is sent until the process has ended: the main thread checks for signals, and then
    begins to wait; a signal that arrives in between does not wake it.
    """
    _send(number)
    pause = 0.05
    while signal.getsignal(number) is _on_signal and not keepers:
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
        _send(number)


def _send(number: int) -> None:
    main = threading.main_thread().ident
    # With gevent this is the number of a greenlet: no thread may be signalled by such a number.
    if hasattr(signal, "pthread_kill") and main in sys._current_frames():
        signal.pthread_kill(main, number)  # main: to interrupt what it waits for
    else:
        os.kill(os.getpid(), number)


def _ends(number: int) -> bool:
    """Tell whether a signal that is sent now ends this process, by itself or by its handler."""
    if number not in SIGNALS or not keepers:
        return False
    found = signal.getsignal(number)
    if found is _on_signal:
        found = _previous.get(number, signal.SIG_DFL)
    return found is signal.SIG_DFL and number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _save_before(number: int) -> None:
    """Save before this process sends itself a signal that ends it."""
    global _saves_last
    _saves_last = threading.current_thread()
    exit_now(SIGNAL_TIMEOUT, reason=signal.Signals(number).name)


def wait_for_signal() -> None:
    """Wait for the signal that ends this process, if there is one, after the last save.

    A thread that wants to save now gets no answer: the program ends before it could use one. The
    thread that sends the signal, which also calls the receivers of `shutdown`, does not wait.
    """
    deadline = Deadline.after(SIGNAL_TIMEOUT)
    while _saves_last not in (None, threading.current_thread()) and deadline.left():
        time.sleep(0.01)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Handle a signal, in the main thread, in the middle of anything: no lock may be taken."""
    previous = _previous.get(number, signal.SIG_DFL)
    if callable(previous):
        for keeper in keepers:
            keeper.announce_kill()
        previous(number, frame)
    elif not keepers or _watcher is None or not _watcher.is_alive():
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        if os.getpid() == 1:  # of a container: the default action does nothing to it
            os._exit(128 + number)
    else:
        _arrived.put(number)


def exit_now(timeout: float | None = None, *, reason: str = "exit") -> None:
    """Save everything for the last time. A second call waits for the first.

    Args:
        timeout: Seconds for everything; by default as the keepers' settings say.
        reason: The reason, for the receivers of `shutdown`.
    """
    global _shutdown_sent
    with _exiting:
        if not keepers or _is_untold():
            return
        if timeout is None:
            timeout = max(keeper.exit_timeout for keeper in keepers)
        deadline = Deadline.after(timeout)
        interrupt: KeyboardInterrupt | None = None
        try:
            for keeper in keepers:
                keeper.announce_end()
            if hub.shutdown.receivers and not _shutdown_sent:  # else one save is enough
                _shutdown_sent = True
                hub.shutdown.send(None, timeout=timeout, reason=reason)
        except KeyboardInterrupt as error:
            interrupt = error
        for keeper in keepers:
            try:  # if Ctrl-C strikes before anything was done, it is done now
                uninterrupted(functools.partial(_finish, keeper, deadline))
            except KeyboardInterrupt as error:
                interrupt = error
        _shutdown_sent = bool(keepers)
        if interrupt is not None:
            raise interrupt


def finish_others(than: object) -> None:
    """Let all keepers save but the one because of which this process ends at once."""
    for keeper in keepers:
        if keeper is not than:
            with contextlib.suppress(Exception):
                keeper.finish(keeper.exit_timeout)


def _finish(keeper: Keeper, deadline: Deadline) -> None:
    keeper.finish(max(0.1, deadline.left()))


def _finish_in_child() -> None:
    """Save by a finalizer of multiprocessing, which forgets those made during its imports."""
    global _finalizer
    if _finalizer is None or not _finalizer.still_active():
        from multiprocessing import util

        _finalizer = util.Finalize(None, _exit_child, exitpriority=-100)


def _expect_end_of_child() -> None:
    """Add a finalizer if multiprocessing has started this process: it leaves out atexit.

    multiprocessing forgets all finalizers when the work of a child begins: a moment after a fork,
    or after the main module was imported. Then it calls functions that were registered for that.
    """
    global _end_is_expected
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and not _end_is_expected:
        _end_is_expected = True
        util.register_after_fork(sys.modules[__name__], lambda _: _finish_in_child())


def before_exec() -> Callable[[], None]:
    """Save before `os.exec*`; give an undo function for a process that goes on."""
    undone = contextlib.ExitStack()
    for keeper in () if _is_untold() else keepers:
        undone.callback(keeper.before_exec(keeper.exit_timeout))
    return undone.close


def _exit() -> None:
    """Save at the normal end; show a loss in the exit status.

    A handler of the program may have restored the default action before it ended the process: a
    second signal would strike in the middle of the save. With the library's handler it waits.
    """
    with contextlib.suppress(KeyboardInterrupt, RuntimeError):
        recheck()
    with contextlib.suppress(KeyboardInterrupt):  # the user does not want to wait, and was told
        uninterrupted(exit_now)  # repeated if Ctrl-C struck before it had begun
    exit_status.impose()


def _exit_child() -> None:
    """Save at the normal end of a child of multiprocessing."""
    uninterrupted(exit_now)
    exit_status.impose_in_child()


def in_child() -> bool:
    """Tell whether multiprocessing started this process: a child or a fork server."""
    return program.in_child() or program.in_fork_server()


def _before_fork() -> None:
    """Block signals until the child can handle them; wait for the changes of other threads."""
    _await_imports()
    deadline = Deadline.after(FORK_TIMEOUT)
    _forking.held = [keeper.before_fork(deadline.left()) for keeper in keepers]
    if _previous:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _previous)


def _await_imports() -> None:
    """Wait until other threads have finished importing the library's modules.

    The child would wait for ever for a thread that it does not have: Python resets only one of its
    import locks in a forked child.
    """
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None) if name.startswith("autostate.") else None
        if getattr(spec, "_initializing", False):
            with contextlib.suppress(Exception):  # that thread gets the error
                importlib.import_module(name)


def _after_fork() -> None:
    """Release other threads and the signals, in parent and child."""
    for go_on in vars(_forking).pop("held", ()):
        go_on()
    mask = getattr(_forking, "mask", None)
    if mask is not None:
        _forking.mask = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    """Forget everything: other threads are gone, and may have held locks."""
    global keepers, _lock, _exiting, _watcher, _arrived, _finalizer, _saves_last, process
    process = os.getpid()
    _lock, _exiting = threading.Lock(), threading.Lock()
    _saves_last = None
    exit_status.forget()
    _watcher, _finalizer = None, None
    _arrived = queue.SimpleQueue()
    inherited, keepers = keepers, ()
    try:
        keepers = tuple(keeper for keeper in inherited if keeper.forked())
        if keepers:
            _expect_end_of_child()
        with contextlib.suppress(ValueError, OSError):
            _uninstall()
    finally:
        _after_fork()


def on_fork(callback: Callable[[], None]) -> None:
    """Call a function in every forked child, after the keepers were told."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback)


atexit.register(_exit)
atexit.register(_exit)  # in case Ctrl-C strikes the other one before it has begun
exec_hook.install(before_exec)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )

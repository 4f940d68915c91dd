"""Saving before a process sends a signal to itself, as `exec_hook` does before `os.exec`.

A server that ends in good order keeps its handler of SIGTERM while it shuts down, restores the
former handler, and sends the signal again, so that the sender sees the signal in the exit status.
If the default action was there before, the library's handler is not installed, and the process
would end in the middle of that call, and lose the writes of the shutdown.

A call of `signal.raise_signal` or `os.kill` is no signal handler: it may wait for locks.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any

MARK = "_saves_for_autostate"


def install(ends: Callable[[int], bool], save: Callable[[int], None]) -> None:
    """Save before this process ends by a signal that it sends to itself.

    Args:
        ends: Tells whether the process ends by this signal.
        save: Saves for the last time.
    """
    _wrap(signal, "raise_signal", lambda number: number, ends, save)
    _wrap(os, "kill", lambda pid, number: number if _is_own(pid) else None, ends, save)
    _wrap(os, "killpg", lambda group, number: number if _is_own(-group) else None, ends, save)


def _is_own(pid: int) -> bool:
    """Tell whether a signal for a process's number, or a group's negative one, comes here."""
    return pid == os.getpid() or pid == 0 or pid == -os.getpgrp()


def _wrap(
    module: ModuleType,
    name: str,
    own: Callable[..., int | None],
    ends: Callable[[int], bool],
    save: Callable[[int], None],
) -> None:
    send = getattr(module, name, None)
    if send is None or hasattr(send, MARK):
        return

    @functools.wraps(send)
    def save_and_send(*args: Any, **kwargs: Any) -> Any:
        try:
            number = own(*args, **kwargs)
        except TypeError:  # wrong arguments: the function itself says so
            number = None
        if number is not None and ends(number):
            save(number)
        return send(*args, **kwargs)

    setattr(save_and_send, MARK, True)
    setattr(module, name, save_and_send)

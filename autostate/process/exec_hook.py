"""Saving before `os.execv` and its relatives, which replace the program and run no exit handler.

All functions `os.exec*` call `os.execv` or `os.execve`, which they look up in the module when they
are called. Both are wrapped when autostate is imported, so `from os import execv` after that import
gives the wrapped function. An earlier one bypasses this module.

Nothing would bypass an audit hook (`sys.addaudithook`). But Python calls the hook for each `id()`,
each `sys._getframe()`, each assignment to `__class__`: with an empty hook `id()` takes 340 ns in
place of 70, `sys._getframe()`, which logging calls for each line, 360 in place of 40, and an
assignment to `__class__`, by which containers change their variant, 340 in place of 90. (`open` and
`import` take so long that it does not show.) A hook can never be removed, and an exception that it
raises prevents the call.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MARK = "_saves_for_autostate"
Undo = Callable[[], None]


def install(save: Callable[[], Undo]) -> None:
    """Call `save` before this process becomes another program.

    Args:
        save: Saves; returns a function to call if the process goes on after all.
    """
    for name in ("execv", "execve"):
        found = getattr(os, name, None)
        if found is None or hasattr(found, MARK):
            continue
        wrapper = _saving(found, save)
        setattr(wrapper, MARK, True)
        setattr(os, name, wrapper)
        if found in os.supports_fd:
            os.supports_fd.add(wrapper)


def _saving(execute: Callable[P, R], save: Callable[[], Undo]) -> Callable[P, R]:
    @functools.wraps(execute)
    def save_and_execute(*args: P.args, **kwargs: P.kwargs) -> R:
        undo = save()
        try:
            return execute(*args, **kwargs)
        finally:  # there is no such program
            undo()

    return save_and_execute

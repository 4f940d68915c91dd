"""`os.execv` and its relatives replace the program at once: no exit handler runs. So save before.

All of `os.exec*` go through `os.execv` and `os.execve`, which they look up in the module when they
are called. `from os import execv` before the first state object gets past this. An audit hook
would not be got past, but it costs time at every `open` and `import`, and can never be removed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

MARK = "_saves_for_autostate"
Undo = Callable[[], None]


def install(save: Callable[[], Undo]) -> None:
    """Call `save` before this process becomes another program.

    Args:
        save: Saves; returns what to call if the process goes on after all.
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


def _saving(execute: Callable[..., Any], save: Callable[[], Undo]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def save_and_execute(*args: Any, **kwargs: Any) -> Any:
        undo = save()
        try:
            return execute(*args, **kwargs)
        finally:  # there is no such program
            undo()

    return save_and_execute

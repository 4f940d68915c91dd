"""Warnings about event loops that do not run, with the function that blocks them.

While a callback does not return, the loop receives no events (`migrating`, for example), and a cut
that waits for the end of the callback waits in vain. Other threads detect both, and warn once until
the loop runs again. There is no warning in a notebook, where every cell blocks the loop.
"""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from autostate import logs
from autostate.ownership import program

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

TOLD_AFTER = 0.5
"""Seconds for which a loop has to be blocked before a warning."""

_told: set[int] = set()
"""The loops that were reported and have not run since, by `id`."""


def report(loop: AbstractEventLoop, seconds: float) -> None:
    """Warn that a loop has not run for so many seconds, once until `ran` is called."""
    if seconds < TOLD_AFTER or id(loop) in _told or program.is_notebook():
        return
    _told.add(id(loop))
    logs.heard().warning(
        "the event loop has been blocked for %.1f s%s: meanwhile it hears no events, such as "
        "Apify's migrating, and state is saved in the middle of what it does; call what blocks it "
        "in a thread, for example by `await asyncio.to_thread(...)`",
        seconds,
        _where(loop),
        extra=logs.attributes("loop_blocked", duration=seconds),
    )


def ran(loop: AbstractEventLoop) -> None:
    """Note that a loop runs again. Called in its thread."""
    _told.discard(id(loop))


def _where(loop: AbstractEventLoop) -> str:
    """Name the function of the program in which a loop's thread is, without values."""
    import sysconfig

    thread = getattr(loop, "_thread_id", None) or threading.main_thread().ident
    frame: FrameType | None = sys._current_frames().get(thread or 0)
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    innermost = frame
    while frame is not None and frame.f_code.co_filename.startswith((*libraries, "<frozen")):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return ""
    code = frame.f_code
    name = code.co_filename.rpartition(os.sep)[2]
    return f" by {code.co_name}() in line {frame.f_lineno} of {name}"

"""What an error is, told without values of the program, for logs and messages.

Drivers of databases quote rows in their messages, and HTTP clients quote URLs with tokens. So of a
stranger's error only the class, a code and the line are told. The program gets the error itself:
`Outbox.error`, `Outbox.aside`, `hub.delivery_failed`.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

_OURS = "autostate"


def reason(error: BaseException) -> str:
    """Say what an error is.

    Args:
        error: The error. Messages of the library's own classes are told in full, as they hold no
            values; so is what the system says about an `OSError` that has a number.
    """
    if type(error) is ConnectionError and error.__cause__ is not None:
        return reason(error.__cause__)  # that of a driver, as `SqlTable` passes it on
    name = type(error).__name__
    if type(error).__module__.partition(".")[0] == _OURS:
        return str(error) if isinstance(error, ConnectionError) else f"{name}: {error}"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"{name}: {error.strerror}"
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    return f"{name}{f' ({code})' if code else ''}{_place(error)}"


def _place(error: BaseException) -> str:
    """Name the first line outside of the library from which an error came."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not _is_ours(frame):
            code = frame.f_code
            return f" in {code.co_name} ({Path(code.co_filename).name}, line {line})"
    return ""


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == _OURS

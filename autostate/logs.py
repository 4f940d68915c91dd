"""The library's logger: kept enabled, and in an Actor formatted like the SDK's own lines.

By default `logging.config.dictConfig` disables every existing logger that it does not name. So the
log lines of a library that is imported earlier disappear unintentionally. A program that wants this
sets a level or a filter; both are left alone.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

logger: logging.Logger = logging.getLogger("autostate")

saves: logging.Logger = logging.getLogger("autostate.saves")
"""The logger of what succeeds, at DEBUG: saves, and state objects that are made."""

_broken: Final = logging.NullHandler()


def _guard(guarded: logging.Logger) -> None:
    """Keep an error of a handler or a filter of the program from whoever logs.

    A save that succeeded would fail by it, and what comes after a line would not be done: for
    example, to refuse writes after a takeover. It is told as logging tells of errors in `emit`.
    """
    handle = guarded.handle

    def careful(record: logging.LogRecord) -> None:
        try:
            handle(record)
        except Exception:
            _broken.handleError(record)

    vars(guarded)["handle"] = careful


for _each in (logger, saves):
    _guard(_each)

_dress: logging.Handler | None = None


class _Dress(logging.StreamHandler[Any]):
    """A handler that prints a line that no other handler prints.

    The SDK's own loggers do not propagate, so that a handler of the root prints no line twice. That
    would hide the library's lines from code that sets up logging for the whole program, before or
    after the Actor was entered, as Crawlee, programs and pytest's `caplog` do.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line, unless the root has a handler, which gets the line as well."""
        if not logging.getLogger().handlers:
            super().emit(record)


def heard() -> logging.Logger:
    """Return the logger; enable it again if setting up logging has disabled it."""
    if logger.disabled:
        logger.disabled = False
        logger.warning(
            "logging was set up in a way that disables the logger of autostate, which is enabled "
            "again: pass disable_existing_loggers=False, and to hear less call "
            'logging.getLogger("autostate").setLevel(...)'
        )
    return logger


def attributes(event: str, **details: str | float | bool | None) -> dict[str, Any]:
    """Give the `extra` of a line of the log: attributes of the record, for programs.

    Args:
        event: What has happened, by a name that stays: docs/monitoring.md lists all.
        details: Names, sizes, durations and numbers; never a value of the program.

    Returns:
        The attributes, whose names begin with `autostate_`.
    """
    return {"autostate_event": event, **{f"autostate_{k}": v for k, v in details.items()}}


def dress_as_sdk(actor: Any) -> None:
    """Format the library's lines like those of the Apify SDK, with the same levels.

    Do nothing if the program has configured this logger, or keeps the SDK from configuring loggers.
    """
    global _dress
    if not getattr(actor, "_configure_logging", True) or _is_configured():
        return
    log: Any = sys.modules["apify.log"]
    _dress = _Dress()
    _dress.setFormatter(log.ActorLogFormatter())
    logger.addHandler(_dress)
    logger.setLevel(logging.getLogger("apify").level)


def undress() -> None:
    """Undo `dress_as_sdk`, for tests."""
    global _dress
    if _dress is not None:
        logger.removeHandler(_dress)
        logger.setLevel(logging.NOTSET)
        _dress = None


def _is_configured() -> bool:
    return bool(logger.handlers or logger.filters or logger.level) or not logger.propagate

"""The library's logger: heard where it has to be, and in an Actor dressed as the SDK's own.

`logging.config.dictConfig` disables by default every logger that exists and is not named in it. A
library that is imported first then loses its voice without anybody having wished for that. Whoever
does wish it sets a level or a filter; both are left alone.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

logger: logging.Logger = logging.getLogger("autostate")

_dress: logging.Handler | None = None


class _Dress(logging.StreamHandler[Any]):
    """Prints what nobody else prints.

    The SDK lets its own loggers not propagate, so that a handler of the root prints no line twice.
    That would hide the library's lines from whoever sets up logging for the whole program, before
    or after the Actor was entered: Crawlee does, programs do, and so does pytest's `caplog`.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line, unless the root has a handler, which gets it as well."""
        if not logging.getLogger().handlers:
            super().emit(record)


def heard() -> logging.Logger:
    """Return the logger, enabled again if setting up logging has disabled it on the way."""
    if logger.disabled:
        logger.disabled = False
        logger.warning(
            "logging was set up in a way that disables the logger of autostate, which is enabled "
            "again: pass disable_existing_loggers=False, and to hear less call "
            'logging.getLogger("autostate").setLevel(...)'
        )
    return logger


def dress_as_sdk(actor: Any) -> None:
    """Let the library's lines look like those of the Apify SDK, of the same levels.

    Not where the program has configured this logger, or keeps the SDK from configuring any.
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

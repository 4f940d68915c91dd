"""The whole screen of a terminal, and its keys; it is given back as it was."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

_BEGIN: Final = "\x1b[?1049h\x1b[?25l"  # another screen, without a cursor
_END: Final = "\x1b[?25h\x1b[?1049l"


def is_there() -> bool:
    """Tell whether a picture can be drawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def size() -> tuple[int, int]:
    """Give the columns and the lines of the terminal."""
    found = shutil.get_terminal_size()
    return found.columns, found.lines


@contextmanager
def whole() -> Generator[None]:
    """Draw on a screen of one's own during the body, and let keys be read one by one."""
    with _keys():
        sys.stdout.write(_BEGIN)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the terminal may be gone
                sys.stdout.write(_END)
                sys.stdout.flush()


@contextmanager
def _keys() -> Generator[None]:
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def draw(lines: Sequence[str]) -> None:
    """Draw lines from the top of the screen on, without a flicker."""
    text = "\r\n".join(f"{line}\x1b[K" for line in lines)
    sys.stdout.write(f"\x1b[H{text}\x1b[J")
    sys.stdout.flush()


def key(seconds: float) -> str | None:
    """Wait for a key; None: none was pressed in this time."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return None
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return None
    return os.read(sys.stdin.fileno(), 1).decode("latin-1") or "q"  # nobody is there any more

"""What the commands print, ask and warn of."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from autostate.cli import escapes, plain
from autostate.cli.errors import CommandError, UsageError, of_system

GREEN: Final = "32"
RED: Final = "31"
YELLOW: Final = "33"


def write(text: str, *, colour: str = "") -> None:
    """Print a line, or several; what could steer a terminal is escaped."""
    write_exactly(coloured(escapes.lines(text), colour))


def write_exactly(text: str) -> None:
    """Print a line, or several, as it is."""
    with _printing():
        sys.stdout.write(f"{text}\n")


def flush() -> None:
    """Print all that has not been printed yet."""
    with _printing():
        sys.stdout.flush()


@contextmanager
def _printing() -> Generator[None]:
    """Tell what could not be written: a command prints when it has done all else.

    Raises:
        CommandError: It cannot be printed.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads it
        raise
    except OSError as error:
        raise CommandError(
            f"the command is done, but {of_system(error, 'what it prints')}"
        ) from None


def write_json(value: Any) -> None:
    """Print a value as JSON."""
    write_exactly(plain.as_json(value))


def coloured(text: str, colour: str) -> str:
    """Give a text its colour, where there are any."""
    if not colour or not sys.stdout.isatty():
        return text
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def warn(text: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(f"autostate: {escapes.printable(text)}\n")


def read(what: str) -> str:
    """Read a text from standard input; on a terminal ask for it, and do not show it.

    Args:
        what: What is read, for the question.

    Raises:
        CommandError: Nothing can be read, or no text.
    """
    no_text = "is no text in UTF-8, and nothing was changed: give bytes as base64"
    if _is_terminal():
        try:
            return getpass.getpass(f"{escapes.printable(what)}: ")
        except EOFError:
            sys.stderr.write("\n")
            raise CommandError("nothing was given, and nothing was changed") from None
        except UnicodeDecodeError:  # whose message quotes a byte
            sys.stderr.write("\n")
            raise CommandError(f"what was given {no_text}") from None
    data = read_bytes()
    if not data:
        raise CommandError(
            "standard input is empty, and nothing was changed: give '' for an empty text"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CommandError(f"standard input {no_text}") from None
    return text.removesuffix("\n").removesuffix("\r")


def read_bytes() -> bytes:
    """Read all of standard input; nothing, if it is closed."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()  # None: it is closed


def ask(question: str, *, yes: bool) -> None:
    """Ask before something is changed.

    Args:
        question: The question.
        yes: Whether the user has answered it already.

    Raises:
        UsageError: There is nobody to ask.
        CommandError: The answer is no.
    """
    if yes:
        return
    if not _is_terminal():
        raise UsageError("nothing was changed: there is no terminal to ask on, so say --yes")
    sys.stderr.write(f"{escapes.printable(question)} [y/N]: ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D, which leaves the cursor where it is
        sys.stderr.write("\n")
    if answer.strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was changed")

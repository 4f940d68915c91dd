"""What the commands print, ask and warn of."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from autostate.cli import plain
from autostate.cli.errors import CommandError, UsageError


def write(text: str) -> None:
    """Print a line, or several."""
    sys.stdout.write(f"{text}\n")


def write_json(value: Any) -> None:
    """Print a value as JSON."""
    write(plain.as_json(value))


def warn(text: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(f"autostate: {text}\n")


def read(what: str) -> str:
    """Read a text from standard input; on a terminal ask for it, and do not show it.

    Args:
        what: What is read, for the question.

    Raises:
        CommandError: Nothing can be read, or no text.
    """
    if _is_terminal():
        try:
            return getpass.getpass(f"{what}: ")
        except EOFError:
            raise CommandError("nothing was given, and nothing was changed") from None
    data = read_bytes()
    if not data:
        raise CommandError(
            "standard input is empty, and nothing was changed: give '' for an empty text"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CommandError(
            "standard input is no text in UTF-8, and nothing was changed: give bytes as base64"
        ) from None
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
    sys.stderr.write(f"{question} [y/N]: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was changed")

"""Running one command; what goes wrong is one line, and an exit code."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from typing import Final, NoReturn

from autostate import __version__
from autostate.cli.console import flush, warn, write
from autostate.cli.errors import CommandError, UsageError, of_fault, of_system
from autostate.cli.escapes import ENCODABLE
from autostate.cli.parser import COMMANDS, COMPLETE, usage
from autostate.codec.registry import ignore_classes
from autostate.depth import MOST_LEVELS
from autostate.errors import AutostateError, StateInUseError, UnknownTypeError
from autostate.logs import logger
from autostate.process.exit_status import EX_TEMPFAIL
from autostate.steps import name_commands

WRONG_ARGUMENTS: Final = 2
SIGNALLED: Final = 128
"""What is added to the number of the signal that has ended a process, as shells have it."""
INTERRUPTED: Final = SIGNALLED + signal.SIGINT


def run() -> None:
    """Run the command that the arguments of the process name."""
    ignore_classes()
    for kind in (SyntaxWarning, DeprecationWarning):  # of literals in paths and values
        warnings.simplefilter("ignore", kind)
    logger.addFilter(_is_news)
    name_commands()
    sys.setrecursionlimit(MOST_LEVELS * 5)  # what can be read can be shown
    try:
        _prepare_streams()
        _end_cleanly()
        try:
            _run(sys.argv[1:])
        except SystemExit:  # of a command that prints what is wrong
            flush()
            raise
        flush()
    except BrokenPipeError:  # `| head` has seen enough
        _forget_output()
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write("\n")  # behind a question, and what the terminal shows: ^C
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        _fail(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """Give what the user is told of an error, and the exit code.

    Raises:
        SystemExit: Ctrl-C or a signal has led to the error.
        Exception: It is a fault of this library, and the user develops.
    """
    if isinstance(error, StateInUseError):
        owner = error.owner or "another process"
        told = f"nothing was changed: the state belongs to {owner}. End that first"
        return told, EX_TEMPFAIL
    if isinstance(error, UsageError):
        return str(error), WRONG_ARGUMENTS
    if isinstance(error, UnknownTypeError):
        holder = error.holder or "the state"
        return f"{holder} holds a {error.name}, which only its program knows", 1
    if isinstance(error, OSError):
        return of_system(error), 1
    if isinstance(error, (AutostateError, CommandError, ValueError, ImportError)):
        return str(error), 1
    if isinstance(error, RecursionError):
        return "a value is nested too deeply for this command: look at a part of it", 1
    if (ended := _end_behind(error)) is not None:
        raise SystemExit(ended)
    if sys.flags.dev_mode:
        raise error
    return of_fault(error), 1


def _prepare_streams() -> None:
    """Let everything be printed, and nothing be read or told where a stream is closed.

    Raises:
        CommandError: There is nothing to print on.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for good
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for good
    if sys.stdout is None:
        raise CommandError(
            "standard output is closed, and nothing was done: if nobody is to see what the command "
            f"prints, say > {os.devnull}"
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODABLE)


def _end_cleanly() -> None:
    """Let a command that is told to end remove what is not complete, and give the terminal back."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # else the caller wants something, as nohup
            signal.signal(number, lambda ended, _: sys.exit(SIGNALLED + ended))


def _run(words: list[str]) -> None:
    if not words:
        sys.stderr.write(f"{usage()}\n")
        raise SystemExit(WRONG_ARGUMENTS)
    name, *rest = words
    if name in {"-h", "--help", "help"}:
        write(usage())
    elif name == "--version":
        write(__version__)
    elif name == COMPLETE:
        from autostate.cli.completion import complete

        complete(rest)
    elif name in COMMANDS:
        COMMANDS[name].run(rest)
    else:
        raise UsageError(f"there is no command {name!r}{_near(name)} See autostate --help")


def _end_behind(error: BaseException | None) -> object:
    """Give the exit code of Ctrl-C or a signal that has led to an error, as within argparse."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(error, SystemExit):
            return error.code
        error = error.__context__
    return None


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether the user does not hear it anyhow: at the end, once, as the error."""
    return getattr(record, "autostate_event", None) != "saving_failed"


def _near(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _fail(message: str, code: int) -> NoReturn:
    warn(message)
    try:
        sys.stdout.flush()
    except (OSError, AttributeError):  # full, or closed
        _forget_output()
    raise SystemExit(code)


def _forget_output() -> None:
    """Let Python not try again at its end to print what could not be printed."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

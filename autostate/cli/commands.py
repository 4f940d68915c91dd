"""Running one command; what goes wrong is one line, and an exit code."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from typing import Final, NoReturn

from autostate import __version__
from autostate.cli.console import warn, write
from autostate.cli.errors import CommandError, UsageError
from autostate.cli.escapes import ENCODABLE
from autostate.cli.parser import COMMANDS, COMPLETE, usage
from autostate.codec.registry import ignore_classes
from autostate.depth import MOST_LEVELS
from autostate.errors import AutostateError, StateInUseError, UnknownTypeError
from autostate.logs import logger
from autostate.process.exit_status import EX_TEMPFAIL
from autostate.steps import name_commands

WRONG_ARGUMENTS: Final = 2
INTERRUPTED: Final = 130
"""As shells have it for a process that Ctrl-C has ended."""


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
        _run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except StateInUseError as error:
        owner = error.owner or "another process"
        _fail(f"nothing was changed: the state belongs to {owner}. End that first", EX_TEMPFAIL)
    except UsageError as error:
        _fail(str(error), WRONG_ARGUMENTS)
    except UnknownTypeError as error:
        _fail(f"{error.holder or 'the state'} holds a {error.name}, which only its program knows")
    except (AutostateError, CommandError, OSError, ValueError, ImportError) as error:
        _fail(str(error))
    except RecursionError:
        _fail("a value is nested too deeply for this command: look at a part of it")


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


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether the user does not hear it anyhow: at the end, once, as the error."""
    return getattr(record, "autostate_event", None) != "saving_failed"


def _near(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _fail(message: str, code: int = 1) -> NoReturn:
    warn(message)
    raise SystemExit(code)

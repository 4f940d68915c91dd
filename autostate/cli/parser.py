"""The commands and their arguments: what `--help` lists, and what completion offers."""

from __future__ import annotations

import argparse
import importlib
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from autostate.cli.errors import UsageError

ABOUT: Final = "Look at the state of a program, change it, back it up."
FORMATS: Final = ("json", "use_state", "shelve", "sqlitedict", "pickle")
"""The formats of `export` and `import`."""
TABLE: Final = "unnamed"
"""The table of a SqliteDict without a name."""
WAYS: Final = ("json", "python", "text")
"""How `set` takes a value that is to have a type of its own."""


class Argument(NamedTuple):
    """An argument of a command.

    Attributes:
        flags: Its flags; or its name, if its place tells which one it is.
        options: The options of `ArgumentParser.add_argument`.
        offers: What completion offers for it: "objects", "programs", "files", or nothing.
    """

    flags: tuple[str, ...]
    options: dict[str, Any]
    offers: str = ""


class Command(NamedTuple):
    """A command.

    Attributes:
        name: Its name.
        module: The module of `autostate.cli` in which its function is; loaded when it is run.
        help: What it does, in one line.
        arguments: Its arguments.
    """

    name: str
    module: str
    help: str
    arguments: tuple[Argument, ...]

    def parser(self) -> argparse.ArgumentParser:
        """Make the parser of the arguments."""
        made = _Parser(
            f"autostate {self.name}",
            description=self.help,
            allow_abbrev=False,
        )
        for each in self.arguments:
            made.add_argument(*each.flags, **each.options)
        return made

    def run(self, words: Sequence[str]) -> None:
        """Parse the arguments, and call the function.

        Raises:
            UsageError: The arguments are wrong.
        """
        try:
            found = vars(self.parser().parse_intermixed_args(_shielded(words)))
        except UsageError as error:
            raise self._explained(error, words) from None
        found = {name: _bare(value) for name, value in found.items()}
        module = importlib.import_module(f"autostate.cli.{self.module}")
        function: Callable[..., None] = getattr(module, self.name.replace("import", "import_"))
        function(**found)

    def _explained(self, error: UsageError, words: Sequence[str]) -> UsageError:
        """Say of a word that begins like an option, and is none, how it is written."""
        known = {flag for each in self.arguments for flag in each.flags}
        unknown = [
            word for word in words if word[:1] == "-" and word.partition("=")[0] not in known
        ]
        if not unknown or "--" in words or all(flag.startswith("-") for flag in known):
            return error
        told, _, see = str(error).partition(". See ")
        return UsageError(
            f"{told}: {unknown[0]} is no option; what begins with - goes behind --. See {see}"
        )


_SHIELD: Final = "\0"
"""Stands before a word that begins with a hyphen and is no option; no word can hold it."""


def _shielded(words: Sequence[str]) -> Sequence[str]:
    """Let no word after `--` be taken for an option, as not all versions of argparse do."""
    if "--" not in words:
        return words
    at = words.index("--")
    after = (f"{_SHIELD}{word}" if word.startswith("-") else word for word in words[at + 1 :])
    return [*words[:at], *after]


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_bare, value)]
    return value.removeprefix(_SHIELD) if isinstance(value, str) else value


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, with the next step."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("the following arguments are required", "an argument is missing")
        message = message.replace(", PATH", "")  # which is optional
        message = message.replace(_SHIELD, "")
        raise UsageError(f"{message}. See {self.prog} --help")


def _argument(*flags: str, offers: str = "", **options: Any) -> Argument:
    return Argument(flags, options, offers)


def _flag(*flags: str, dest: str, help: str) -> Argument:  # noqa: A002 - as argparse has it
    return Argument(flags, {"action": "store_true", "dest": dest, "help": help})


_NAME: Final = _argument(
    "name", metavar="NAME", help="the name of the state object", offers="objects"
)
_PATH: Final = _argument(
    *("path",),
    metavar="PATH",
    nargs="*",
    help='a path in it: pages.3.title, or ["pages"][3].title',
)
_STORE: Final = (
    _argument("-u", "--url", metavar="URL", help="the store: its URL, or its file", offers="files"),
    _argument(
        *("-p", "--program"),
        metavar="PROGRAM",
        help="the program whose store in .autostate/ it is",
        offers="programs",
    ),
)
_AT: Final = _argument(
    "--at", metavar="AT", help="as of a commit of the history, by its number or a time in UTC"
)
_JSON: Final = _flag("--json", dest="as_json", help="print JSON")
_YES: Final = _flag("-y", "--yes", dest="yes", help="do not ask")
_HERE: Final = (*_STORE, _JSON)
"""What almost all commands take."""
_CHANGES: Final = (*_STORE, _YES, _JSON)
"""What those take that ask before they change something."""
_FOREIGN: Final = (
    _argument(
        *("-f", "--format"),
        dest="form",
        metavar="FORMAT",
        choices=FORMATS,
        default=FORMATS[0],
        help="json, which loses nothing, by default; use_state, shelve, sqlitedict or pickle",
    ),
    _argument(
        *("--table",),
        metavar="TABLE",
        default=TABLE,
        help="the table of a SqliteDict",
    ),
)

COMMANDS: Final = {
    each.name: each
    for each in (
        Command(
            *("ls", "looking"),
            "List the state objects: kind, entries, bytes, and who owns them.",
            (_AT, *_HERE),
        ),
        Command(
            *("show", "looking"),
            "Show a state object, or what is at a path in it.",
            (
                *(_NAME, _PATH, _AT, *_HERE),
                _flag("--all", dest="everything", help="also what is very long"),
            ),
        ),
        Command(
            *("get", "looking"),
            "Print one value for a script; exit code 1 if there is none.",
            (
                *(_NAME, _PATH, _AT, *_HERE),
                _flag("--reveal", dest="reveal", help="print what secrets hold"),
            ),
        ),
        Command(
            *("watch", "watch"),
            "Show the state live: rates, bytes, last changes; q or Ctrl-C ends.",
            (
                _argument(
                    "--interval", metavar="SECONDS", help="seconds between two looks; 1 by default"
                ),
                _argument("--count", metavar="N", help="end after so many looks"),
                *_HERE,
            ),
        ),
        Command(
            *("where", "places"),
            "Say which store is used here and why, and which ones there are.",
            _HERE,
        ),
        Command(
            *("doctor", "doctor"),
            "Say why a state is not where it is expected, and what may lose it.",
            _HERE,
        ),
        Command(
            *("verify", "looking"),
            "Check all that is stored; exit code 1 if something is damaged.",
            _HERE,
        ),
        Command(
            *("backup", "copies"),
            "Copy the state into a new file, also while its program runs.",
            (
                _argument("file", metavar="FILE", help="the new file", offers="files"),
                *_HERE,
            ),
        ),
        Command(
            *("copy", "copies"),
            "Copy the state into another store, also while its program runs.",
            (
                _argument("source", metavar="SOURCE", help="the store: its URL or file"),
                _argument("target", metavar="TARGET", help="an empty store, of any kind"),
                _JSON,
            ),
        ),
        Command(
            *("log", "past"),
            "List the commits of the history, and what they changed.",
            _HERE,
        ),
        Command(
            *("diff", "diff"),
            "Tell what differs between two states, or points of the history.",
            (
                _argument(
                    *("a",),
                    metavar="A",
                    help="a URL or file, or . for the store here; @3 or @2026-03-01T12:00 after it "
                    "is a commit of its history",
                    offers="files",
                ),
                _argument(
                    *("b",),
                    metavar="B",
                    nargs="?",
                    default=".",
                    help="the other one; by default .",
                    offers="files",
                ),
                _flag("--all", dest="everything", help="also what is beyond two hundred"),
                _flag("--exit-code", dest="exit_code", help="end with 1 if they differ"),
                *_HERE,
            ),
        ),
        Command(
            *("restore", "past"),
            "Go back to a commit of the history, by a new commit.",
            (
                _argument(
                    "--at",
                    metavar="AT",
                    required=True,
                    help="the number of a commit; or a time in UTC, such as 2026-03-01T12:00",
                ),
                *_CHANGES,
            ),
        ),
        Command(
            *("reset", "removing"),
            "Put a state object back to nothing, for its program to begin anew.",
            (_NAME, *_CHANGES),
        ),
        Command(
            *("delete", "removing"),
            "Remove a state object; keep a copy of one that cannot be read.",
            (_NAME, *_CHANGES),
        ),
        Command(
            *("discard", "removing"),
            "Give up what a process has left for a shared state that is gone.",
            _CHANGES,
        ),
        Command(
            *("set", "setting"),
            "Set a value in a state object; the value keeps its type.",
            (
                _NAME,
                _argument("path", metavar="PATH", help='the path to it, as for get; "" for all'),
                _argument(
                    "value", metavar="VALUE", help="a text as it is, all else as JSON; - reads it"
                ),
                _argument(
                    "--as",
                    dest="way",
                    metavar="HOW",
                    choices=WAYS,
                    help="how VALUE is written, if it is to have a type of its own: json, python "
                    "or text",
                ),
                _flag("--secret", dest="secret", help="keep it as a secret, which is never shown"),
                *_HERE,
            ),
        ),
        Command(
            *("export", "exporting"),
            "Write state objects into a file: JSON, or another format.",
            (
                _argument("file", metavar="FILE", help="the new file; - prints", offers="files"),
                _argument(
                    *("names",),
                    metavar="NAME",
                    nargs="*",
                    help="the state objects; by default all",
                    offers="objects",
                ),
                *_FOREIGN,
                _AT,
                _flag("--reveal", dest="reveal", help="write what secrets hold"),
                *_HERE,
            ),
        ),
        Command(
            *("import", "importing"),
            "Make state objects of a file: JSON, or another format.",
            (
                _argument("file", metavar="FILE", help="the file; - reads", offers="files"),
                _argument(
                    *("name",),
                    metavar="NAME",
                    nargs="?",
                    help="the state object; by default as the file is called",
                ),
                *_FOREIGN,
                _flag("--replace", dest="replace", help="replace state objects that are there"),
                _flag(
                    "--unsafe-pickle",
                    dest="trusted",
                    help="read pickles, whose writers can run any code here",
                ),
                *_HERE,
            ),
        ),
        Command(
            *("sign", "signatures"),
            "Sign what is stored with the key that is set, AUTOSTATE_KEY.",
            (
                _flag("--remove", dest="remove", help="remove signatures and encryption instead"),
                *_CHANGES,
            ),
        ),
        Command(
            *("completion", "completion"),
            "Print the script by which a shell completes commands and names.",
            (
                _argument(
                    *("shell",),
                    metavar="SHELL",
                    choices=["bash", "zsh", "fish"],
                    help="bash, zsh or fish",
                ),
            ),
        ),
    )
}
"""The commands by name, in the order of `autostate --help`."""


COMPLETE: Final = "_complete"
"""What the scripts of shells call, with the words so far."""


def usage() -> str:
    """Give what `autostate --help` prints."""
    width = max(map(len, COMMANDS)) + 4
    lines = [
        textwrap.fill(
            each.help,
            max(60, shutil.get_terminal_size().columns),
            initial_indent=f"  {each.name}".ljust(width),
            subsequent_indent=" " * width,
        )
        for each in COMMANDS.values()
    ]
    return "\n".join(
        [
            "Usage: autostate COMMAND [ARGUMENTS]",
            "",
            ABOUT,
            "",
            "Commands:",
            *lines,
            "",
            "autostate COMMAND --help tells about one; autostate --version tells the version.",
        ]
    )

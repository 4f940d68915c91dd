"""What the commands print: nothing in a state steers a terminal, and no stream stops them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.cli import commands, console, plain
from autostate.cli.errors import CommandError
from autostate.cli.parser import COMMANDS
from tests.cli.test_commands import call, told

pytestmark = pytest.mark.usefixtures("forked_programs")

HOSTILE: Final[dict[str, Any]] = {
    "object": {"$object": ["m:\x1b[31mC", {"a\x1b[32mb": 1}]},
    "enum": {"$enum": ["m:\x1b]0;title\x07E", "A\x1b[31m"]},
    "keys": {"$dict": [[{"$object": ["m:\x1b[33mK", {"a": 1}]}, 1]]},
    "text": "one\ttwo\x9b31m\u202e\nthree",
    "\x1b[2Jkey": 1,
}


@pytest.fixture
def hostile(isolated: Path) -> None:
    """A state that somebody else has made, with escapes in all names that a state can have."""
    persisted = {"$persisted": [{"class": "m:\x1b[31mP"}, {"f\x1b[34m": 1}]}
    objects = {"d": HOSTILE, "p": persisted}
    Path("d.json").write_text(json.dumps({"autostate": 1, "objects": objects}))
    told("import", "d.json", "--program", "crawl")
    objects["d"] = {**HOSTILE, "text": 1}
    Path("e.json").write_text(json.dumps({"autostate": 1, "objects": {"d": objects["d"]}}))


def test_no_name_steers_a_terminal(hostile: None) -> None:
    """Of keys, fields, classes and members of enums, also in errors, which are one line."""
    for words in (
        "ls",
        "show d",
        "get d enum",
        "get d --json",
        "diff e.json",
        "set p zz 5",
        "set d object 5",
        "set d keys.soon 5",
        "set d object.zz 5",
        "export - d -f use_state",
        "export z d -f pickle",
    ):
        done = call(*words.split())
        printed = done.stdout + done.stderr
        assert printed, words
        assert {each for each in printed if not each.isprintable()} <= {"\n", "\t"}, words
        assert done.stderr.count("\n") == bool(done.returncode), words


def test_without_rich(
    hostile: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values are printed by pprint, and are as safe."""
    monkeypatch.setitem(sys.modules, "rich", None)
    COMMANDS["show"].run(["d"])
    COMMANDS["show"].run(["p"])
    printed = capsys.readouterr().out
    assert r"\x1b[31mP(f\x1b[34m=1)" in printed
    assert printed.replace("\n", "").isprintable()


def test_a_text_is_printed_as_it_is_for_scripts(
    hostile: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal it is escaped, apart from lines and tabs."""
    COMMANDS["get"].run(["d", "text"])
    assert capsys.readouterr().out == f"{HOSTILE['text']}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    COMMANDS["get"].run(["d", "text"])
    assert capsys.readouterr().out == "one\ttwo\\x9b31m\\u202e\nthree\n"


def test_json_is_safe_and_the_same() -> None:
    """Also with characters that the standard leaves as they are."""
    value = {"a\x1b\x9b": ["\u202e", "\U000e0001", "\ud800", "ü 😀"]}
    for text in (plain.as_json(value), plain.in_a_line(value)):
        assert json.loads(text) == value
        assert text.replace("\n", "").isprintable()
        assert "ü 😀" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """What the stream cannot encode is escaped as JSON has it."""
    data = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(data, encoding=encoding))
    value = {"ü": "😀 \ud800 €"}
    commands._prepare_streams()
    console.write_json(value)
    sys.stdout.flush()
    assert json.loads(data.getvalue().decode(encoding)) == value


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on a terminal that has some, and where they are wanted."""
    assert console.coloured("a", console.RED) == "a"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    for wish, wanted in {"": True, "1": False}.items():
        monkeypatch.setenv("NO_COLOR", wish)
        assert (console.coloured("a", console.RED) == "\x1b[31ma\x1b[0m") is wanted
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert console.coloured("a", console.RED) == "a"


def test_closed_streams(isolated: Path) -> None:
    """Nothing to read is an answer, and nowhere to print an error; neither is a traceback."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("d", n=1)

    def run(words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["sh", "-c", f'exec "{sys.executable}" -m autostate {words}'],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert run("reset d <&-")[::2] == (
        2,
        "autostate: nothing was changed: there is no terminal to ask on, so say --yes\n",
    )
    code, out, error = run("set d n 2 >&-")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert "standard output is closed, and nothing was done" in error
    assert run("get d nope 2>&-")[:2] == (1, "")
    assert told("get", "d", "n") == "1\n"


def test_nothing_to_print_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is done."""
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(CommandError, match="nothing was done"):
        commands._prepare_streams()

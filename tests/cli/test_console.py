"""What the commands print: nothing in a state steers a terminal, and no stream stops them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.cli import commands, console, main, plain
from autostate.cli.errors import CommandError, of_system
from autostate.cli.parser import COMMANDS
from tests import programs
from tests.cli.test_commands import FULL, call, told
from tests.programs import run

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


def test_a_document_on_a_terminal(
    hostile: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is the same JSON, and steers it no more than other JSON."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    COMMANDS["export"].run(["-"])
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    COMMANDS["export"].run(["all.json"])
    assert json.loads(printed) == json.loads(Path("all.json").read_text())


def _wait_until_it_reads(process: int) -> None:
    """Wait until a process sleeps. Python overlooks a signal that comes just before it reads."""
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("words", "keys", "code", "last"),
    [
        ("reset d", b"\x04", 1, "autostate: nothing was changed"),
        ("reset d", b"\x03", 130, ""),
        ("set d n -", b"\x04", 1, "autostate: nothing was given, and nothing was changed"),
        ("set d n -", b"s3cret\xff\n", 1, "autostate: what was given is no text in UTF-8, and "),
    ],
    ids=["no answer", "Ctrl-C", "no value", "bytes"],
)
def test_answers(isolated: Path, words: str, keys: bytes, code: int, last: str) -> None:
    """What follows a question is on a line of its own, and quotes nothing."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("d", n="a")
    process, main = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "autostate", *words.split()])
    shown = b""
    with contextlib.suppress(OSError):  # of Linux, once nobody has the other side open
        while more := os.read(main, 1000):
            shown += more
            if keys and shown.endswith(b": "):
                _wait_until_it_reads(process)
                os.write(main, keys)
                keys = b""
    os.close(main)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == code
    assert shown.decode().splitlines()[-1].startswith(last)
    assert b"s3cret" not in shown
    assert shown.endswith(b"\n")


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

    def closed(words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["sh", "-c", f'exec "{sys.executable}" -m autostate {words}'],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert closed("reset d <&-")[::2] == (
        2,
        "autostate: nothing was changed: there is no terminal to ask on, so say --yes\n",
    )
    code, out, error = closed("set d n 2 >&-")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert "standard output is closed, and nothing was done" in error
    assert closed("get d nope 2>&-")[:2] == (1, "")
    assert told("get", "d", "n") == "1\n"


@pytest.mark.parametrize("words", ["get d n", "set d n 2"])
def test_a_full_disk_below_the_output(isolated: Path, words: str) -> None:
    """One line, which says that the command has done what it does."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("d", n=1)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "autostate", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "autostate: the command is done, but what it prints cannot be written because the disk is "
        "full: free some space\n"
    )


def test_files_that_cannot_be_used(isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Are named, with what to do; no number of an error is told."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("d", n=1)
    Path("folder").mkdir()
    Path("there").write_text("{}")
    for words, told_of in {
        "import folder x": "folder is a folder: name a file",
        "import none -f use_state": "there is no file none",
        "diff none.json": "none.json is not there",
        f"import {'x' * 300}": f"{'x' * 300} has too long a name: take a shorter one",
        "export there d": f"{isolated}/there is there already, and was left: name another file",
        f"export {'y' * 300} d": f"{isolated}/{'y' * 300} has too long a name: take a shorter one",
    }.items():
        done = call(*words.split())
        assert done.stderr == f"autostate: {told_of}\n"
        assert done.returncode in {1, 2}
    assert of_system(PermissionError(errno.EACCES, "no", "f")).startswith("f may not be used: ")
    assert of_system(OSError(errno.EIO, "no", "f")) == "f cannot be used: Input/output error"
    assert of_system(FileNotFoundError(errno.ENOENT, "no")).startswith("the working directory is")


def test_a_working_directory_that_is_gone(isolated: Path) -> None:
    """Is told, too."""
    Path("gone").mkdir()
    code = "import os; os.chdir('gone'); os.rmdir('../gone'); from autostate.cli import main; "
    for words in (["ls"], ["where"], ["doctor"]):
        done = run(f"{code}import sys; sys.argv[1:] = {words}; main()")
        Path("gone").mkdir()
        assert done.stderr == (
            "autostate: the working directory is not there any more: change to another one\n"
        )


ENDING: Final = """
from autostate.cli import commands

def fail(words):
    try:
        raise {end}
    finally:
        {after}

commands._run = fail
commands.run()
"""


class TestEnds:
    """What ends a command before its time."""

    def test_ctrl_c_and_signals(self) -> None:
        """Have their exit codes, also where something else fails for it."""
        for end, code in {"KeyboardInterrupt": 130, "SystemExit(143)": 143}.items():
            for after in ("pass", "raise AttributeError('of argparse')"):
                done = run(ENDING.format(end=end, after=after))
                assert (done.returncode, done.stderr) == (code, ""), (end, after)

    def test_a_fault(self) -> None:
        """Is a line that tells where it is, and no value."""
        done = run(ENDING.format(end="KeyError('a value')", after="pass"))
        assert done.returncode == 1
        assert re.fullmatch(
            r"autostate: this is a fault of autostate \(KeyError in <string>, line 6\): "
            r"please report it\. PYTHONDEVMODE=1 .*\n",
            done.stderr,
        )
        assert "a value" not in done.stderr

    def test_ctrl_c_while_modules_are_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is no traceback."""

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(commands, "run", interrupted)
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 130

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
    def test_what_is_not_complete_is_removed(self, isolated: Path, name: str) -> None:
        """By a signal that asks for the end: no part of a copy or an export stays."""
        with autostate.open("sqlite:///.autostate/crawl.db"):
            autostate.PersistedDict("d", n=1)
        for words in ("backup copy.db", "export copy.json", "export copy.shelf d -f shelve"):
            done = run(f"""
import os, signal, sys
from autostate.cli import commands, exporting
from autostate.runtime import copying

def end(*_):
    assert [each for each in os.listdir() if ".new-" in each]
    os.kill(os.getpid(), signal.{name})

exporting.publish = copying.publish = end
sys.argv[1:] = {words.split()}
commands.run()
""")
            assert done.returncode == 128 + signal.Signals[name], words
            assert [each.name for each in Path().iterdir()] == [".autostate"]


def test_a_shelf_on_a_full_disk(isolated: Path) -> None:
    """Is an error of one line; the collector does not complain of what is left of it."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("d", n="x" * 2000)
    done = programs.run_python("-c", FULL, "export", "shelf", "d", "-f", "shelve")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"autostate: {isolated}/shelf cannot be written")
    assert [each.name for each in Path().iterdir()] == [".autostate"]


def test_nothing_to_print_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is done."""
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(CommandError, match="nothing was done"):
        commands._prepare_streams()

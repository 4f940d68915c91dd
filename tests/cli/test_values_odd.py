"""Values and paths that are odd: too long, too deep, or no literals."""

from __future__ import annotations

import contextlib
import dbm.dumb
import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

import autostate
from autostate.cli.errors import CommandError
from autostate.cli.parser import COMMANDS
from autostate.ownership.state_names import of_programs
from autostate.runtime import stored_state
from tests.cli.test_commands import call, told

pytestmark = pytest.mark.usefixtures("forked_programs")
URL: Final = "sqlite:///crawl.db"


def test_what_is_told_is_known_before_anything_changes(isolated: Path) -> None:
    """An int that Python does not print, in any place, is told in another form."""
    with autostate.open(URL):
        autostate.PersistedDict("d", text="a")
    number = f"0x{'f' * 4000}"
    given = told("set", "d", "n", number, "--as", "python", "-u", "crawl.db")
    assert given.startswith('d["n"] is "0xffff')
    assert told("get", "d", "n", "-u", "crawl.db") == f"{number}\n"
    assert json.loads(told("show", "d", "--json", "-u", "crawl.db"))["n"] == number
    told("set", "d", "s", f"{{{number}}}", "--as", "python", "-u", "crawl.db")
    assert call("show", "d", "s", "-u", "crawl.db").stderr.count("\n") <= 1
    with autostate.open(URL):
        assert autostate.PersistedDict("d")["s"] == {int(number, 16)}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("n", "{[]}", "--as", "python"), "'{[]}' is no literal of Python"),
        (("n[{{}}]", "1"), "there is no '{{}}' in"),
        (("list[1e999]", "1"), "there is no inf in"),
        (("none", "[" * 20_000 + "]" * 20_000), "it is nested too deeply to be saved"),
        (("yes", "x" * 10_000), "xxxx… is no JSON"),
        (("none", "a\udcff"), "VALUE is no text in utf-8, the encoding of this shell"),
        (("\udcff", "a"), "the path is no text in utf-8"),
    ],
    ids=["literal", "path", "index", "depth", "length", "bytes", "bytes of a path"],
)
def test_odd_values_are_told_in_a_line(
    isolated: Path, words: tuple[str, ...], problem: str
) -> None:
    """And change nothing."""
    with autostate.open(URL):
        autostate.PersistedDict("d", n=[1], list=[1], none=None, yes=True)
    done = call("set", "d", *words, "-u", "crawl.db")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert problem in done.stderr
    assert len(done.stderr) < 300


def test_what_is_large_is_not_printed_by_rich(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would take minutes for a million entries; on a terminal only the first ones are shown."""
    pretty = pytest.importorskip("rich.pretty")
    with autostate.open(URL):
        d = autostate.PersistedDict("d", few=dict.fromkeys(range(1000), 0))
        d.update(many=dict.fromkeys(range(10_000), 0), nested=[[[0] * 1000] for _ in range(9)])
        d["few"]["itself"] = d["few"]
    used: list[object] = []

    def pretend(value: object, **_: object) -> str:
        used.append(value)
        return "printed"

    monkeypatch.setattr(pretty, "Pretty", pretend)
    COMMANDS["show"].run(["d", "few", "-u", "crawl.db"])
    assert len(used) == 1
    for path in ([], ["many"], ["nested"]):
        COMMANDS["show"].run(["d", *path, "-u", "crawl.db"])
        assert len(used) == 1
        assert len(capsys.readouterr().out) > 10_000
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    COMMANDS["show"].run(["d", "many", "-u", "crawl.db"])
    assert len(used) == 2
    COMMANDS["show"].run(["d", "many", "--all", "-u", "crawl.db"])
    assert len(used) == 2


def test_a_damaged_shelf(isolated: Path) -> None:
    """Is told in a line that names it, and makes no store."""
    keys, index = "keys that are no texts in UTF-8", "is no shelf, or damaged"
    for name, key, text, problem in (
        ("a", b"\xff", "", keys),
        ("b", b"k", "'k', print(1)\n", index),
        ("c", b"k", "((((\n", index),
    ):
        with contextlib.closing(dbm.dumb.open(name, "n")) as shelf:
            shelf[key] = pickle.dumps(1)
        if text:
            Path(f"{name}.dir").write_text(text)
        words = ["import", name, "-f", "shelve", "--unsafe-pickle", "-u", "new.db"]
        with pytest.raises(CommandError, match=f"nothing was imported from {name}: .*{problem}"):
            COMMANDS[words[0]].run(words[1:])
    assert not Path("new.db").exists()


def test_many_state_objects(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names are found and sorted once for each state that is read, and not for each name."""
    with autostate.open(URL):
        for number in range(50):
            autostate.PersistedDict(f"d{number}", inside=[number])
    calls: list[int] = []

    def counted(names: Iterable[str]) -> list[str]:
        calls.append(1)
        return of_programs(names)

    monkeypatch.setattr(stored_state, "of_programs", counted)
    for words in (["export", "all.json"], ["ls"], ["watch", "--count", "2", "--interval", "0.001"]):
        calls.clear()
        COMMANDS[words[0]].run([*words[1:], "-u", "crawl.db"])
        assert len(calls) <= 3, words
    calls.clear()
    COMMANDS["import"].run(["all.json", "-u", "new.db"])
    assert len(calls) <= 5

"""What `--json` prints for each command, errors of arguments, and the list of commands."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.cli.parser import COMMANDS
from tests.cli.test_commands import call, told

pytestmark = pytest.mark.usefixtures("forked_programs")

KEY: Final = "a-secret-of-the-user"
DOCS: Final = Path(__file__).parent.parent.parent / "docs" / "commands.md"


def printed(*arguments: str) -> Any:
    """The JSON that a command prints."""
    return json.loads(told(*arguments, "--json"))


@pytest.fixture
def crawl(isolated: Path) -> str:
    """The URL of a state with a history of two commits."""
    url = f"sqlite:///{isolated}/.autostate/crawl.db"
    with autostate.open(url, history=10, debounce=1000):
        progress = autostate.PersistedDict("progress", page=1, name="first")
        autostate.flush()
        progress["page"] = 2
    return url


def test_what_reads(crawl: str) -> None:
    """Each command has its keys."""
    assert printed("get", "progress", "name") == "first"
    found = printed("where")
    assert (found["store"], found["problem"], found["shared"]) == (
        "sqlite:///.autostate/crawl.db",
        *(None, []),
    )
    assert found["stores"][0] | {"bytes": 0} == {
        "program": "crawl",
        "store": ".autostate/crawl.db",
        "objects": 1,
        "bytes": 0,
        "owner": "none",
    }
    found = printed("verify")
    assert (found["damaged"], found["stores"][0]["problems"]) == (False, [])
    assert [each["number"] for each in printed("log")] == [1, 2]


def test_what_writes(crawl: str, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the URL of what was made."""
    made = f"sqlite:///{isolated}/copy.db"
    told_of = {"store": made, "own": True, "shared": False, "key_file": None, "left_out": []}
    assert printed("backup", "copy.db") == told_of
    there = f"sqlite:///{isolated}/other.db"
    assert printed("copy", "copy.db", "other.db") == told_of | {"store": there}
    chosen = "sqlite:///.autostate/crawl.db"
    assert printed("restore", "--at", "1", "-y") == {"store": chosen, "commit": 3}
    done = {"store": chosen, "name": "progress", "shared": False}
    assert printed("reset", "progress", "-y") == done | {"done": "reset"}
    monkeypatch.setenv("AUTOSTATE_KEY", KEY)
    found = printed("sign", "-y", "-u", "copy.db")
    assert (found["store"], found["left"], found["records"] > 0) == (made, [], True)


def test_damage_is_in_the_json(crawl: str) -> None:
    """And on standard error, and in the exit code."""
    path = Path(".autostate/crawl.db")
    data = path.read_bytes()
    at = data.rindex(b"progress")
    path.write_bytes(data[:at] + b"progresS" + data[at + 8 :])
    done = call("verify", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["damaged"]
    problems = found["stores"][0]["problems"]
    assert [f"autostate: {each}" for each in problems] == done.stderr.splitlines()


def test_nothing_is_here(isolated: Path) -> None:
    """`where` says so, in both forms."""
    assert "holds no store" in printed("where")["problem"]
    assert "holds no store" in told("where")


def test_no_password_is_told(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a variable that names a store for each program."""
    monkeypatch.setenv("AUTOSTATE_URL", "redis://me:passw0rd@127.0.0.1:1/0?state={program}")
    for words in (["ls"], ["where", "--json"], ["doctor"]):
        done = call(*words)
        assert "passw0rd" not in done.stdout + done.stderr, words
        assert "for each {program}" in done.stdout + done.stderr


@pytest.mark.parametrize("url", ["file:///{}/none?state=typo", "apify:typo"])
def test_a_name_that_is_wrong(crawl: str, isolated: Path, url: str) -> None:
    """Where no file can be missing, a state that is empty is told as one that is not there."""
    url = url.format(isolated)
    for words in (
        ["ls", "-u", url],
        ["verify", "--json", "-u", url],
        ["diff", url],
        ["diff", ".", url],
    ):
        done = call(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert done.stderr.startswith("autostate: nothing was ever saved in "), words
        assert done.stderr.count("\n") == 1
    with autostate.open(url):
        autostate.PersistedDict("d")
    assert told("ls", "-u", url) == "d\tdict\t0\t2\n"
    told("verify", "-u", url)
    told("diff", url)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["lss"], "there is no command 'lss'; did you mean ls?"),
        (["get"], "an argument is missing: NAME"),
        (["ls", "--jsn"], "unrecognized arguments: --jsn"),
        (["restore"], "an argument is missing: --at"),
        (["get", "-d"], "missing: NAME: -d is no option; what begins with - goes behind --. See"),
        (["set", "d", "n", "--x=1"], "missing: VALUE: --x=1 is no option; what begins"),
        (["ls", "--", "-x"], "unrecognized arguments: -x. See"),
        (["ls", "-u"], "expected one argument"),
        (["ls", "-u", "a.db", "-p", "a"], "name two stores"),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_wrong_arguments(isolated: Path, arguments: list[str], problem: str) -> None:
    """One sentence with the next step, and exit code 2."""
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("autostate: ")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert re.search(r"See autostate .*--help|give one of them", done.stderr)


def test_options_may_stand_anywhere(crawl: str) -> None:
    """Between the words of a path, too; a negative number is no option."""
    with autostate.open(crawl):
        autostate.PersistedDict("progress")["list"] = [1, 2, 3]
    assert told("get", "progress", "-u", ".autostate/crawl.db", "list", "-1") == "3\n"


def test_no_entry_of_a_dict_is_missing(isolated: Path) -> None:
    """Keys of one text have names of their own, under which `get` and `set` find them."""
    secret, day = autostate.Secret("hidden"), dt.date(2026, 1, 1)
    with autostate.open(f"sqlite:///{isolated}/.autostate/crawl.db"):
        d = autostate.PersistedDict[Any, int]("d", {1: 1, "1": 2, None: 3, "null": 4, secret: 5})
        d.update({autostate.Secret("b"): 6, day: 7, "2026-01-01": 8, (1,): 9, "[1]": 10})
        autostate.PersistedCounter[Any]("hits", {2: 3, "2": 5})
    assert printed("get", "d") == {
        "[1] (2)": 1,
        "1": 2,
        "[None]": 3,
        "null": 4,
        "**********": 5,
        "********** (2)": 6,
        "[datetime.date(2026, 1, 1)]": 7,
        "2026-01-01": 8,
        "[(1,)]": 9,
        "[1]": 10,
    }
    revealed = json.loads(told("get", "d", "--reveal"))
    assert (revealed["hidden"], revealed["b"]) == (5, 6)
    assert told("get", "d", "[None]") == "3\n"
    assert told("get", "hits") == '{"[2]": 3, "2": 5}\n'
    told("set", "hits", "", '{"[2]": 4, "2": 6}')
    with autostate.open(f"sqlite:///{isolated}/.autostate/crawl.db"):
        assert autostate.PersistedCounter[Any]("hits") == {2: 4, "2": 6}


def test_what_begins_with_a_hyphen(isolated: Path) -> None:
    """Stands behind two of them: a name, a path, a value, a file."""
    with autostate.open(f"sqlite:///{isolated}/.autostate/crawl.db"):
        autostate.PersistedDict("-d", {"-k": "old"})
    told("set", "--", "-d", "-k", "--json")
    assert told("get", "--", "-d", "-k") == "--json\n"
    told("set", "--as", "text", "--", "-d", "-k", "--")
    assert json.loads(told("show", "--json", "--", "-d")) == {"-k": "--"}
    told("export", "--", "-f.json", "-d")
    assert Path("-f.json").is_file()


def test_the_page_of_the_commands() -> None:
    """It names each command, and what each prints as JSON."""
    text = DOCS.read_text()
    overview, as_json = text.partition("## JSON")[::2]
    as_json = as_json.partition("\n## ")[0]
    listed = told("--help")
    for name in COMMANDS:
        assert f"`autostate {name}" in overview, name
        assert f"`{name}`" in as_json, name
        assert f"\n  {name} " in listed, name
        helped = told(name, "--help")
        assert f"usage: autostate {name}" in helped

"""The commands and shared objects: of programs that run, that were killed, and that have ended."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import SharedCounter, SharedDict, SharedSet
from autostate.cli.errors import CommandError
from autostate.errors import StateTypeError
from tests import programs

SHARED: Final = Path(".autostate/shared.db")
KEY: Final = "a-secret-of-the-user"
pytestmark = pytest.mark.usefixtures("forked_programs")

PROGRAM: Final = """
import sys, autostate
from autostate import PersistedDict, SharedCounter, SharedDict, SharedSet

autostate.configure("sqlite:///.autostate/crawl.db", shared="sqlite:///.autostate/shared.db")
progress = PersistedDict("progress", page=0)
hits, seen = SharedCounter("hits"), SharedSet("seen")
best = SharedDict("best", merge={"price": min})
hits.update({"page": 2, "image": 1})
seen.update(["a", ("b", 1)])
best["price"], best["last"] = 12.5, [1, {"title": "first"}]
autostate.flush()
"""
BESIDE: Final = """
import autostate
from autostate import SharedCounter, SharedDict
autostate.configure("memory:", shared="sqlite:///.autostate/shared.db")
SharedCounter("hits")["page"] += 3
SharedDict("best", merge={"price": min})["price"] = 9.5
"""
JOB: Final = """
import itertools, os, sys, time, autostate
from autostate import PersistedDict, SharedCounter
autostate.configure(debounce=0, max_delay=0.01)
progress, hits = PersistedDict("progress", page=0), SharedCounter("hits")
for number in itertools.count(1):
    with autostate.atomic():
        progress["page"] += 1
        hits["page"] += 1
    if number == 20:
        autostate.flush()
        print("shared", flush=True)
    time.sleep(0.001)
"""


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return programs.run_python("-m", "autostate", *arguments)


def told(*arguments: str) -> str:
    """Run a command that succeeds, and says nothing but what was asked for."""
    done = call(*arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def rows(*arguments: str) -> dict[str, list[str]]:
    """The rows of a table in a pipe, by their first column."""
    lines = [line.split("\t") for line in told(*arguments).splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) > 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, forked_programs: object) -> Path:
    """A folder in which a program has ended that shares, and one that has no state of its own."""
    folder = tmp_path_factory.mktemp("crawl")
    foreign = ("APIFY_", "ACTOR_", "CRAWLEE_", "AUTOSTATE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    for code in (PROGRAM, BESIDE):
        done = programs.run(code, folder, env)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def crawl(isolated: Path, made: Path) -> Path:
    """Such a folder of the test's own."""
    shutil.copytree(made / ".autostate", isolated / ".autostate")
    return isolated


def _all_files() -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in Path().rglob("*") if each.is_file()}


READING: Final = (
    ["ls"],
    ["show", "best"],
    ["get", "hits", "page"],
    ["where"],
    ["verify"],
    ["ls", "--url", str(SHARED)],
)


def test_what_reads_makes_and_changes_nothing(crawl: Path) -> None:
    """The shared state is as it was."""
    before = _all_files()
    for arguments in READING:
        told(*arguments)
        assert _all_files() == before, arguments


def test_ls(crawl: Path) -> None:
    """What is shared stands below what the program has for itself, and alone where it is named."""
    found = rows("ls")
    assert [*found] == ["progress", "best", "hits", "seen"]
    assert found["progress"][0] == "dict"
    assert found["hits"][:2] == ["shared counter", "2"]
    assert found["seen"][:2] == ["shared set", "2"]
    assert found["best"][:2] == ["shared dict", "2"]
    assert all(int(row[2]) for row in found.values())
    assert [*rows("ls", "-u", str(SHARED))] == ["best", "hits", "seen"]
    as_json = json.loads(told("ls", "--json"))
    assert [each["name"] for each in as_json["objects"]] == ["progress"]
    [shared] = as_json["shared"]
    assert shared["store"].endswith("/.autostate/shared.db")
    assert shared["writers"] == 2
    assert [each["name"] for each in shared["objects"]] == ["best", "hits", "seen"]


def test_show_and_get(crawl: Path) -> None:
    """Of what all have contributed; of values that a function would merge, all are shown."""
    assert told("get", "hits", "page") == "5\n"
    assert told("show", "hits") == "{'page': 5, 'image': 1}\n"
    assert json.loads(told("show", "seen", "--json")) == ["a", ["b", 1]]
    assert told("get", "best", "last.1.title") == "first\n"
    assert told("show", "best", "price") == "Unmerged(values=[12.5, 9.5])\n"
    assert json.loads(told("get", "best", "price")) == {"values": [12.5, 9.5]}
    assert told("get", "progress", "page") == told("get", "progress", "page", "-p", "crawl")
    done = call("get", "hitz")
    assert (done.returncode, done.stdout) == (1, "")
    assert "It holds: 'progress', 'best', 'hits', 'seen'" in done.stderr


def test_the_shared_state_is_no_program(crawl: Path) -> None:
    """`where` tells of it; alone in the folder it is chosen."""
    found = rows("where")
    assert found["crawl"][0] == ".autostate/crawl.db"
    assert found["(shared)"][:2] == [str(SHARED), "3"]
    assert f"shared with other programs: sqlite:///{crawl}/{SHARED}\n" in told("where")
    Path(".autostate/crawl.db").unlink()
    assert "because programs share it" in told("where")
    assert told("get", "hits", "page") == "5\n"


def test_a_program_may_be_called_shared(crawl: Path) -> None:
    """Its state and what others share are in one file, which is its store then."""
    with autostate.open(f"sqlite:///{SHARED}"):
        autostate.PersistedDict("stock", apples=3)
    assert [*rows("ls", "-p", "shared")] == ["stock", "best", "hits", "seen"]
    assert told("get", "stock", "apples", "-p", "shared") == "3\n"
    assert "crawl, shared. Choose one" in call("ls").stderr


def test_the_environment_names_it(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the program; what cannot be read is told, and all else shown."""
    autostate.configure("memory:", shared="sqlite:///named.db")
    SharedCounter("others")["a"] += 1
    autostate.flush()
    monkeypatch.setenv("AUTOSTATE_SHARED_URL", "sqlite:///named.db")
    assert [*rows("ls")] == ["progress", "others"]
    Path("named.db").write_text("no database at all" * 100)
    done = call("ls")
    assert done.returncode == 0
    assert "progress" in done.stdout
    assert "the shared state in sqlite:///" in done.stderr
    assert "cannot be read" in done.stderr
    for words in (["get", "others"], ["set", "others", "a", "1"], ["reset", "others", "-y"]):
        done = call(*words)  # it may be there
        assert re.fullmatch(r"autostate: the shared state in .* cannot be read: .*\n", done.stderr)
        assert (done.returncode, done.stdout) == (1, "")
    assert told("get", "progress", "page") == "0\n"


def test_verify(crawl: Path) -> None:
    """Of both states; a byte that has changed is found."""
    assert told("verify").count(" records, ") == 2
    data = SHARED.read_bytes()
    at = data.index(b'"number":')
    SHARED.write_bytes(data[:at] + b'"mumber"' + data[at + 8 :])
    done = call("verify")
    assert done.returncode == 1
    assert "is damaged" in done.stderr


def test_reset(crawl: Path) -> None:
    """It is one more process that shares: what others publish later counts from nothing."""
    assert call("reset", "hits").returncode == 2
    assert told("reset", "hits", "--yes") == "hits was reset\n"
    assert told("reset", "seen", "--yes") == "seen was reset\n"
    assert told("get", "hits") == "{}\n"
    assert told("get", "seen") == "[]\n"
    assert rows("ls")["hits"][:2] == ["shared counter", "0"]
    assert programs.run(BESIDE).returncode == 0
    assert told("get", "hits") == '{"page": 3}\n'
    assert told("get", "progress", "page") == "0\n"


def test_what_cannot_be_reset_or_deleted(crawl: Path) -> None:
    """The error says what to do."""
    before = _all_files()
    done = call("delete", "seen", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "`autostate reset seen` brings it to nothing" in done.stderr
    done = call("reset", "best", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "a function merges its values" in done.stderr
    assert _all_files() == before


def test_set_is_one_more_process_that_shares(isolated: Path) -> None:
    """Beside live ones; whoever assigns later wins. The value keeps its type."""
    autostate.configure("memory:", shared=SHARED)
    stock = SharedDict[Any, Any]("stock")
    stock.update(
        {"when": dt.date(2026, 1, 1), "token": autostate.Secret("old"), (1, "a"): {"n": 1}}
    )
    autostate.flush()
    there = str(SHARED)
    assert told("set", "stock", "when", "2026-05-06", "-u", there).startswith('stock["when"] is ')
    assert "n3w" not in told("set", "stock", "token", "n3w", "-u", there)
    found = json.loads(told("set", "stock", "[(1, 'a')].n", "2", "-u", there, "--json"))
    del found["store"]
    path = "stock[(1, 'a')][\"n\"]"
    expected = {"name": "stock", "path": path, "was": 1, "is": 2, "added": False, "shared": True}
    assert found == expected
    stock.refresh()
    assert stock == {
        "when": dt.date(2026, 5, 6),
        "token": autostate.Secret("n3w"),
        (1, "a"): {"n": 2},
    }
    stock["when"] = None
    autostate.flush()
    assert told("get", "stock", "when", "-u", there) == "null\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("hits", "page", "7"), "'hits' is a shared counter, and cannot be set: each process adds"),
        (("seen", "", "[]"), "'seen' is a shared set, and cannot be set"),
        (("best", "", "{}"), "name one of its keys. `autostate reset best`"),
        (("best", "new", "7"), "cannot be set: it is not there. Let a program assign it"),
        (("best", "price", "7"), "a function of its programs merges its values"),
        (("best", "last.0", "x"), "'x' is no JSON"),
        (("best", "last.7", "x"), "there is no '7' in best[\"last\"]"),
    ],
    ids=str,
)
def test_what_cannot_be_set(crawl: Path, words: tuple[str, ...], problem: str) -> None:
    """The error says why; nothing is published."""
    from autostate.cli.parser import COMMANDS

    before = SHARED.read_bytes()
    with pytest.raises((CommandError, StateTypeError), match=re.escape(problem)):
        COMMANDS["set"].run(words)
    assert SHARED.read_bytes() == before


def test_export_takes_shared_objects_by_name(crawl: Path) -> None:
    """As what all have published; `import` makes state objects of it where nobody shares them."""
    told("export", "all.json", "hits", "seen", "progress")
    done = call("import", "all.json", "--replace")
    assert (done.returncode, done.stdout) == (1, "")
    assert "programs share hits, seen, and what is imported belongs to one" in done.stderr
    told("import", "all.json", "-u", "sqlite:///elsewhere/other.db")
    assert told("get", "hits", "-u", "elsewhere/other.db") == '{"page": 5, "image": 1}\n'
    assert json.loads(told("get", "seen", "-u", "elsewhere/other.db")) == ["a", ["b", 1]]
    assert json.loads(told("export", "-", "hits", "-f", "use_state")) == {"page": 5, "image": 1}
    assert [*json.loads(told("export", "-"))["objects"]] == ["progress"]
    for words, problem in (
        (["best"], "best holds several values of 'price', which a function of its programs"),
        (["hitz"], "no program shares one. It holds: 'progress', 'best', 'hits', 'seen'"),
    ):
        refused = call("export", "refused.json", *words)
        assert refused.returncode == 1
        assert problem in refused.stderr
    assert not Path("refused.json").exists()


def test_what_is_shared_has_no_history(isolated: Path) -> None:
    """The past of the program's own state is shown beside it."""
    autostate.configure("sqlite:///.autostate/crawl.db", history=10, shared=SHARED)
    progress = autostate.PersistedDict("progress", page=1)
    SharedCounter("hits")["page"] += 1
    autostate.flush()
    progress["page"] = 2
    autostate.flush()
    assert told("get", "progress", "page", "--at", "1") == "1\n"
    for words in (["get", "hits"], ["export", "-", "hits"]):
        done = call(*words, "--at", "1")
        assert (done.returncode, done.stdout) == (1, "")
        assert "programs share hits, and that has no history" in done.stderr


@pytest.fixture
def job(isolated: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that shares all the time."""
    Path("job.py").write_text(JOB)
    with subprocess.Popen([sys.executable, "job.py"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "shared\n"
        yield process
        process.kill()


def test_beside_a_running_program(job: subprocess.Popen[str], tmp_path: Path) -> None:
    """It is not disturbed; a copy has what it had then, and a reset does not stop it."""
    before = int(told("get", "hits", "page"))
    assert before >= 20
    told("verify")
    told("backup", "copy.db", "--url", str(SHARED))
    assert int(told("get", "hits", "page", "--url", "copy.db")) >= before
    told("copy", str(SHARED), "apify:copy")
    assert int(told("get", "hits", "page", "--url", "apify:copy")) >= before
    assert int(told("get", "hits", "page")) > before
    told("reset", "hits", "--yes")
    while "page" not in json.loads(told("get", "hits")):
        assert job.poll() is None
    job.terminate()
    assert job.wait() == -signal.SIGTERM
    assert int(told("get", "hits", "page")) < int(told("get", "progress", "page"))


def test_after_the_program_was_killed(job: subprocess.Popen[str]) -> None:
    """What it had published is there, and can be copied and reset."""
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert 20 <= int(told("get", "hits", "page")) <= int(told("get", "progress", "page"))
    told("verify")
    told("backup", "copy.db", "--url", str(SHARED))
    assert told("get", "hits", "--url", "copy.db") == told("get", "hits")
    told("reset", "hits", "--yes")
    assert told("get", "hits") == "{}\n"


def test_a_backup_says_what_is_not_in_it(crawl: Path) -> None:
    """And how to go on from it."""
    said = told("backup", "own.db")
    assert f"AUTOSTATE_URL=sqlite:///{crawl}/own.db" in said
    assert f"shares with other programs, in sqlite:///{crawl}/{SHARED}, is not in the copy" in said
    said = told("backup", "shared.db", "--url", str(SHARED))
    assert f"AUTOSTATE_SHARED_URL=sqlite:///{crawl}/shared.db" in said
    assert "AUTOSTATE_URL" not in said
    autostate.configure("memory:", shared=crawl / "shared.db")
    assert SharedCounter("hits") == {"page": 5, "image": 1}
    assert SharedSet("seen") == {"a", ("b", 1)}
    assert SharedDict("best", merge={"price": min}) == {
        "price": 9.5,
        "last": [1, {"title": "first"}],
    }


def test_sign(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared is signed, too, and read with the key alone; `--remove` takes that away."""
    monkeypatch.setenv("AUTOSTATE_KEY", KEY)
    assert "is not signed" in call("ls", "-u", str(SHARED)).stderr
    told("sign", "--yes", "-u", str(SHARED))
    assert told("get", "hits", "page", "-u", str(SHARED)) == "5\n"
    assert programs.run(BESIDE, env={**os.environ}).returncode == 0
    assert told("get", "hits", "page", "-u", str(SHARED)) == "8\n"
    monkeypatch.delenv("AUTOSTATE_KEY")
    assert "is signed" in call("ls", "-u", str(SHARED)).stderr
    monkeypatch.setenv("AUTOSTATE_KEY", KEY)
    told("sign", "--remove", "--yes", "-u", str(SHARED))
    monkeypatch.delenv("AUTOSTATE_KEY")
    assert told("get", "hits", "page", "-u", str(SHARED)) == "8\n"


def test_a_folder_with_shared_objects_alone(isolated: Path) -> None:
    """`doctor` counts them, and `export` says how it takes them."""
    programs.run("from autostate import SharedCounter as C; C('hits')['page'] += 3", isolated)
    found = call("doctor").stdout
    assert "1 objects that programs share" in found
    assert "nothing was ever saved" not in found
    refused = call("export", "out.json")
    assert refused.returncode == 1
    assert "what programs share is exported by its name: hits" in refused.stderr
    assert not Path("out.json").exists()
    told("export", "out.json", "hits")
    assert json.loads(Path("out.json").read_text())["objects"] == {
        "hits": {"$counter": {"page": 3}}
    }

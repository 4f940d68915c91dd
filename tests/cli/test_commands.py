"""The commands, as processes of their own, beside nothing, a job, and a job that was killed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import autostate
from autostate.saving import spill
from tests import programs
from tests.cli.classes import CLASSES

STORE: Final = Path(".autostate/crawl.db")
LOOKS: Final = 3
pytestmark = pytest.mark.usefixtures("forked_programs")

PROGRAM: Final = (
    CLASSES
    + """
class Secret:
    def __reduce__(self):
        return print, ("LOADED",)

@dataclasses.dataclass
class Choice:  # the command has a class of this name, too
    width: int

@dataclasses.dataclass(frozen=True)
class StoredState:  # and of this one
    url: str

with autostate.open("sqlite:///.autostate/crawl.db"):
    shop = Shop()
    shop.page, shop.seen = 5, {1}
    d = autostate.PersistedDict("crawl", pages=[{"title": "first"}, {"title": "ünï"}])
    d.update(big=dict.fromkeys(map(str, range(1000)), 0), point=Point(1, [2]), color=Color.RED)
    d.update({3: "three", (1, 2): 1.5, "when": datetime.datetime(2026, 1, 2), "set": {2, 1}})
    d.update(text="two words", empty="", none=None, shop=shop, raw=b"x", nan=float("nan"))
    d.update(choice=Choice(3), state=StoredState("u"), keys={StoredState("k"): 1})
    d["secret"] = autostate.pickled(Secret())
    d["itself"] = d
    d["a.b"] = {"c": collections.deque([1, 2], maxlen=2)}
    same = [1]
    d["one"], d["other"] = same, same
    autostate.PersistedCounter("hits").update(a=2)
    autostate.PersistedSet("seen").update([1, (2, 3), Color.RED])
    autostate.PersistedDeque("last", maxlen=2).extend([1, 2, 3])
    autostate.proxy("total", 7)
    for item in autostate.resume("loop", [1, 2, 3]):
        break
"""
)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return programs.run_python("-m", "autostate", *arguments)


def told(*arguments: str) -> str:
    """Run a command that succeeds, and says nothing but what was asked for."""
    done = call(*arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a program that has ended."""
    folder = tmp_path_factory.mktemp("crawl")
    (folder / "crawl.py").write_text(PROGRAM)
    env = {name: value for name, value in os.environ.items() if name != "AUTOSTATE_URL"}
    subprocess.run([sys.executable, "crawl.py"], check=True, cwd=folder, env=env)
    return folder


@pytest.fixture
def crawl(isolated: Path, made: Path) -> Path:
    """A store of a program whose classes nobody else has."""
    shutil.copytree(made / ".autostate", isolated / ".autostate")
    return isolated


def _all_files() -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in Path().rglob("*") if each.is_file()}


READING: Final = (
    ["ls"],
    ["ls", "--json"],
    ["show", "crawl"],
    ["show", "crawl", "--json"],
    ["get", "crawl", "text"],
    ["where"],
    ["verify"],
)


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_what_reads_makes_and_changes_nothing(crawl: Path, arguments: list[str]) -> None:
    """Not even a lock file, and nothing that was pickled runs."""
    before = _all_files()
    assert "LOADED" not in told(*arguments)
    assert _all_files() == before


def test_ls(crawl: Path) -> None:
    """Names, kinds, numbers of entries and bytes; a row each in a pipe."""
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in told("ls").splitlines())}
    assert {name: row[:2] for name, row in rows.items()} == {
        "Shop": ["instance of Shop", "2"],
        "crawl": ["dict", "22"],
        "hits": ["counter", "1"],
        "last": ["deque", "2"],
        "loop": ["loop", "1"],
        "seen": ["set", "3"],
        "total": ["proxy", "1"],
    }
    assert int(rows["crawl"][2]) > 5000
    found = json.loads(told("ls", "--json"))
    assert (found["owner"], found["alive"]) == (None, False)
    assert found["last_saved"] > 0
    assert [row["name"] for row in found["objects"]] == list(rows)


VALUES: Final = {
    "text": "two words",
    "empty": "",
    "none": "null",
    "nan": "nan",
    "raw": "eA==",
    "pages.1.title": "ünï",
    '["pages"][1].title': "ünï",
    "pages[-1].title": "ünï",
    "pages.0": '{"title": "first"}',
    "point.x": "1",
    "point": '{"x": 1, "near": [2]}',
    "color": "Color.RED",
    "choice": '{"width": 3}',
    "state.url": "u",
    "keys": """{"StoredState(url='k')": 1}""",
    "shop.page": "5",
    "big.999": "0",
    "3": "three",
    "[3]": "three",
    "[(1, 2)]": "1.5",
    "when": "2026-01-02T00:00:00",
    "set": "[1, 2]",
    '["a.b"].c': "[1, 2]",
    "secret": "<pickled>",
    "itself.itself.text": "two words",
    "other": "[1]",
}


MAIN: Final = "from autostate.cli import main; main()"
GETS: Final = """
import sys
from autostate.cli import commands
for path in sys.argv[1:]:
    sys.argv[1:] = ["get", "crawl", path]
    try:
        commands.run()
    except SystemExit as end:
        assert not end.code
"""


def test_get(crawl: Path) -> None:
    """One value, plain: by a path as messages have it, or with points."""
    done = subprocess.run(
        [sys.executable, "-c", GETS, *VALUES], capture_output=True, text=True, check=True
    )
    assert dict(zip(VALUES, done.stdout.splitlines(), strict=True)) == VALUES
    assert told("get", "crawl", "pages", "1", "title") == "ünï\n"
    assert told("get", "total", "") == told("get", "total") == "7\n"
    assert told("get", "seen") == '["Color.RED", 1, [2, 3]]\n'


@pytest.mark.parametrize("path", ["missing", "pages.2", "pages.x", "text.0", "point.z", "3.4"])
def test_get_of_nothing(crawl: Path, path: str) -> None:
    """Exit code 1, nothing on standard output, and one line that says from where on."""
    done = call("get", "crawl", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("autostate: there is no ")
    assert done.stderr.count("\n") == 1


def test_a_name_that_is_not_there_lists_those_that_are(crawl: Path) -> None:
    """For all commands that take one."""
    for command in ("show", "get", "reset", "delete"):
        done = call(command, "craw")
        assert (done.returncode, done.stdout) == (1, "")
        assert "It holds: 'Shop', 'crawl', 'hits'" in done.stderr


def test_show(crawl: Path) -> None:
    """As Python writes it; objects as their fields."""
    shown = told("show", "crawl")
    assert "'point': Point(x=1, near=[2])" in shown
    assert "'itself': ..." in shown
    assert "'shop': Shop(page=5, seen={1})" in shown
    assert told("show", "Shop") == "Shop(page=5, seen={1})\n"
    found = json.loads(told("show", "crawl", "--json"))
    assert found["point"] == {"x": 1, "near": [2]}
    assert found["itself"] == "…"
    assert len(found["big"]) == 1000


def _on_a_terminal(*arguments: str, answer: str = "", width: int = 120) -> tuple[int, str]:
    """Run a command on a real terminal; give its exit code and what is seen."""
    command = [sys.executable, "-m", "autostate", *arguments]
    return _of_terminal(command, answer=answer, width=width)


def _of_terminal(command: list[str], *, answer: str = "", width: int = 120) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color"}
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    ) as process:
        os.close(theirs)
        seen = b""
        if answer:
            os.write(ours, answer.encode())
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                seen += data
        os.close(ours)
    return process.returncode, seen.decode().replace("\r\n", "\n")


_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


def test_a_table_on_a_terminal(crawl: Path) -> None:
    """With a heading, and who owns the state."""
    code, seen = _on_a_terminal("ls")
    assert code == 0
    lines = [line.rstrip() for line in seen.splitlines()]
    assert lines[0].endswith(".autostate/crawl.db")
    assert lines[1].startswith("last saved: ")
    assert lines[1].endswith("; owner: none")
    assert [_COLOURS.sub("", line).split()[0] for line in lines[2:]] == [
        *("name", "Shop", "crawl", "hits", "last", "loop", "seen", "total")
    ]


def test_what_is_long_is_cut_on_a_terminal_only(crawl: Path) -> None:
    """Unless all of it is asked for."""
    code, seen = _on_a_terminal("show", "crawl", "big")
    assert code == 0
    assert "+900" in _COLOURS.sub("", seen)
    assert seen.count("\n") < 150
    assert _on_a_terminal("show", "crawl", "big", "--all")[1].count("\n") >= 1000


def test_a_terminal_is_asked(crawl: Path) -> None:
    """And only a yes is one."""
    code, seen = _on_a_terminal("reset", "hits", answer="n\n")
    assert code == 1
    assert "Reset hits in" in seen
    assert "hits" in told("ls")
    assert _on_a_terminal("reset", "hits", answer="y\n")[0] == 0
    assert "hits" not in told("ls")


@pytest.mark.parametrize("command", ["reset", "delete"])
def test_reset_and_delete(crawl: Path, command: str) -> None:
    """The program begins from its defaults; all else is as it was."""
    refused = call(command, "hits")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    before_files = {each.name for each in STORE.parent.iterdir()}
    before = told("show", "crawl"), told("show", "Shop"), told("show", "loop")
    assert told(command, "hits", "--yes")
    assert (told("show", "crawl"), told("show", "Shop"), told("show", "loop")) == before
    with autostate.open(STORE, readonly=True):
        assert "hits" not in autostate.names()
    assert {each.name for each in STORE.parent.iterdir()} == before_files


FULL: Final = """
import resource, sys
sys.dont_write_bytecode = True  # Python 3.11 would leave a part of it
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # of each file, as where a disk is full
from autostate.cli.commands import run
run()
"""


@pytest.mark.parametrize("command", ["reset", "delete"])
def test_what_has_failed_does_not_happen_later(crawl: Path, command: str) -> None:
    """A full disk is an error; nothing is left that the next start would pick up."""
    done = programs.run_python("-c", FULL, command, "hits", "--yes")
    assert done.returncode == 1
    told_once = r"autostate: the last save failed: .* check the disk and its quota\n"
    assert re.fullmatch(told_once, done.stderr)
    assert not spill.pending(f"sqlite:///{STORE.absolute()}")
    with autostate.open(STORE, on_unknown="keep"):
        assert "hits" in autostate.names()
    assert told("get", "hits", "a") == "2\n"


def test_reset_lets_a_record_be_taken_over_again(isolated: Path) -> None:
    """What `adopt` has noted goes with it; with `delete` it stays."""
    folder = Path("storage/key_value_stores/default")
    folder.mkdir(parents=True)
    (folder / "RECORD.json").write_text('{"page": 9}')
    described = '{"key": "RECORD", "content_type": "application/json"}'
    (folder / "RECORD").write_text('{"page": 9}')
    (folder / "RECORD.__metadata__.json").write_text(described)

    def adopted() -> int:
        with autostate.open("sqlite:///s.db"):
            return int(autostate.adopt("RECORD", {"page": 1})["page"])

    assert adopted() == 9
    told("delete", "RECORD", "--yes", "--url", "s.db")
    assert adopted() == 1
    told("reset", "RECORD", "--yes", "--url", "s.db")
    assert adopted() == 9


class TestChoosing:
    """Which store it is."""

    def test_where(self, crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And why."""
        assert "because it is the only store in .autostate" in told("where")
        assert "crawl\t.autostate/crawl.db\t7\t" in told("where")
        monkeypatch.setenv("AUTOSTATE_URL", "sqlite:///other.db")
        assert told("where").startswith("sqlite:///other.db\nbecause the environment variable")
        assert told("where", "-p", "crawl").startswith("sqlite:///.autostate/crawl.db\nbecause it")
        monkeypatch.delenv("AUTOSTATE_URL")
        Path(".actor").mkdir()
        assert told("where").startswith("apify:\nbecause this is an Actor")

    def test_a_store_for_each_program(self, crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variable says where; the option says which."""
        (crawl / "state").mkdir()
        (crawl / STORE).rename(crawl / "state" / "crawl.db")
        monkeypatch.setenv("AUTOSTATE_URL", "sqlite:///state/{program}.db")
        assert "--program NAME" in call("ls").stderr
        for name in ("crawl", "crawl.py"):
            assert told("get", "crawl", "text", "--program", name) == "two words\n"
        assert "says the environment variable AUTOSTATE_URL" in told("where", "-p", "crawl")

    def test_there_are_several(self, crawl: Path) -> None:
        """They are listed, with the way to choose."""
        with autostate.open("sqlite:///.autostate/shop.db"):
            autostate.PersistedDict("stock", apples=3)
        for command in (["ls"], ["get", "stock", "apples"], ["verify"], ["reset", "stock", "-y"]):
            done = call(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert "crawl, shop. Choose one: --program crawl" in done.stderr
        assert told("get", "stock", "apples", "--program", "shop") == "3\n"
        assert told("get", "stock", "apples", "-u", ".autostate/shop.db") == "3\n"
        assert told("get", "stock", "apples", "-u", "sqlite:///.autostate/shop.db") == "3\n"
        assert "shop\t" in told("where")

    def test_an_actor_ran_here(self, isolated: Path) -> None:
        """Alone, and beside a program."""
        with autostate.open("apify:"):
            autostate.PersistedDict("stock", apples=3)
        assert told("get", "stock", "apples") == "3\n"
        assert told("where").startswith("apify:\nbecause an Actor that ran here has a state in")
        folder = isolated / "storage" / "key_value_stores" / "default"
        assert f"an Actor\t{folder}\t1\t" in told("where")
        with autostate.open("sqlite:///.autostate/crawl.db"):
            autostate.PersistedDict("crawl")
        done = call("ls")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"Choose one: --program crawl; and that of an Actor in {folder}" in done.stderr
        assert told("get", "stock", "apples", "--url", "apify:") == "3\n"

    def test_there_is_none(self, isolated: Path) -> None:
        """Nothing is made."""
        for command in (["ls"], ["get", "a"], ["reset", "a", "-y"], ["backup", "b.db"]):
            done = call(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert "holds no store" in done.stderr
        assert call("ls", "-u", "missing.db").returncode == 1
        assert call("delete", "x", "-y", "-u", "missing.db").returncode == 1
        assert call("ls", "-p", "missing").returncode == 1
        assert list(isolated.iterdir()) == []


def test_what_could_not_be_saved_is_not_shown_in_silence(crawl: Path) -> None:
    """It is added by the next start of the program."""
    made = spill.write(f"sqlite:///{STORE}", spill.Base((None,)), [b"{}"])
    for command in (["ls"], ["show", "hits"], ["get", "crawl", "pages"]):
        done = call(*command)
        assert done.returncode == 0
        assert f"{made} holds changes that a process could not save" in done.stderr


JOB: Final = """
import itertools, sys, time, autostate
autostate.configure(debounce=0, max_delay=0.01)
d = autostate.PersistedDict("progress", page=0)
for number in itertools.count(1):
    d["page"] = number
    if number == 20:
        autostate.flush()
        print("saved", flush=True)
    if number > 20 and len(sys.argv) > 1 and not number % 50:
        failed = autostate.statistics().failures
        if failed:
            print("FAILED", failed, flush=True)
    time.sleep(0.001)
"""


@pytest.fixture
def job(isolated: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that saves all the time."""
    Path("job.py").write_text(JOB)
    with subprocess.Popen(
        [sys.executable, "job.py", "tell"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "saved\n"
        yield process
        process.kill()


def test_beside_a_running_job(job: subprocess.Popen[str]) -> None:
    """What reads reads on; what writes is refused, and names the job."""
    before = 0
    for _ in range(LOOKS):
        page = int(told("get", "progress", "page"))
        assert page >= before
        before = page
    found = json.loads(told("ls", "--json"))
    assert (found["owner_pid"], found["alive"]) == (job.pid, True)
    assert "job.py" in found["owner"]
    assert f"process {job.pid} (job.py)" in told("where")
    assert told("verify").endswith("nothing is damaged\n")
    assert f"process {job.pid}" in _on_a_terminal("ls", width=200)[1]
    assert told("backup", "copy.db")
    for command in ("reset", "delete"):
        done = call(command, "progress", "--yes")
        assert (done.returncode, done.stdout) == (75, "")
        assert f"the state belongs to process {job.pid} (job.py)" in done.stderr
        assert done.stderr.count("\n") == 1
    assert job.poll() is None
    later = int(told("get", "progress", "page"))
    assert later > before
    assert int(told("get", "progress", "page", "-u", "copy.db")) >= before
    job.terminate()
    assert job.stdout is not None
    assert job.stderr is not None
    assert (job.stdout.read(), job.stderr.read()) == ("", "")


def test_after_the_job_was_killed(job: subprocess.Popen[str]) -> None:
    """The owner is named as one that is not alive, and is in nobody's way."""
    job.send_signal(signal.SIGKILL)
    job.wait()
    found = json.loads(told("ls", "--json"))
    assert (found["owner_pid"], found["alive"]) == (job.pid, False)
    assert "not alive" in told("where")
    assert int(told("get", "progress", "page")) >= 20
    told("reset", "progress", "-y")
    assert told("ls") == ""


class TestVerify:
    """Whatever is damaged is found."""

    @pytest.mark.parametrize("kind", ["head", "seg", "owner"])
    def test_a_byte_has_changed(self, crawl: Path, kind: str) -> None:
        """In a record of any kind."""
        with sqlite3.connect(STORE) as connection:
            query = "SELECT key, value FROM records WHERE key LIKE ?"
            [key, value] = connection.execute(query, (f"autostate-{kind}%",)).fetchone()
            damaged = value[:-5] + bytes([value[-5] ^ 1]) + value[-4:]
            connection.execute("UPDATE records SET value = ? WHERE key = ?", (damaged, key))
        connection.close()
        done = call("verify")
        assert done.returncode == 1
        assert f"the record {key} is damaged" in done.stderr

    def test_the_file_is_cut_short(self, crawl: Path) -> None:
        """So that SQLite itself cannot read it, or a page is missing."""
        data = STORE.read_bytes()
        for length in (0, 1000, len(data) - 4096):
            STORE.write_bytes(data[:length])
            done = call("verify")
            assert (done.returncode, done.stdout) == (1, "")
            assert "autostate: " in done.stderr
            assert "Traceback" not in done.stderr

    def test_delete_keeps_aside_what_is_damaged(self, crawl: Path) -> None:
        """As the message of the damage says; `reset` does not."""
        with sqlite3.connect(STORE) as connection:
            connection.execute(
                "UPDATE records SET value = CAST(value || ' ' AS BLOB) "
                "WHERE key LIKE 'autostate-head%'"
            )
        connection.close()
        assert call("reset", "hits", "-y").returncode == 1
        assert call("delete", "hits", "-y").returncode == 0
        assert "unreadable records are kept" in told("verify")


def test_backup_says_how_to_move_it(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints works. A missing folder is not made: its name may have a mistake in it."""
    done = call("backup", "elsewhere/copy.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no folder {crawl}/elsewhere: make it first" in done.stderr
    for each in ("elsewhere", "named"):
        Path(each).mkdir()
    line, key = told("backup", "elsewhere/copy.db").splitlines()[-2:]
    assert f"{crawl}/elsewhere/copy.db.key need that file, too" in key
    [url] = [word.partition("=")[2] for word in line.split() if word.startswith("AUTOSTATE_URL=")]
    monkeypatch.setenv("AUTOSTATE_URL", url)
    assert told("get", "crawl", "text") == "two words\n"
    done = call("backup", "elsewhere/copy.db")
    assert done.returncode == 1
    assert "is there already" in done.stderr
    monkeypatch.delenv("AUTOSTATE_URL")
    assert f"sqlite:///{crawl}/named/copy.db\n" in told("backup", "sqlite:///named/copy.db")
    assert "is no file on this machine" in call("backup", "apify:copy").stderr
    assert not list(crawl.glob("*:*"))


def test_copy_says_how_to_go_on(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints works, in both directions; nothing is overwritten."""
    monkeypatch.setenv("AUTOSTATE_KEY", "a secret of the user's own")
    assert call("copy", str(STORE), "apify:copy").returncode == 1  # it is not signed
    monkeypatch.delenv("AUTOSTATE_KEY")
    assert "holds pickled values" in call("copy", str(STORE), "apify:copy").stderr
    told("delete", "crawl", "-y")
    line = told("copy", str(STORE), "apify:copy").splitlines()[-1]
    assert line.endswith("AUTOSTATE_URL=apify:copy")
    assert "holds a state" in call("copy", str(STORE), "apify:copy").stderr
    told("copy", "apify:copy", "back.db")
    assert told("get", "hits", "--url", "back.db") == told("get", "hits", "--url", "apify:copy")
    assert "is there already" in call("copy", "apify:copy", "back.db").stderr


def test_without_rich(crawl: Path) -> None:
    """Tables and values are plain, and short on a terminal all the same."""
    for arguments in (["ls"], ["show", "crawl", "big"]):
        code = f"import sys; sys.modules['rich'] = None; sys.argv[1:] = {arguments!r}"
        _, seen = _of_terminal([sys.executable, "-c", f"{code}\n{MAIN}"])
        if arguments == ["ls"]:
            rows = [line.split() for line in seen.splitlines()]
            assert rows[2] == ["name", "kind", "entries", "bytes"]
            assert rows[4][:3] == ["crawl", "dict", "22"]
        elif "big" in arguments:
            assert seen.splitlines()[-1] == "… and 900 more lines: --all shows them"

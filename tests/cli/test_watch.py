"""`autostate watch`: a state, live, of a program that runs, was killed, or was taken over from."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from struct import pack
from typing import Any, Final

import pytest

import autostate
from autostate.cli.differences import Difference
from autostate.cli.frame import ago, cut, frame, plot, width_of
from autostate.cli.watching import LARGE, MOST_SKIPPED, Watched, changes
from autostate.errors import CorruptStateError, StoreError
from autostate.runtime.stored_state import StoredState, read_state
from tests.cli.test_commands import call, job  # noqa: F401 - a fixture
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")

URL: Final = "sqlite:///crawl.db"
_STYLE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


_ON_ITS_TERMINAL: Final = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # whose Ctrl-C is for it
from autostate.cli import main
main()
"""


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


def watched(clock: Clock, url: str = URL) -> Watched:
    """A state that is watched, and was looked at once."""
    made = Watched(url, monotonic=clock, clock=clock)
    made.look()
    return made


def seen(state: Watched) -> list[str]:
    """What has changed, as a line each."""
    return [
        each.what if isinstance(each.what, str) else f"{each.what.kind} {each.what.path}"
        for each in state.changes
    ]


def test_what_has_changed(isolated: Path, clock: Clock) -> None:
    """By entry, at any depth, in containers of any kind and size."""
    with autostate.open(URL, debounce=1000, max_delay=1000):
        d = autostate.PersistedDict("d", page=1, old=1, deep={"a": [1, {"b": 2}]}, gone={})
        d["big"] = dict.fromkeys(map(str, range(300)), 0)
        queue = autostate.PersistedDeque("queue", range(5))
        tags = autostate.PersistedSet("tags", ["a"])
        autostate.flush()
        state = watched(clock)
        before = state.state
        assert before is not None
        assert seen(state) == []
        d["page"] = 2
        d["deep"]["a"][1]["b"] = 3
        d["new"] = "x"
        d["big"]["7"] = 1
        del d["old"]
        queue.popleft()
        queue.append(9)
        tags.add("b")
        autostate.PersistedList("rows", [1])
        autostate.flush()
        clock.now += 1
        state.look()
    found = seen(state)
    assert (
        len([each for each in found if each.startswith(("added d", "changed d", "removed d"))]) == 3
    )
    assert "d: 2 more changes" in found
    assert {"added queue[4]", "removed queue[-1]", "added rows", "added tags"} <= {*found}
    assert state.state is not None
    paths = {difference.path for _, difference in changes(before, state.state)}
    assert {
        *('d["page"]', 'd["old"]', 'd["new"]'),
        *('d["deep"]["a"][1]["b"]', 'd[…]["7"]'),
    } <= paths
    clock.now += 1
    state.look()
    assert seen(state)[-1].startswith("owner: process")
    assert seen(state)[-1].endswith("→ none")


def test_rates(isolated: Path, clock: Clock) -> None:
    """Of the last looks; entries that are replaced are written, but do not grow."""
    with autostate.open(URL, debounce=1000, max_delay=1000):
        d = autostate.PersistedDict[int, int]("d")
        autostate.flush()
        state = watched(clock)
        assert (state.growth("d"), state.rate("d")) == (0.0, 0.0)
        for number in range(20):
            d.update({0: number, number + 1: 0, number + 2: 0})
            autostate.flush()
            clock.now += 2
            state.look()
    assert state.growth("d") == 0.5
    assert state.rate("d") == 1.0
    assert [*state.writes["d"]] == [0, 3, *[2] * 19]
    assert len(state.changes) == 41


def test_a_large_state_is_not_read_again_in_vain(
    isolated: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only now and then, for its owner may have been killed."""
    reads: list[str] = []

    def read(url: str) -> StoredState:
        reads.append(url)
        return read_state(url)

    monkeypatch.setattr("autostate.cli.watching.read_state", read)
    with autostate.open(URL):
        d = autostate.PersistedDict("d", text="x" * LARGE)
    state = watched(clock)
    for _ in range(2 * (MOST_SKIPPED + 1)):
        state.look()
    assert len(reads) == 1 + 2
    with autostate.open(URL):
        d = autostate.PersistedDict("d")
        d["page"] = 1
        autostate.flush()
        state.look()
    assert len(reads) == 1 + 3
    assert seen(state)[-1] == 'added d["page"]'


def test_shared_objects(isolated: Path, clock: Clock) -> None:
    """They are watched, too."""
    adds = (
        "import autostate; autostate.configure('memory:', shared='sqlite:///shared.db'); "
        "autostate.SharedCounter('hits')['a'] += 1"
    )
    assert run(adds).returncode == 0
    state = watched(clock, "sqlite:///shared.db")
    assert run(adds).returncode == 0
    state.look()
    assert seen(state) == ['changed hits["a"]']
    assert [*state.writes["hits"]] == [0, 1]


def test_what_cannot_be_read(isolated: Path, clock: Clock) -> None:
    """Is an error at first; later it is told, and the state is watched on."""
    with pytest.raises(StoreError):
        watched(clock)
    with autostate.open(URL):
        autostate.PersistedDict("d", page=1)
    whole = Path("crawl.db").read_bytes()
    state = watched(clock)
    Path("crawl.db").write_bytes(whole.replace(b'"page":1', b'"page":2'))
    with pytest.raises(CorruptStateError):
        watched(clock)
    for _ in range(2):
        state.look()
    assert "is damaged" in str(state.problem)
    assert "CANNOT BE READ: " in "\n".join(frame(state, 80, 24, 1.0))
    Path("crawl.db").write_bytes(whole)
    state.look()
    assert str(state.problem) == "None"
    assert [each.partition(":")[0] for each in seen(state)] == [
        "cannot be read",
        "can be read again",
    ]


def test_a_shared_state_that_cannot_be_read(
    isolated: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told in the picture, once, and not beside it; the program's own is shown."""
    with autostate.open(URL):
        autostate.PersistedDict("d", page=1)
    Path("shared.db").write_text("no database at all" * 100)
    state = watched(clock)
    state.look()
    assert [*state.rows] == ["d"]
    assert "is not an SQLite database" in str(state.problem)
    assert len(seen(state)) == 1
    Path("shared.db").unlink()
    state.look()
    assert str(state.problem) == "None"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_picture_fits(isolated: Path, clock: Clock, width: int) -> None:
    """Whatever names, keys and values are, and however many objects there are."""
    with autostate.open(URL):
        long = autostate.PersistedDict("名前" * 40)
        for number in range(30):
            autostate.PersistedDict(f"d{number}")
        autostate.flush()
        state = watched(clock)
        long["\x1b[31m鍵\n"] = "値\x9b" * 300
        autostate.flush()
        clock.now += 1
        state.look()
    for height in (24, 50, 8):
        lines = frame(state, width, height, 1.0)
        assert len(lines) == height
        assert max(map(width_of, lines)) <= width
        assert all(line.isprintable() for line in lines)
        if height == 24:
            assert any("and 19 more" in line for line in lines)
            assert any(r"\x1b[31m" in line or "…" in line for line in lines)
        assert lines[-1].startswith("every 1 s; q ends")


def test_small_parts_of_a_picture() -> None:
    """Plots, durations, and texts that are cut."""
    assert plot([0, 1, 4, 8]) == " ▂▅█"
    assert plot([]) == ""
    assert plot([0, 0]) == "  "
    assert [*map(ago, (0.25, 11, 150, 90000))] == ["0.2 s", "11 s", "2 min", "25 h"]
    assert (cut("日本語", 4), cut("abc", 3), cut("abcd", 3), cut("a", 0)) == (
        "日…",
        "abc",
        "ab…",
        "",
    )


class Terminal:
    """A command on a terminal of its own.

    Args:
        width: Its columns.
        arguments: The arguments of the command.
    """

    def __init__(self, width: int, *arguments: str) -> None:
        self._ours, self._theirs = pty.openpty()
        ioctl(self._theirs, termios.TIOCSWINSZ, pack("HHHH", 24, width, 0, 0))
        self._before = termios.tcgetattr(self._theirs)
        self.text = ""
        environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_ITS_TERMINAL, *arguments],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=environ | {"TERM": "xterm-256color"},
            start_new_session=True,
        )

    def read_until(self, pattern: str) -> None:
        """Read what is drawn until it has a pattern."""
        while not re.search(pattern, self.text):
            ready, _, _ = select.select([self._ours], [], [], 60)
            assert ready, self.text
            self.text += os.read(self._ours, 65536).decode()

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self._ours, key.encode())

    def end(self) -> int:
        """Wait for its end, and read the rest."""
        code = self.process.wait()
        while select.select([self._ours], [], [], 0)[0]:
            self.text += os.read(self._ours, 65536).decode()
        assert termios.tcgetattr(self._theirs) == self._before
        return code

    @property
    def last(self) -> list[str]:
        """The lines of the last picture."""
        picture = self.text.rpartition("\x1b[H")[2].partition("\x1b[J")[0]
        return [_STYLE.sub("", line).rstrip() for line in picture.split("\r\n")]

    def close(self) -> None:
        """Give the terminal back."""
        self.process.kill()
        self.process.wait()
        for each in (self._ours, self._theirs):
            os.close(each)


@contextmanager
def terminal(width: int, *arguments: str) -> Iterator[Terminal]:
    """A command on a terminal."""
    made = Terminal(width, *arguments)
    try:
        yield made
    finally:
        made.close()


def test_on_a_terminal(job: subprocess.Popen[str]) -> None:  # noqa: F811
    """Of a program that runs, and is killed meanwhile; q ends, and the screen is as before."""
    with terminal(80, "watch", "--interval", "0.1") as shown:
        shown.read_until(r"~ progress\[\"page\"\]: \d+ → \d+")
        lines = shown.last
        assert len(lines) == 24
        assert max(map(width_of, lines)) <= 80
        assert lines[1].startswith(f"owner: process {job.pid} (job.py), since ")
        assert re.match(r"saved .* ago; 1 entries, [+]0.0/s; .* writes/s; .* bytes", lines[2])
        assert lines[4].split() == ["name", "kind", "entries", "+/s", "writes/s", "bytes", "writes"]
        assert lines[5].split()[:3] == ["progress", "dict", "1"]
        job.send_signal(signal.SIGKILL)
        job.wait()
        shown.read_until(r"owner: .* → .*not alive|, not alive")
        shown.press("q")
        assert shown.end() == 0
        assert shown.text.startswith("\x1b[?1049h\x1b[?25l")
        assert shown.text.endswith("\x1b[?25h\x1b[?1049l")


@pytest.mark.parametrize("how", ["\x03", "SIGTERM"])
def test_ctrl_c_ends(isolated: Path, how: str) -> None:
    """And so does SIGTERM: the terminal is given back."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("progress", page=1)
    with terminal(200, "watch") as shown:
        shown.read_until("q ends")
        assert max(map(width_of, shown.last)) <= 200
        if how == "SIGTERM":
            shown.process.terminate()
        else:
            shown.press(how)
        assert shown.end() == (143 if how == "SIGTERM" else 0)
        assert shown.text.endswith("\x1b[?25h\x1b[?1049l")


def test_lines(isolated: Path) -> None:
    """Without a terminal; also as JSON."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("progress", page=1)
        autostate.flush()
        done = call("watch", "--count", "2", "--interval", "0.01")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[1:4] for line in lines] == [["1 entries", "+0.0/s", "0.0 writes/s"]] * 2
    assert lines[1][-1].endswith(", alive")
    done = call("watch", "--count", "1", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["objects"] == [
        {
            "name": "progress",
            "kind": "dict",
            "entries": 1,
            "growth": 0.0,
            "writes": 0.0,
            "bytes": found["objects"][0]["bytes"],
        }
    ]
    assert (found["problem"], found["alive"]) == (None, False)
    assert found["staleness"] >= 0


@pytest.mark.parametrize("words", [["--interval", "x"], ["--interval", "0"], ["--count", "0"]])
def test_wrong_numbers(isolated: Path, words: list[str]) -> None:
    """Are told, before anything is drawn."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("progress", page=1)
    done = call("watch", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{words[1]!r} is no number of" in done.stderr


def test_a_takeover_is_seen(isolated: Path, clock: Clock) -> None:
    """The new owner, and what it has saved; the former one is fenced."""
    code = (
        "import autostate, sys\nwith autostate.open('sqlite:///crawl.db', takeover=True):\n"
        "    autostate.PersistedDict('d')[sys.argv[1]] = 1\n    autostate.flush()\n"
        "    print('saved', flush=True)\n    sys.stdin.readline()\n"
    )
    with _running(code, "a"):
        state = watched(clock)
        with _running(code, "b"):
            state.look()
            owners = [each for each in seen(state) if each.startswith("owner: ")]
            assert len(owners) == 1
            assert isinstance(state.changes[-1].what, Difference)
            assert state.changes[-1].what.path == 'd["b"]'


@contextmanager
def _running(code: str, key: str) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", code, key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "saved\n"
        yield
        with suppress(ProcessLookupError):
            process.kill()

"""A copy of the database file is a state that was committed, or an error; never empty, never a mix.

Whoever copies `state.db` of a running program with `cp` gets pages of several moments.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict
from autostate.errors import AutostateError, CorruptStateError
from autostate.journal import Journal
from autostate.stores.sqlite import SqliteStore
from tests.campaign import Tally, size
from tests.crash.unfinished import leave_unfinished

pytestmark = pytest.mark.campaign(name="copies")

ROOT = Path(__file__).parent.parent.parent
PAGE = 4096
MIXES = size("COPIES", 400)


class History:
    """Commits to a database, with the bytes of the file and the state after each."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path, self.rng = path, rng
        self.files: list[bytes] = []
        self.states: list[str] = []
        self.pages: dict[str, object] = {}

    def live(self) -> None:
        """Commit some times, as one process would."""
        rng, store = self.rng, SqliteStore(self.path)
        assert store._connection is not None
        store._connection.execute("PRAGMA synchronous = OFF")  # nobody takes the power away
        inline, part = rng.choice([150, 2000, 16_384]), rng.choice([700, 5000, 1 << 20])
        journal = Journal(store, inline_limit=inline, part_limit=part)
        journal.recover()
        for _ in range(rng.randrange(5, 40)):
            size = rng.choice([10, 500, 5000])
            put = {"n": len(self.files), f"key{rng.randrange(50)}": "x" * size}
            begin = {} if self.pages else {"kind": "dict", "name": "pages"}
            self.pages.update(put)
            journal.commit([json.dumps({"id": 1, **begin, "put": put}).encode()])
            if rng.random() < 0.1:
                self.note()
                journal.compact(pause=lambda: None)
            self.note()
        store.close()

    def note(self) -> None:
        """Keep the file as it is between two commits, when SQLite holds no lock on it."""
        self.files.append(self.path.read_bytes())
        self.states.append(json.dumps(self.pages, sort_keys=True))

    def mixed(self) -> tuple[bytes, list[str]]:
        """Pages of several moments, and the states of these moments."""
        rng = self.rng
        first = rng.randrange(len(self.files) - 1)
        window = slice(first, first + 1 + rng.choice([1, 1, 1, 2, 5, 20]))
        files = self.files[window]
        pages = max(map(len, files)) // PAGE
        if rng.random() < 0.5:  # as `cp` does it: a later page is of the same moment or of a later
            ends = sorted(rng.randrange(pages + 1) for _ in files[1:])
            moments = [sum(end <= page for end in ends) for page in range(pages)]
        else:  # as the writer does it: some pages are new, in no order
            moments = [rng.randrange(len(files)) for _ in range(pages)]
        pieces = [
            files[moment][page * PAGE : (page + 1) * PAGE] for page, moment in enumerate(moments)
        ]
        return b"".join(itertools.takewhile(bool, pieces)), self.states[window]


def read(path: Path) -> str:
    """What a next process would find in a database."""
    store = SqliteStore(path)
    try:
        nodes = Journal(store).recover().nodes.values()
        return json.dumps({node.name: dict(node.content) for node in nodes}.get("pages"))
    finally:
        store.close()


def outcome(path: Path, states: list[str]) -> str:
    """Read a copy: it must be one of the states, or an error; then remove it."""
    try:
        found = json.dumps(json.loads(read(path)), sort_keys=True)
    except AutostateError as error:
        return type(error).__name__
    finally:
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()
    assert found in states, "the copy was read as a state that was never there"
    return "a state"


@pytest.fixture
def history(tmp_path: Path, rng: random.Random) -> History:
    """A database of several processes."""
    made = History(tmp_path / "state.db", rng)
    for _ in range(4):
        made.live()
    return made


def test_a_copy_with_pages_of_several_moments_is_found_out(
    history: History, tmp_path: Path, tally: Tally
) -> None:
    """Whatever pages of whatever commits it has: it reads as one of their states, or not at all."""
    found: Counter[str] = Counter()
    for _ in range(MIXES):
        content, states = history.mixed()
        (tmp_path / "copy.db").write_bytes(content)
        found[outcome(tmp_path / "copy.db", states)] += 1
        tally.tried()
    assert found["a state"]
    assert found.total() > found["a state"]


def test_a_file_that_is_cut_short_is_an_error(
    history: History, tmp_path: Path, tally: Tally
) -> None:
    """At whatever byte it ends, also before the first."""
    whole, rng = history.files[-1], history.rng
    lengths = {0, 1, 50, 100, 511, 512, len(whole) - PAGE, len(whole) - 1}
    lengths |= {rng.randrange(len(whole)) for _ in range(100)}
    for length in lengths:
        (tmp_path / "copy.db").write_bytes(whole[:length])
        assert outcome(tmp_path / "copy.db", []) in ("DamagedStoreError", "StoreError")
        tally.tried()
    with pytest.raises(CorruptStateError, match=r"is empty.*Restore it"):
        (tmp_path / "copy.db").touch()
        SqliteStore(tmp_path / "copy.db")


@pytest.fixture
def unfinished(tmp_path: Path) -> tuple[Path, list[str]]:
    """The files that a kill in the middle of a large commit leaves, and the state before it."""
    made = History(tmp_path / "state.db", random.Random(1))
    made.live()
    keys = {f"key{number}": "y" * 3000 for number in range(50)}
    change = json.dumps({"id": 1, "put": {"n": -1, **keys}}).encode()
    copied = tmp_path / "killed"
    leave_unfinished(made.path, copied, Journal, [change])
    return copied / "state.db", made.states[-1:]


def test_what_a_kill_leaves_is_the_state_before(unfinished: tuple[Path, list[str]]) -> None:
    """The journal beside the file takes back what the killed process had begun."""
    path, states = unfinished
    assert path.with_name("state.db-journal").stat().st_size
    assert outcome(path, states) == "a state"


def test_what_a_kill_leaves_without_the_journal_is_found_out(
    unfinished: tuple[Path, list[str]],
) -> None:
    """A copy of the file alone: it reads as the state before, or not at all."""
    path, states = unfinished
    path.with_name("state.db-journal").unlink()
    assert outcome(path, states) != "a state"


WORKER = """
import sys
import autostate

autostate.configure(sys.argv[1], debounce=3600)
state = autostate.PersistedDict("state")
for n in range(1, 1_000_000):
    with autostate.atomic():
        state["n"] = n
        state.update((str(key), [n, "x" * 500]) for key in range(n % 7, 600, 7))
    autostate.flush()
    print(n, flush=True)
"""


class Worker:
    """A process that commits without a pause, and says what was acknowledged."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, f"sqlite:///{path}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.acknowledged()

    def acknowledged(self) -> int:
        """Wait for the next number that is acknowledged."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def kill(self) -> int:
        """Kill it; give the last number that it acknowledged."""
        self._process.kill()
        assert self._process.stdout is not None
        lines = self._process.stdout.read().split("\n")
        self._process.stdout.close()
        assert self._process.wait() == -9
        return int(lines[-2]) if len(lines) > 1 else 0


def number(path: Path) -> int | None:
    """The number of the state in a copy, which must be whole; None for an error."""
    try:
        with autostate.open(f"sqlite:///{path}"):
            state: PersistedDict[str, object] = PersistedDict("state")
            n = state["n"]
            assert isinstance(n, int)
            for key in range(600):
                written = next((m for m in range(n, max(0, n - 7), -1) if m % 7 == key % 7), None)
                found: object = state.get(str(key))
                assert (found[0] if isinstance(found, list) else None) == written
            return n
    except CorruptStateError:
        return None
    finally:
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()


def test_a_copy_of_a_running_program_is_a_state_or_an_error(tmp_path: Path) -> None:
    """Copied while it commits: never older than what was acknowledged before, never a mix."""
    worker = Worker(tmp_path / "state.db")
    for _ in range(10):
        least = worker.acknowledged()
        shutil.copyfile(tmp_path / "state.db", tmp_path / "copy.db")
        n = number(tmp_path / "copy.db")
        assert n is None or n >= least
    last = worker.kill()
    final = number(tmp_path / "state.db")
    assert final is not None
    assert final >= last


def test_killed_in_a_commit_it_is_whole_or_a_copy_is_found_out(
    tmp_path: Path, rng: random.Random
) -> None:
    """Killed at random moments: the file with its journal is whole, a copy without it an error."""
    for _ in range(4):
        worker = Worker(tmp_path / "state.db")
        time.sleep(rng.uniform(0, 0.1))  # the moment of the kill is what is tried here
        last = worker.kill()
        shutil.copyfile(tmp_path / "state.db", tmp_path / "copy.db")
        alone = number(tmp_path / "copy.db")
        assert alone is None or alone >= last
        whole = number(tmp_path / "state.db")
        assert whole is not None
        assert whole >= last

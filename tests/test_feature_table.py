"""The feature table of docs/comparison.md says what happens: each cell is compared with real runs.

Each library is used in the ways that its documentation shows (tests/peers/columns.py). A cell is
"yes" if the promise is kept in all of them, "no" if in none, and otherwise names those that keep
it. Where no way keeps a promise, a row may ask for less, and the cell says so.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import pickle
import random
import shutil
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.campaign import LONG
from tests.conftest import SEED
from tests.peers.forkserver import ROOT, Forkserver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts bytes by /proc/self/io")

TABLE = ROOT / "docs" / "comparison.md"
PATIENCE = (1.0, 5.0)
"""Seconds to save by itself in: soon, or many times what each library is set to."""
KILLS = 4
EFFORT = 15
"""So many times as much is done before a test fails that bad luck or a busy machine may fail."""
FLIPS = 3

WAYS: Mapping[str, Mapping[str, str]] = {
    "autostate": {"on SQLite": "autostate", "in Actors": "autostate in an Actor"},
    "`use_state`": {"": "use_state"},
    "`shelve`": {"without writeback": "shelve", "with writeback": "shelve, writeback"},
    "`sqlitedict`": {
        "without autocommit": "sqlitedict",
        "with autocommit": "sqlitedict, autocommit",
    },
    "`ZODB`": {"plain classes": "ZODB", "only Persistent classes": "ZODB, Persistent"},
}
"""Column → what a cell calls a way to use the library → its adapter."""
PEERS = [column for column in WAYS if column != "autostate"]
TRIED = WAYS if LONG else ["autostate", random.Random(SEED).choice(PEERS)]
"""What is tried: ourselves, and one peer, another one each time. `make fuzz` tries them all."""
ACTORS = ("autostate in an Actor", "use_state")
JSON = ("autostate", *ACTORS)
SMALL = ("blinker", "dataclasses", "msgspec", "secrets", "sqlite3", "wrapt", "zoneinfo")
OURS = ("autostate.containers", "autostate.runtime.incarnation", "autostate.stores.sqlite")


class Trial:
    """One promise put to one way of using one library, in a folder of its own."""

    def __init__(
        self,
        server: Forkserver,
        column: str,
        folder: Path,
        rng: random.Random,
        *,
        effort: int = 1,
    ) -> None:
        self.server, self.column, self.folder, self.rng = server, column, folder, rng
        self.effort = effort
        self._numbers = itertools.count()
        folder.mkdir(parents=True)

    def new(self) -> Path:
        """A folder for a store."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def run(self, program: str, folder: Path, **options: Any) -> Any:
        """Run a program to its end; its last report, None if there is none."""
        return (self.server.run(program, self.column, folder, **options) or [None])[-1]

    def run_until_killed(self, program: str, folder: Path, wait: float, **options: Any) -> Any:
        """Kill a program some seconds after its first report; its last report."""
        process = self.server.start(program, self.column, folder, **options)
        reports = [process.next_report()]
        time.sleep(wait)  # nothing to wait for: the kill comes whatever the program is doing
        return (reports + process.kill())[-1]

    def read(self, folder: Path, *names: str) -> dict[str, Any]:
        """What a new process finds in the store; {} if it is told that something is wrong."""
        try:
            found: dict[str, Any] = self.run("read", folder, names=names or ("state",))
        except RuntimeError:
            return {}
        return found

    def state(self, folder: Path) -> Any:
        """What a new process finds under "state"."""
        return self.read(folder).get("state", {})


def is_a_dict(trial: Trial) -> bool:
    """A dict for isinstance, json.dumps and match."""
    return bool(trial.run("be_a_dict", trial.new()))


def saves_inside(trial: Trial) -> bool:
    """A nested list that grew has grown after a resume."""
    trial.run("change_inside", folder := trial.new())
    return bool(trial.state(folder) == {"shops": {"one": {"sold": [1, 2]}}})


def saves_aliases(trial: Trial) -> bool:
    """The same for a list that is changed by another name."""
    trial.run("change_an_alias", folder := trial.new())
    return bool(trial.state(folder) == {"queue": [1, 2]})


def keeps_types(trial: Trial) -> bool:
    """Values are equal after a resume; a list is no tuple."""
    from tests.peers.programs import VALUES

    trial.run("keep_types", folder := trial.new())
    return bool(trial.state(folder) == {"values": VALUES})


def saves_the_others(trial: Trial, *, assign: bool = False) -> bool:
    """Somebody complains, and the entries before and after are what they were changed to."""
    try:
        complaints = trial.run("save_what_cannot_be", folder := trial.new(), assign=assign)
    except RuntimeError:  # the end of the program failed as well
        return False
    found = trial.state(folder)
    return bool(complaints and found.get("first") == found.get("last") == {"n": 2})


def writes_what_changed(trial: Trial) -> bool:
    """One entry of 10,000 costs less than a twentieth of all: a store may write whole pages."""
    whole, part = trial.run("change_one_of_many", trial.new())
    return bool(0 < part < whole / 20)


def is_quiet(trial: Trial) -> bool:
    """Not one byte."""
    return bool(trial.run("change_nothing", trial.new()) == 0)


def saves_by_itself(trial: Trial, *, assign: bool = False, blocked: bool = False) -> bool:
    """Killed without having saved, it is saved."""
    options = {"assign": assign, "blocked": blocked}
    for patience in PATIENCE:
        folder = trial.new()
        trial.run_until_killed("never_save", folder, patience * trial.effort, **options)
        if trial.state(folder) == {"entry": {"n": 2}}:
            return True
    return False


def saves_while_blocked(trial: Trial, *, assign: bool = False) -> bool:
    """The same with an event loop that stands still."""
    return saves_by_itself(trial, assign=assign, blocked=True)


def survives(trial: Trial) -> bool:
    """Killed when its save call has returned."""
    trial.run_until_killed("save_and_wait", folder := trial.new(), 0)
    return bool(trial.state(folder) == {"entry": {"n": 2}})


def saves_together(trial: Trial, *, roots: tuple[str, str] = ("one", "two")) -> bool:
    """Killed at random moments, both hold the same number, and none less than was reported."""
    folder, saved = trial.new(), None
    for _ in range(KILLS * trial.effort + 1):
        process = trial.server.start("change_together", trial.column, folder, roots=roots)
        try:
            first, second = process.next_report()
            saved_now = process.next_report()
        except RuntimeError:  # what the kill left cannot be opened
            return False
        time.sleep(trial.rng.uniform(0, 0.08))
        reports = process.kill()
        if first != second or (saved is not None and first < saved):
            return False
        saved = [saved_now, *reports][-1]
    return True


def merges_defaults(trial: Trial) -> bool:
    """What is new is there, what was deleted is not."""
    trial.run("first_version", folder := trial.new())
    return bool(trial.run("second_version", folder) == {"new": True, "page": 1})


def executes_nothing(trial: Trial) -> bool:
    """A pickle that makes a folder when it is loaded makes none."""
    from tests.peers.programs import Payload

    flag, folder = trial.folder / "executed", trial.new()
    refused = trial.run("save_payload", folder, flag=str(flag))
    if trial.column in JSON:
        _replace_records(folder, pickle.dumps(Payload(str(flag))))
    else:
        assert refused is None
    trial.read(folder)
    return not flag.exists()


def _replace_records(folder: Path, value: bytes) -> None:
    """Overwrite everything that a JSON library has stored."""
    for database in folder.glob("*.db"):
        with closing(sqlite3.connect(database)) as connection, connection:
            assert connection.execute("UPDATE records SET value = ?", (value,)).rowcount
    for path in folder.glob("storage/key_value_stores/*/*"):
        if not path.name.endswith(".__metadata__.json"):
            path.write_bytes(value)


def notices_damage(trial: Trial) -> bool:
    """A flipped byte in a stored word, or anywhere else, is an error or does not matter."""
    words = [f"{trial.rng.getrandbits(64):016x}" for _ in range(20)]
    trial.run("save_words", folder := trial.new(), words=words)
    good = trial.state(folder)
    assert sorted(value["word"] for value in good.values()) == sorted(words)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    places = [
        (path, data.index(word.encode()))
        for word in words[::7]
        for path, data in files.items()
        if word.encode() in data
    ]
    assert places
    for _ in range(FLIPS):
        path = trial.rng.choice([path for path, data in files.items() if data])
        places.append((path, trial.rng.randrange(len(files[path]))))
    return all(_flipped(trial, folder, *place) in ({}, good) for place in places)


def _flipped(trial: Trial, folder: Path, path: Path, place: int) -> Any:
    """What is found when one byte is another; {} for an error."""
    copy = trial.folder / f"flipped-{next(trial._numbers)}"
    shutil.copytree(folder, copy)
    damaged = copy / path.relative_to(folder)
    data = bytearray(damaged.read_bytes())
    data[place] ^= 1
    damaged.write_bytes(data)
    found = trial.read(copy)
    shutil.rmtree(copy)
    if found == {"state": {}}:
        return "silently empty"
    return found.get("state", {})


@dataclass(frozen=True)
class Row:
    """A promise, and how it is put to the test.

    Attributes:
        keeps: Tells whether a library, used in one way, keeps the promise.
        less: Where none does: what else to try, by what the cell then says.
        ways: Further ways to use a library that matter here alone.
        luck: What may be seen once though it is otherwise: "kept", since not every kill meets what
            it would break; or "lost", since a busy machine delays what a library does by itself.
    """

    keeps: Callable[..., bool]
    less: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ways: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    luck: Literal["", "kept", "lost"] = ""

    def may_be_luck(self, said: str, seen: str) -> bool:
        """Whether what was seen may differ from what is said by chance alone."""
        order = ["yes", "no"]
        places = [order.index(cell) * 2 if cell in order else 1 for cell in (said, seen)]
        if places[0] == places[1]:
            return bool(self.luck)
        return self.luck == ("kept" if places[1] < places[0] else "lost")

    def cell(self, column: str, trial: Callable[[str], Trial]) -> str:
        """Find out what stands in a cell."""
        ways = {**WAYS[column], **self.ways.get(column, {})}
        tries: Mapping[str, Mapping[str, Any]] = {"": {}, **self.less}
        for word, options in tries.items():
            keep = [way for way, name in ways.items() if self.keeps(trial(name), **options)]
            if len(keep) == len(ways):
                return word or "yes"
            if keep:
                return ", ".join(filter(None, [" or ".join(keep), word]))
        return "no"


WHEN_ASSIGNED = {"when assigned": {"assign": True}}

ROWS: Mapping[str, Row] = {
    "Is a `dict`: `isinstance`, `json.dumps`, `match`": Row(is_a_dict),
    "A change deep inside is saved without assigning back": Row(saves_inside),
    "A list that the program also holds elsewhere is saved when it grows there": Row(saves_aliases),
    "Set, tuple, int keys, `datetime`, `Decimal` come back as they were": Row(keeps_types),
    "A value that cannot be saved is reported, and all others are saved": Row(
        saves_the_others, less=WHEN_ASSIGNED
    ),
    "One changed entry of 10,000 costs less than 5 % of writing all": Row(
        writes_what_changed, ways={"`ZODB`": {"only BTrees": "ZODB, BTrees"}}
    ),
    "Nothing is written when nothing changed": Row(is_quiet),
    "Saves by itself": Row(saves_by_itself, less=WHEN_ASSIGNED, luck="lost"),
    "Saves by itself while the event loop is blocked": Row(
        saves_while_blocked, less=WHEN_ASSIGNED, luck="lost"
    ),
    "What a save call saved survives `kill -9`": Row(survives),
    "Two objects changed together come back together after `kill -9`": Row(
        saves_together, less={"inside one dict": {"roots": ("one", "one")}}, luck="kept"
    ),
    "A default added later appears, a deleted key stays deleted": Row(merges_defaults),
    "Loads without executing code from the store": Row(executes_nothing),
    "A flipped byte in the store is noticed": Row(notices_damage),
}


def _table() -> list[list[str]]:
    """The cells of the table in docs/comparison.md, its header first."""
    first = TABLE.read_text().partition("\n## ")[0]
    lines = [line for line in first.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if set("".join(row)) - set("-: ")]


Cells = Mapping[str, Mapping[str, str]]
"""Promise → column → what the cell should say, or how it failed to be found out."""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Cells:
    """What every cell should say; found out once, whichever processes run the tests."""
    mine = tmp_path_factory.getbasetemp()
    shared = mine if worker_id == "master" else mine.parent
    known = shared / "feature-table.json"
    with (shared / "feature-table.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists():
            known.write_text(json.dumps(_observe(tmp_path_factory.mktemp("stores"))))
    cells: Cells = json.loads(known.read_text())
    return cells


@contextmanager
def _finding_out(folder: Path, *, effort: int = 1) -> Iterator[Callable[[str, str], str]]:
    """Give what finds out what a cell should say."""
    numbers = itertools.count()
    lock, servers = threading.Lock(), dict[tuple[str, ...], Forkserver]()
    with ExitStack() as stack:

        def server(name: str) -> Forkserver:
            """Of each sort one, with what such programs import."""
            preload: tuple[str, ...] = ("apify",) if name in ACTORS else ()
            preload += OURS if name.startswith("autostate") else ()
            with lock:
                if preload not in servers:
                    log = folder / f"{len(servers)}.log"
                    servers[preload] = Forkserver(log, *SMALL, *preload)
                    stack.callback(servers[preload].close)
                return servers[preload]

        def cell(promise: str, column: str) -> str:
            def trial(name: str) -> Trial:
                rng = random.Random(f"{SEED} {promise} {name}")
                place = folder / str(next(numbers))
                return Trial(server(name), name, place, rng, effort=effort)

            try:
                return ROWS[promise].cell(column, trial)
            except Exception:
                return traceback.format_exc()

        yield cell


def _observe(folder: Path) -> Cells:
    """All cells at once, because most of the time is waiting."""
    with _finding_out(folder) as cell, ThreadPoolExecutor(8) as pool:
        cells = {
            promise: {column: pool.submit(cell, promise, column) for column in TRIED}
            for promise in ROWS
        }
        return {
            promise: {column: found.result() for column, found in row.items()}
            for promise, row in cells.items()
        }


@pytest.mark.parametrize("column", TRIED)
@pytest.mark.parametrize("promise", ROWS)
def test_a_cell_says_what_happens(
    observed: Cells, promise: str, column: str, tmp_path: Path
) -> None:
    """What docs/comparison.md says about a library is what it does."""
    header, *rows = _table()
    table = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    said, seen = table[promise][column], observed[promise][column]
    if said != seen and ROWS[promise].may_be_luck(said, seen):
        with _finding_out(tmp_path, effort=EFFORT) as cell:
            seen = cell(promise, column)
    assert said == seen


def test_only_what_may_be_luck_is_looked_at_again() -> None:
    """A state that is torn once is torn; one that is not saved in time may be late."""
    kills, waits = Row(saves_together, luck="kept"), Row(saves_by_itself, luck="lost")
    assert not kills.may_be_luck("yes", "no")
    assert not kills.may_be_luck("yes", "inside one dict")
    assert kills.may_be_luck("no", "yes")
    assert waits.may_be_luck("yes", "when assigned")
    assert not waits.may_be_luck("no", "when assigned")
    assert not Row(is_a_dict).may_be_luck("no", "yes")


def test_the_table_has_no_row_or_column_that_is_not_checked() -> None:
    """Nothing stands in it that nobody tried."""
    header, *rows = _table()
    assert header[1:] == list(WAYS)
    assert [row[0] for row in rows] == list(ROWS)


def test_use_state_saves_each_minute_when_nobody_sets_it() -> None:
    """The note below the table is right: it was set to less here."""
    from crawlee.configuration import Configuration

    assert Configuration.model_fields["persist_state_interval"].default == timedelta(minutes=1)

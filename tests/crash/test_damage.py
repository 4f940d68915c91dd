"""Bytes of a database that change, or go: it is the state that was saved, or an error.

After an error, nothing has been changed: neither the file nor the journal beside it.

Every place of the file of a program that ended is tried, and of the two files that a kill in the
midst of a commit leaves: the database, and the journal from which SQLite takes back what was begun.
`CAMPAIGN_DAMAGES` says how many places; 0 means all.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from autostate.errors import AutostateError
from autostate.journal import Journal
from autostate.runtime.opening import open_state
from autostate.settings import Settings
from autostate.stores.sqlite import SqliteStore
from tests.campaign import Tally, size
from tests.crash.unfinished import leave_unfinished

pytestmark = pytest.mark.campaign(name="damage")

PLACES = size("DAMAGES", 80)
Files = dict[str, bytes]


def journal_of(store: SqliteStore) -> Journal:
    """A journal with some records inline, and others in several segments."""
    return Journal(store, inline_limit=700, part_limit=1500)


def commit(journal: Journal, put: dict[str, object], *, begins: bool = False) -> None:
    """Commit some entries."""
    begin = {"kind": "dict", "name": "pages"} if begins else {}
    journal.commit([json.dumps({"id": 1, **begin, "put": put}).encode()])


def found_in(folder: Path) -> object:
    """What a next process finds in a database."""
    store = open_state(folder / "state.db", Settings())
    try:
        nodes = Journal(store).recover().nodes.values()
        return {node.name: dict(node.content) for node in nodes}.get("pages")
    finally:
        store.close()


def files_in(folder: Path) -> Files:
    """The files of a database."""
    return {each.name: each.read_bytes() for each in folder.glob("state.db*")}


class Case:
    """Files, and the state that they hold.

    Args:
        folder: Where they are tried.
        files: They.
        state: The state.
        tally: What was tried and found.
    """

    def __init__(self, folder: Path, files: Files, state: object, tally: Tally) -> None:
        self.folder = folder
        self.files = files
        self.state = state
        self.tally = tally
        self.outcomes: Counter[str] = Counter()

    def try_with(self, changed: Files, where: object) -> str:
        """See what a next process finds where some files are other ones."""
        for each in self.folder.glob("state.db*"):
            each.unlink()
        for name, content in changed.items():
            (self.folder / name).write_bytes(content)
        try:
            found = found_in(self.folder)
        except AutostateError as error:
            outcome = type(error).__name__
            assert files_in(self.folder) == changed, f"something was changed, where {where}"
        else:
            outcome = "the state" if found == self.state else "another state"
        self.tally.found(f"another state, where {where}", silent=outcome == "another state")
        self.tally.check()
        self.outcomes[outcome] += 1
        return outcome

    def flip(self, name: str, at: int, bit: int) -> None:
        """Change one bit."""
        content = bytearray(self.files[name])
        content[at] ^= 1 << bit
        self.try_with({**self.files, name: bytes(content)}, f"bit {bit} of {at} of {name} is not")


def places(length: int, rng: random.Random) -> Iterable[int]:
    """Those that are tried."""
    return range(length) if not PLACES else sorted(rng.sample(range(length), min(PLACES, length)))


@pytest.fixture
def ended(tmp_path: Path, tally: Tally) -> Case:
    """What a program that ended leaves: records of several sizes, inline and in segments."""
    store = SqliteStore(tmp_path / "state.db")
    journal = journal_of(store)
    journal.recover()
    state: dict[str, object] = {}
    for number in range(6):
        put: dict[str, object] = {"n": number, f"key{number}": "x" * 150 * number}
        state |= put
        commit(journal, put, begins=not number)
    store.close()
    files = files_in(tmp_path)
    assert list(files) == ["state.db"]
    case = Case(tmp_path, files, state, tally)
    assert case.try_with(files, "nothing is changed") == "the state"
    return case


@pytest.fixture
def killed(tmp_path: Path, ended: Case, tally: Tally) -> Case:
    """What a kill in the midst of a large commit leaves: the state before it."""
    copied = tmp_path / "killed"
    keys = {f"key{number}": "y" * 900 for number in range(60)}
    change = json.dumps({"id": 1, "put": keys}).encode()
    leave_unfinished(tmp_path / "state.db", copied, journal_of, [change])
    case = Case(tmp_path, files_in(copied), ended.state, tally)
    assert len(case.files["state.db-journal"]) > 2_000
    assert case.try_with(case.files, "nothing is changed") == "the state"
    return case


def test_a_bit_of_the_file(ended: Case, rng: random.Random) -> None:
    """Free space is no part of the state; all else is found out, and nothing is written."""
    for at in places(len(ended.files["state.db"]), rng):
        ended.flip("state.db", at, rng.randrange(8))
        found = files_in(ended.folder)
        assert len(found) == 1
    assert ended.outcomes.keys() - {"the state"}


def test_a_bit_of_a_key(ended: Case, rng: random.Random) -> None:
    """In the table, and in the index, where others are no more found if it is out of order."""
    content = ended.files["state.db"]
    near = {
        at + offset
        for at in range(len(content))
        if content.startswith(b"autostate-", at)
        for offset in range(-12, 45)
    }
    for at in sorted(near & set(range(len(content)))):
        for bit in range(8) if not PLACES else (0, rng.randrange(1, 8)):
            ended.flip("state.db", at, bit)
    assert ended.outcomes["DamagedStoreError"] > 300


def test_a_bit_of_the_schema(ended: Case) -> None:
    """Whose text may be none any more, also in the message that SQLite gives."""
    begins = ended.files["state.db"].index(b"CREATE TABLE records")
    for at in range(begins - 40, begins + 80):
        for bit in (0, 7):
            ended.flip("state.db", at, bit)
    assert ended.outcomes.total() == 241


@pytest.mark.parametrize("name", ["state.db", "state.db-journal"])
def test_a_bit_of_what_a_kill_leaves(killed: Case, name: str, rng: random.Random) -> None:
    """Also of the journal, from which SQLite takes back what was begun."""
    for at in places(len(killed.files[name]), rng):
        killed.flip(name, at, rng.randrange(8))


def test_a_journal_that_is_cut_short(killed: Case, rng: random.Random) -> None:
    """At whatever byte."""
    journal = killed.files["state.db-journal"]
    for length in places(len(journal), rng):
        changed = {**killed.files, "state.db-journal": journal[:length]}
        killed.try_with(changed, f"the journal ends at {length}")


def other_database(folder: Path) -> bytes:
    """The journal that is beside another database in the midst of a commit."""
    folder.mkdir()
    connection = sqlite3.connect(folder / "state.db", isolation_level=None)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("z" * 3_000,)] * 20)
    connection.execute("PRAGMA cache_size = 2")
    connection.execute("BEGIN")
    connection.execute("UPDATE t SET a = a || 'z'")
    journal = folder / "state.db-journal"
    found = subprocess.run(["cat", str(journal)], check=True, capture_output=True).stdout
    connection.close()
    return found


@pytest.mark.parametrize("which", ["none", "that of another database", "that of another moment"])
def test_another_journal(killed: Case, ended: Case, which: str) -> None:
    """In the place of the one that belongs to it."""
    make: dict[str, Callable[[], Files]] = {
        "none": lambda: {"state.db": killed.files["state.db"]},
        "that of another database": lambda: {
            **killed.files,
            "state.db-journal": other_database(killed.folder / "other"),
        },
        "that of another moment": lambda: {
            "state.db": ended.files["state.db"],
            "state.db-journal": killed.files["state.db-journal"],
        },
    }
    killed.try_with(make[which](), f"the journal is {which}")

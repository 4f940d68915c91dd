"""Copies of a state, and the names in it, while it is used by nobody, here, or elsewhere."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import autostate
from autostate.errors import CorruptStateError, StoreError
from autostate.journal import Journal
from autostate.journal.head import SEGMENTS
from autostate.stores.sqlite import SqliteStore
from autostate.stores.sqlite_view import SqliteView

COPY: Final = Path("copies/copy.db")
COPIES: Final = 40


@pytest.fixture
def copies(isolated: Path) -> None:
    """The folder of the copies, which no copy makes."""
    COPY.parent.mkdir()


def _files(folder: Path | None = None) -> list[str]:
    return sorted(each.name for each in (folder or Path()).iterdir())


class TestNames:
    """`names()` lists state objects, and touches nothing."""

    def test_nothing_was_saved_yet(self, isolated: Path) -> None:
        """The first start of a program: no store is made."""
        assert autostate.names() == []
        assert _files() == []

    def test_of_a_store(self, isolated: Path) -> None:
        """In order, without the library's own."""
        url = "sqlite:///s.db"
        with autostate.open(url):
            autostate.PersistedDict("b")
            autostate.PersistedSet("a")
            autostate.adopt("RECORD")
        content = Path("s.db").read_bytes()
        assert autostate.names(url) == autostate.names(Path("s.db")) == ["RECORD", "a", "b"]
        assert (_files(), Path("s.db").read_bytes()) == (["s.db"], content)

    def test_of_the_store_in_use(self, isolated: Path) -> None:
        """What lives and is not saved yet is among them; so is what nobody has asked for yet."""
        with autostate.open("memory:names"):
            autostate.PersistedDict("a")
        with autostate.open("memory:names"):
            assert autostate.names() == ["a"]
            autostate.PersistedDict("b")
            assert autostate.names() == ["a", "b"]
            autostate.delete("a")
            assert autostate.names() == ["b"]

    def test_of_a_store_that_is_not_there(self, isolated: Path) -> None:
        """A misspelt path is no empty state."""
        with pytest.raises(StoreError, match="no such file"):
            autostate.names("sqlite:///missing.db")
        assert _files() == []


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize(
    "url", ["sqlite:///s.db", "memory:copied", "memory:", "apify:", "apify:shop"]
)
def test_a_copy_of_any_store_in_use_is_a_state_by_itself(isolated: Path, url: str) -> None:
    """It has what was written just now, also what is too large for one record."""
    with autostate.open(url):
        progress = autostate.PersistedDict("progress", page=1)
        rows = autostate.PersistedDict[int, str]("rows")
        rows.update(dict.fromkeys(range(5000), "x" * 1000))
        progress["page"] = 2
        copy = autostate.backup(COPY)
        progress["page"] = 3
        assert autostate.names(copy) == ["progress", "rows"]
    assert copy == f"sqlite:///{COPY.absolute()}"
    assert _files(COPY.parent) == [COPY.name]
    with autostate.open(copy):
        again = autostate.PersistedDict("progress")
        assert again == {"page": 2}
        copied = autostate.PersistedDict[int, str]("rows")
        assert copied == dict.fromkeys(range(5000), "x" * 1000)
        again["page"] = 4
    with autostate.open(copy, readonly=True):
        assert autostate.PersistedDict("progress") == {"page": 4}


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("url", ["sqlite:///s.db", "memory:unused", "apify:"])
def test_a_copy_of_a_store_that_nobody_uses(isolated: Path, url: str) -> None:
    """After several processes, and compactions."""
    for number in range(4):
        with autostate.open(url):
            rows = autostate.PersistedDict("rows")
            for each in range(30):
                rows[f"{number} {each}"] = "x" * 2000
                autostate.flush()
    with autostate.open(autostate.backup(COPY, url), readonly=True):
        assert len(autostate.PersistedDict("rows")) == 120


def test_nothing_is_overwritten(isolated: Path) -> None:
    """Neither a file nor a link nor the key beside it, and nothing is left behind."""
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("d", a=1)
    for name in ("file.db", "key.db.key"):
        Path(name).write_text("mine")
    Path("link.db").symlink_to("missing/elsewhere.db")
    Path("missing").mkdir()
    Path("missing/elsewhere.db").write_text("mine")
    files = _files()
    for name in ("file.db", "key.db", "link.db"):
        with pytest.raises(FileExistsError, match="was left"):
            autostate.backup(name, "sqlite:///s.db")
    assert _files() == files
    assert Path("file.db").read_text() == Path("link.db").read_text() == "mine"


@pytest.mark.parametrize("name", ["a?b=c.db", "{program}.db", "{x}.db"])
def test_a_copy_has_a_url(isolated: Path, name: str) -> None:
    """From a file that no URL names, or that of another file, no program could go on."""
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("d", a=1)
    files = _files()
    with pytest.raises(ValueError, match=r"cannot be named by a URL.*choose another name$"):
        autostate.backup(name, "sqlite:///s.db")
    assert _files() == files
    for odd in ("a? b.db", "a%20#@b.db"):
        made = autostate.backup(odd, "sqlite:///s.db")
        assert autostate.names(made) == ["d"]
        Path(odd).unlink()


@pytest.mark.usefixtures("copies")
def test_there_is_nothing_to_copy(isolated: Path) -> None:
    """An empty copy would pass for a state."""
    with pytest.raises(StoreError, match="no such file"):
        autostate.backup(COPY, "sqlite:///missing.db")
    with autostate.open("memory:"), pytest.raises(StoreError, match="nothing to copy"):
        autostate.backup(COPY)
    assert _files(COPY.parent) == []


def test_a_missing_folder_is_not_made(isolated: Path) -> None:
    """Its name may have a mistake in it, and nobody would look for the copy there."""
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("d", a=1)
    missing = r"there is no folder .*copys: make it first"
    with pytest.raises(FileNotFoundError, match=missing):
        autostate.backup("copys/copy.db", "sqlite:///s.db")
    with pytest.raises(FileNotFoundError, match=missing):
        autostate.copy("sqlite:///s.db", "sqlite:///copys/copy.db")
    assert not Path("copys").exists()


@pytest.mark.usefixtures("copies")
def test_a_damaged_record_is_found_by_copying(isolated: Path) -> None:
    """And no copy is made of it."""
    import sqlite3

    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("d", text="secret" * 1000)
    with sqlite3.connect("s.db") as connection:
        connection.execute(
            "UPDATE records SET value = CAST(replace(value, 'secret', 'SECRET') AS BLOB) "
            "WHERE key LIKE 'autostate-seg-%'"
        )
    connection.close()
    with pytest.raises(CorruptStateError, match="autostate-seg-"):
        autostate.backup(COPY, "sqlite:///s.db")
    assert _files(COPY.parent) == []


@pytest.mark.usefixtures("copies")
def test_a_readonly_state_can_be_copied(isolated: Path) -> None:
    """It is only read for that."""
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("d", a=1)
    with autostate.open("sqlite:///s.db", readonly=True):
        assert autostate.PersistedDict("d") == {"a": 1}
        copy = autostate.backup(COPY)
    assert autostate.names(copy) == ["d"]


class Opaque:
    """Is pickled."""


@pytest.mark.usefixtures("copies")
def test_pickled_values_can_be_read_from_the_copy(isolated: Path) -> None:
    """The key that signs them comes along, private as it was."""
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("d")["value"] = autostate.pickled(Opaque())
        copy = autostate.backup(COPY)
    key = COPY.with_name(f"{COPY.name}.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with autostate.open(copy, readonly=True):
        assert isinstance(autostate.PersistedDict("d")["value"], Opaque)


class Replaced(SqliteView):
    """A store of which a segment is gone whenever it is read by itself."""

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        assert self._connection is not None
        if key.startswith(SEGMENTS) and not self._connection.in_transaction:
            autostate.PersistedDict("d")["number"] += 1
            autostate.flush()
            return None
        return super().read(key, timeout=timeout)


def test_a_state_that_is_replaced_while_it_is_copied_is_copied_at_one_moment(
    isolated: Path,
) -> None:
    """With what was written until then, and nothing of the attempts before."""
    with autostate.open("sqlite:///s.db"):
        live = autostate.PersistedDict("d", text="x" * 10_000, number=0)
        autostate.flush()
        source, target = Replaced("s.db"), SqliteStore("copy.db")
        journal = Journal(target)
        journal.recover()
        journal.fill(source, lambda: None, lambda *_: None, timeout=None)
        number = live["number"]
        source.close()
        target.close()
    assert number > 1
    with autostate.open("sqlite:///copy.db", readonly=True):
        assert autostate.PersistedDict("d") == {"text": "x" * 10_000, "number": number}


JOB: Final = """
import itertools, time, autostate
autostate.configure("sqlite:///s.db", debounce=0, max_delay=0.01)
left, right = autostate.PersistedDict("left"), autostate.PersistedDict("right")
for number in itertools.count(1):
    with autostate.atomic():
        left[number % 997] = left["last"] = number
        right[number % 997] = right["last"] = number
        right["text"] = "x" * (number % 11 * 1000)
    if number == 100:
        autostate.flush()
        print("saved", flush=True)
    time.sleep(0.0005)
"""


def test_copies_of_what_another_process_writes_are_of_one_moment(isolated: Path) -> None:
    """However often it saves and compacts meanwhile, and after it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", JOB], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        assert job.stdout.readline() == "saved\n"
        before = 0
        for number in range(COPIES):
            if number == COPIES - 1:
                job.send_signal(signal.SIGKILL)
                assert job.wait() == -signal.SIGKILL
            copy = autostate.backup(f"copy-{number}.db", "sqlite:///s.db")
            with autostate.open(copy):
                left, right = autostate.PersistedDict("left"), autostate.PersistedDict("right")
                last = left["last"]
                assert right["last"] == last >= before
                assert {key: right[key] for key in left} == left
            Path(f"copy-{number}.db").unlink()
            before = last
        assert job.stderr.read() == ""

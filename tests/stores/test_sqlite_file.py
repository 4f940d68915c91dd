"""The file of a SQLite store is made at once or not at all, and shared without a lost commit."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import pytest

import autostate
from autostate.errors import CorruptStateError, StoreError, StoreUnavailableError
from autostate.stores import places, sqlite_file
from autostate.stores.sqlite import SqliteStore
from autostate.stores.sqlite_connection import SCHEMA
from tests import programs
from tests.conformance.store_kit import opened

pytestmark = pytest.mark.usefixtures("forked_programs")

ROOT = Path(__file__).parent.parent.parent


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a real process that runs the code."""
    assert programs.server is not None
    process: subprocess.Popen[str] = programs.server.popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=None,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return process


def run(code: str, *arguments: object) -> str:
    """Run the code in a real process; give what it printed."""
    process = start(code, *arguments)
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed


# -- making it --------------------------------------------------------------------------------

CREATE = """
import sys
from autostate.stores.sqlite import SqliteStore
print("ready", flush=True)
sys.stdin.readline()
store = SqliteStore(sys.argv[1])
store.write({sys.argv[2]: b"x"}, timeout=60)
store.close()
"""


def test_processes_that_make_it_at_once_agree_on_one_file(tmp_path: Path) -> None:
    """What each of six processes writes into a file that none of them found is in it."""
    for attempt in range(3):
        path = tmp_path / f"{attempt}.db"
        processes = [start(CREATE, path, f"key{number}") for number in range(6)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            process.communicate()
            assert process.returncode == 0
        with opened(lambda path=path: SqliteStore(path)) as store:  # type: ignore[misc]
            assert len(store.list("key")) == 6
    assert sorted(each.name for each in tmp_path.iterdir()) == ["0.db", "1.db", "2.db"]


DIE = """
import os, sys
from autostate.stores.sqlite import SqliteStore
def die(*arguments, **named):
    os._exit(7)
setattr(os, sys.argv[2], die)
SqliteStore(sys.argv[1])
"""


@pytest.mark.parametrize(("call", "made"), [("link", False), ("unlink", True)])
def test_a_kill_while_it_is_made_leaves_nothing_or_all(
    tmp_path: Path, call: str, *, made: bool
) -> None:
    """Before the link there is no database, after it a whole one; what is left over is removed."""
    path = tmp_path / "state.db"
    process = start(DIE, path, call)
    process.communicate()
    assert process.returncode == 7
    assert path.exists() is made
    [left] = tmp_path.glob("state.db.new-*")
    with opened(lambda: SqliteStore(path)) as store:
        store.write({"key": b"x"})
    if not made:
        assert left.exists(), "it may belong to a process that lives"
        os.utime(left, (0, time.time() - sqlite_file._ABANDONED - 1))
    with opened(lambda: SqliteStore(path)) as store:
        assert store.read("key") == b"x"
    assert [each.name for each in tmp_path.iterdir()] == ["state.db"]


def test_a_folder_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files cannot have two names the database is renamed, but never over another one."""

    def link(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "state.db"
    for value in (b"1", b"2"):
        with opened(lambda: SqliteStore(path)) as store:
            store.write({"key": value})
    assert [each.name for each in tmp_path.iterdir()] == ["state.db"]
    unfinished = tmp_path / "other"
    unfinished.write_text("")
    with pytest.raises(FileExistsError):
        sqlite_file.publish(unfinished, path)
    with opened(lambda: SqliteStore(path)) as store:
        assert store.read("key") == b"2"


def test_a_database_with_another_name_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever uses that is not seen; a link that stands for the file is as good as it."""
    path = tmp_path / "state.db"
    (tmp_path / "symbolic.db").symlink_to(path)
    for each in (path, tmp_path / "symbolic.db"):
        SqliteStore(each).close()
    assert not caplog.text
    (tmp_path / "hard.db").hardlink_to(path)
    with opened(lambda: SqliteStore(path)):
        pass
    assert f"{path} has another name, too" in caplog.text


def test_a_folder_that_may_not_be_listed_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files may be used all the same."""

    def refuse(folder: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with autostate.open(tmp_path / "state.db"):
        autostate.PersistedDict("d", n=1)
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refuse)
    with autostate.open(tmp_path / "state.db"):
        assert autostate.PersistedDict("d") == {"n": 1}


def test_an_empty_file_is_an_error_for_state_objects(tmp_path: Path) -> None:
    """It was something once: nobody is given an empty state for it."""
    path = tmp_path / "state.db"
    path.touch()
    with autostate.open(path), pytest.raises(CorruptStateError, match=r"is empty.*Restore it"):
        autostate.PersistedDict("pages")
    assert not path.stat().st_size


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """No table is added to a database that is not ours."""
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (name)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="no state of autostate"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_database_with_a_write_ahead_log_is_switched(tmp_path: Path) -> None:
    """What an earlier version has left, with all that is in its log, is read and kept in one."""
    path = tmp_path / "state.db"
    old = sqlite3.connect(path)
    old.execute("PRAGMA journal_mode = WAL")
    old.execute(SCHEMA)
    old.execute("INSERT INTO records VALUES ('key', x'31')")
    old.commit()
    with opened(lambda: SqliteStore(path)) as store:  # while the other process has it open
        assert store.read("key") == b"1"
        store.write({"other": b"2"})
    old.close()
    with opened(lambda: SqliteStore(path)) as store:
        assert store.list("") == ["key", "other"]
    assert [each.name for each in tmp_path.iterdir()] == ["state.db"]
    assert path.read_bytes()[18:20] == b"\1\1", "the header says: no log"


# -- sharing it -------------------------------------------------------------------------------

READER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
print("reading", flush=True)
for _ in range(3):
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM records").fetchone()
    print("holds", flush=True)
    time.sleep(1)
    connection.execute("COMMIT")
    for _ in range(50):
        connection.execute("SELECT sum(length(value)) FROM records").fetchone()
    copy = sqlite3.connect(":memory:")
    connection.backup(copy, pages=4)
    connection.backup(copy)
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
print("done", flush=True)
"""


def test_readers_never_make_a_save_fail(tmp_path: Path) -> None:
    """A process that looks, holds on for a second and makes backups delays saves, and no more."""
    path = tmp_path / "state.db"
    with autostate.open(path, debounce=0.001, max_delay=0.002) as manager:
        pages = autostate.PersistedDict("pages", {str(n): "x" * 500 for n in range(200)})
        manager.flush()
        reader = start(READER, path)
        assert reader.stdout is not None
        for line in iter(reader.stdout.readline, "done\n"):
            assert line, "the reader failed"
            for number in range(20):
                pages[str(number)] = line * 20
                manager.flush()
        reader.communicate()
        assert reader.returncode == 0
        assert manager.statistics().failures == 0


FORKS = """
import os, sys, threading, time, warnings
from autostate.stores.sqlite import SqliteStore
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
store = SqliteStore(sys.argv[1])
store.write({"big": bytes(1 << 20)})
done = threading.Event()
def commit():
    while not done.is_set():
        store.write({"big": os.urandom(1 << 20)})
thread = threading.Thread(target=commit)
thread.start()
codes = []
for number in range(15):
    if not (pid := os.fork()):
        try:
            other = SqliteStore(sys.argv[1])
            other.write({f"child{number}": b"x"}, timeout=20)
            os._exit(0)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
    codes.append(os.waitpid(pid, 0)[1])
done.set()
thread.join()
print(codes, len(store.list("child")))
store.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_that_is_forked_during_a_commit_can_write(tmp_path: Path) -> None:
    """SQLite's note of the locks that the parent holds at that moment is not the child's."""
    assert run(FORKS, tmp_path / "state.db") == f"{[0] * 15} 15\n"


WATCHED = """
import os, sys
OTHERS = (".key", ".jsonl", ".unfinished", "-owner")
path = os.path.abspath(sys.argv[1])
def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        name = os.path.abspath(os.fsdecode(arguments[0]))
        made = name.startswith(path + ".new-")  # nobody has a lock on it yet
        if name.startswith(path) and not made and not name.endswith(OTHERS):
            print("opened", name)
sys.addaudithook(audit)
import autostate
with autostate.open(f"sqlite:///{path}") as manager:
    pages = autostate.PersistedDict("pages")
    pages.update({str(n): "x" * 500 for n in range(200)})
    manager.flush()
    autostate.export(pages)
    manager.delete("pages")
with autostate.open(f"sqlite:///{path}"):
    autostate.PersistedDict("pages", n=1)
"""


def test_nothing_but_sqlite_opens_the_file(tmp_path: Path) -> None:
    """To close it would take away all locks that this process holds on it."""
    assert run(WATCHED, tmp_path / "state.db") == ""


def test_a_file_that_lacks_a_record_is_found_out(tmp_path: Path) -> None:
    """Its first page says how many there are; who edits by hand sets that to 0."""
    path = tmp_path / "state.db"
    with opened(lambda: SqliteStore(path)) as store:
        store.write({"one": b"1", "two": b"2"})
        store.write({"three": b"3"}, ["two"])
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.execute("DELETE FROM records WHERE key = 'one'")
    with pytest.raises(CorruptStateError, match="copy that was made while"):
        SqliteStore(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    with opened(lambda: SqliteStore(path)) as store:
        assert store.list("") == ["three"]


def test_a_file_of_the_users_stays(tmp_path: Path) -> None:
    """However old it is, and whatever it is called."""
    kept = tmp_path / "state.db.new-monday"
    kept.write_text("a backup")
    os.utime(kept, (0, 0))
    left = tmp_path / f"state.db.new-{16 * 'a'}"
    left.write_text("of a process that was killed")
    os.utime(left, (0, 0))
    SqliteStore(tmp_path / "state.db").close()
    assert (kept.exists(), left.exists()) == (True, False)


ENDLESS: Final = (
    "CREATE VIEW records AS WITH RECURSIVE n(key) AS "
    "(VALUES ('a') UNION ALL SELECT key FROM n) SELECT key, x'00' AS value FROM n"
)
FOREIGN: Final[dict[str, list[str]]] = {
    "a value that is a number": ["UPDATE records SET value = 5"],
    "a value that is text": ["UPDATE records SET value = CAST(value AS TEXT)"],
    "the head alone": ["UPDATE records SET value = 1.5 WHERE key LIKE '%head%'"],
    "keys that are bytes": ["UPDATE records SET key = CAST(key AS BLOB)"],
    "a trigger that deletes": [
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END"
    ],
    "a trigger that changes": [
        "CREATE TRIGGER t AFTER UPDATE ON records BEGIN UPDATE records SET value = x''; END"
    ],
    "an index": ["CREATE INDEX i ON records (length(value))"],
    "a column": ["ALTER TABLE records ADD COLUMN more"],
    "no index": [
        "ALTER TABLE records RENAME TO other",
        "CREATE TABLE records (key TEXT NOT NULL, value BLOB NOT NULL)",
        "INSERT INTO records SELECT * FROM other",
        "DROP TABLE other",
    ],
    "a view": ["ALTER TABLE records RENAME TO other", "CREATE VIEW records AS SELECT * FROM other"],
    "a view without an end": ["DROP TABLE records", ENDLESS],
}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_only_somebody_else_can_have_put_into_it_is_an_error(
    what: str, isolated: Path, *, readonly: bool
) -> None:
    """Before anything is believed, or written: also where all that was counted is there."""
    path = isolated / "s.db"
    with autostate.open(f"sqlite:///{path}"):
        autostate.PersistedDict("a", x=1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in FOREIGN[what]:
            connection.execute(statement)
    before = path.read_bytes()
    with (
        pytest.raises(StoreError, match=r"is damaged|is not as autostate|without the table"),
        autostate.open(f"sqlite:///{path}", readonly=readonly),
    ):
        autostate.PersistedDict("a")
    assert path.read_bytes() == before


def test_a_journal_that_is_emptied_while_it_is_looked_at(tmp_path: Path) -> None:
    """Its owner does so at the end of each commit."""
    journal = tmp_path / "state.db-journal"
    journal.write_bytes(b"x" * 100)
    done = threading.Event()

    def write() -> None:
        with journal.open("r+b", buffering=0) as file:
            while not done.is_set():
                file.truncate(0)
                file.seek(0)
                file.write(b"x" * 100)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20_000):
            places.refuse_planted(tmp_path / "state.db")
    finally:
        done.set()
        thread.join()


def test_a_journal_that_cannot_be_read_is_an_error_that_goes_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is tried again later, and closing closes: nothing is left open."""
    store = SqliteStore(tmp_path / "s.db")
    store.write({"key": b"old"})
    connection = store._connection

    def broken(journal: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(journal))

    with monkeypatch.context() as patch:
        patch.setattr("autostate.stores.sqlite.refuse_planted", broken)
        with pytest.raises(StoreUnavailableError, match="journal cannot be read: Input/output"):
            store.write({"key": b"new"})
        store.close()
    assert connection is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    with contextlib.closing(SqliteStore(tmp_path / "s.db")) as again:
        assert again.read("key") == b"old"


def test_a_file_that_stays_locked_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message advises to raise no setting: none limits that."""
    path = tmp_path / "s.db"
    SqliteStore(path).close()
    monkeypatch.setattr("autostate.stores.sqlite_connection.WAIT", 0.05)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match=r"is locked by .*, then try again") as told:
            SqliteStore(path)
        assert "flush_timeout" not in str(told.value)
        other.execute("ROLLBACK")
    with (
        contextlib.closing(SqliteStore(path)) as store,
        contextlib.closing(sqlite3.connect(path)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="raise flush_timeout"):
            store.write({"a": b"1"}, timeout=0.05)

"""Databases that somebody else has written: an error in time, and no file of the user's is lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import struct
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import autostate
from autostate.errors import DamagedStoreError, StoreError, StoreUnavailableError
from autostate.stores import open_store
from autostate.stores.sqlite import SqliteStore

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with some records."""
    path = tmp_path / "state.db"
    with contextlib.closing(SqliteStore(path)) as store:
        store.write({f"key{number}": bytes(50) for number in range(200)} | {"large": bytes(9000)})
    return path


@contextlib.contextmanager
def edited(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, to be changed by hand."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def refused(path: Path, *, readonly: bool) -> StoreError:
    """The error with which it is opened."""
    url = f"sqlite:///{path}"
    with pytest.raises(StoreError) as error:
        open_store(url, readonly=readonly).close()
    assert str(path) in str(error.value)
    return error.value


def limited(path: Path, code: str, memory: int) -> str:
    """What a process says that has so many bytes more than when it begins with a database."""
    begin = """
        import autostate, os, resource, sys
        from autostate.stores import open_store
        from autostate.stores.sqlite import SqliteStore
        url = "sqlite:///" + sys.argv[1]
        SqliteStore.max_record = 50 << 20
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
        try:
    """
    code = textwrap.dedent(begin) + textwrap.indent(textwrap.dedent(code), "    ")
    code += "\nexcept autostate.StoreError as error:\n    print(type(error).__name__, error)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(memory)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_huge_row_is_not_loaded(path: Path) -> None:
    """Neither when the file is opened nor when it came later, or where it is no value at all."""
    with edited(path) as connection:
        connection.execute("INSERT INTO records VALUES ('huge', zeroblob(100 << 20))")
        connection.execute("PRAGMA user_version = 202")
    told = limited(path, 'print(len(open_store(url).read("key1")))', 64 << 20)
    assert told == "50\n"
    told = limited(path, 'open_store(url).read("huge")', 64 << 20)
    assert "the record huge of" in told
    assert "has more than 52,428,800 bytes" in told
    with edited(path) as connection:
        connection.execute("UPDATE records SET key = CAST(value AS TEXT) WHERE key = 'huge'")
    told = limited(path, "open_store(url)", 64 << 20)
    assert told.startswith("DamagedStoreError")


def test_a_row_has_no_more_than_there_is_room_for(path: Path) -> None:
    """The pages of a value that go in a circle: 100 MB in a file of some kB."""
    content = bytearray(path.read_bytes())
    at = content.index(b"large\x00\x00\x00")  # the cell: its size, rowid, header, key and value
    start = at - 1
    while content[start : start + 1] != b"\xc6":  # of the size, 9,0xx bytes
        start -= 1
    size = 100 << 20
    with edited(path) as connection:
        connection.execute("UPDATE records SET value = zeroblob(?) WHERE key = 'large'", (size,))
        connection.execute("PRAGMA user_version = 201")
    whole = path.read_bytes()
    with edited(path) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    assert pages > 25_000
    # The file is cut after its first hundred pages; of these the last overflow page goes back.
    keep = 100
    content = bytearray(whole[: keep * PAGE])
    struct.pack_into(">I", content, 28, keep)
    struct.pack_into(">I", content, (keep - 1) * PAGE, keep - 1)
    path.write_bytes(content)
    for readonly in (False, True):
        tracemalloc.start()
        assert isinstance(refused(path, readonly=readonly), DamagedStoreError)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(content)
        tracemalloc.stop()


def test_many_tiny_records_take_little_memory(path: Path) -> None:
    """They are checked one after another."""
    with edited(path) as connection:
        connection.execute("BEGIN")
        rows = ((f"{number}", b"") for number in range(100_000))
        connection.executemany("INSERT INTO records VALUES (?, ?)", rows)
        connection.execute("PRAGMA user_version = 100201")
        connection.execute("COMMIT")
    tracemalloc.start()
    store = open_store(f"sqlite:///{path}")
    assert tracemalloc.get_traced_memory()[1] < path.stat().st_size
    tracemalloc.stop()
    assert len(store.list("")) == 100_201
    store.close()


def tree(path: Path, index: int) -> int:
    """The root page of the table, or of its index."""
    with edited(path) as connection:
        query = "SELECT rootpage FROM sqlite_master ORDER BY rowid"
        found: int = connection.execute(query).fetchall()[index][0]
    return found


def endless(content: bytearray, root: int, kind: int, levels: int = 15) -> None:
    """Make a tree of a database in which each page refers to the next one many times."""
    leaf = bytes(content[(root - 1) * PAGE : root * PAGE])
    pages = len(content) // PAGE
    if leaf[0] == kind:  # an inner page already
        child = struct.unpack(">I", leaf[8:12])[0]
    else:
        content += leaf
        pages += 1
        child = pages
    numbers = [root, *range(pages + 1, pages + levels)]
    content += bytes((levels - 1) * PAGE)
    for number, following in zip(numbers, [*numbers[1:], child], strict=True):
        cells = 200
        page = bytearray(PAGE)
        page[0] = kind
        cell = struct.pack(">I", following) + (b"\x01" if kind == 5 else b"\x05\x03\x0f\x01k\x01")
        first = PAGE - cells * len(cell)
        struct.pack_into(">HHHB", page, 1, 0, cells, first, 0)
        struct.pack_into(">I", page, 8, following)
        for cell_number in range(cells):
            at = first + cell_number * len(cell)
            struct.pack_into(">H", page, 12 + 2 * cell_number, at)
            page[at : at + len(cell)] = cell
        content[(number - 1) * PAGE : number * PAGE] = page
    struct.pack_into(">I", content, 28, len(content) // PAGE)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_pages_that_refer_to_each_other_are_no_table_without_end(
    path: Path, index: int, *, readonly: bool
) -> None:
    """200 ** 15 rows in a file of some kB: the rows are more than it has room for."""
    content = bytearray(path.read_bytes())
    endless(content, tree(path, index), [5, 2][index])
    path.write_bytes(content)
    assert isinstance(refused(path, readonly=readonly), DamagedStoreError)
    assert path.read_bytes() == content


def test_pages_in_a_circle_are_damage(path: Path) -> None:
    """Of the table, of its index, and of the list of free pages."""
    for index in (0, 1):
        content = bytearray(path.read_bytes())
        root = tree(path, index)
        page = content[(root - 1) * PAGE : root * PAGE]
        if page[0] not in (5, 2):
            continue
        for cell in range(struct.unpack(">H", page[3:5])[0]):
            at = struct.unpack(">H", page[12 + 2 * cell : 14 + 2 * cell])[0]
            struct.pack_into(">I", content, (root - 1) * PAGE + at, root)
        struct.pack_into(">I", content, (root - 1) * PAGE + 8, root)
        other = path.with_name(f"circle{index}.db")
        other.write_bytes(content)
        assert isinstance(refused(other, readonly=False), DamagedStoreError)
    with edited(path) as connection:
        connection.execute("DELETE FROM records WHERE key = 'large'")
        connection.execute("PRAGMA user_version = 200")
    content = bytearray(path.read_bytes())
    trunk, free = struct.unpack(">II", content[32:40])
    assert free
    struct.pack_into(">II", content, (trunk - 1) * PAGE, trunk, 0)
    struct.pack_into(">I", content, 36, 1 << 30)
    path.write_bytes(content)
    with contextlib.closing(open_store(f"sqlite:///{path}")) as store:
        with pytest.raises(DamagedStoreError):
            store.write({"more": bytes(100_000)})
        assert store.read("key1") == bytes(50)


def test_a_table_that_became_endless_later_is_given_up_in_time(path: Path) -> None:
    """A query has a deadline as well."""
    with contextlib.closing(open_store(f"sqlite:///{path}")) as store:
        content = bytearray(path.read_bytes())
        endless(content, tree(path, 1), 2)
        content[24:28] = struct.pack(">I", 999)  # somebody has written: nothing is remembered
        with path.open("r+b") as file:
            file.write(content)
        with pytest.raises(StoreUnavailableError, match="flush_timeout allows for"):
            store.list("", timeout=0.3)


def test_a_huge_schema_is_not_loaded(path: Path) -> None:
    """The text that defines a table has some hundred bytes."""
    with edited(path) as connection:
        connection.execute(f"CREATE TABLE other (a DEFAULT '{'x' * 1_000_000}')")
    for readonly in (False, True):
        refused(path, readonly=readonly)


# -- files beside it -------------------------------------------------------------------------------


def plant_link(beside: Path, victim: Path) -> None:
    """A symbolic link."""
    beside.symlink_to(victim)


def plant_hard_link(beside: Path, victim: Path) -> None:
    """Another name of the user's file."""
    beside.hardlink_to(victim)


def plant_pipe(beside: Path, _victim: Path) -> None:
    """Something that is no file."""
    os.mkfifo(beside)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("plant", [plant_link, plant_hard_link, plant_pipe])
@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_sqlite_writes_to_no_file_of_the_users(
    path: Path, suffix: str, plant: Callable[[Path, Path], None], *, readonly: bool
) -> None:
    """It would empty what lies there by the name of its journal, or wait for it for ever."""
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    beside = path.with_name(f"state.db{suffix}")
    plant(beside, victim)
    before = path.read_bytes()
    assert str(beside) in str(refused(path, readonly=readonly))
    assert (victim.read_bytes(), path.read_bytes()) == (b"precious", before)
    beside.unlink()
    store = open_store(f"sqlite:///{path}", readonly=readonly)
    plant(beside, victim)
    with pytest.raises(DamagedStoreError, match="no file of its own"):
        store.read("key1")
    if not readonly:
        with pytest.raises(DamagedStoreError, match="no file of its own"):
            store.write({"key1": b"new"})
    store.close()
    assert victim.read_bytes() == b"precious"


def hot(path: Path, victim: Path) -> bytes:
    """A journal that has to be rolled back, and names another file for SQLite to delete."""
    with edited(path) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE records SET value = zeroblob(length(value) + 1)")
        journal = path.with_name("state.db-journal").read_bytes()
        connection.execute("ROLLBACK")
    magic = bytes.fromhex("d9d505f920a163d7")
    sector, size = struct.unpack(">II", journal[20:28])
    records = (len(journal) - sector) // (size + 8)
    assert records > 0
    name = os.fsencode(victim)
    checksum = sum(byte if byte < 128 else byte - 256 for byte in name) & 0xFFFFFFFF
    body = magic + struct.pack(">I", records) + journal[12:]
    lock = 0x40000000 // size + 1
    return body + struct.pack(">I", lock) + name + struct.pack(">II", len(name), checksum) + magic


@pytest.mark.parametrize("readonly", [False, True])
def test_a_journal_has_no_other_file_deleted(path: Path, *, readonly: bool) -> None:
    """SQLite itself does so, here as there: a planted journal could have any file deleted."""
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    before, journal = path.read_bytes(), hot(path, victim)
    beside = path.with_name("state.db-journal")
    path.write_bytes(before)
    beside.write_bytes(journal)
    assert "names another file" in str(refused(path, readonly=readonly))
    assert victim.read_bytes() == b"precious"
    with contextlib.suppress(autostate.AutostateError):  # noqa: SIM117
        with autostate.open(f"sqlite:///{path}", readonly=readonly):
            autostate.PersistedDict("state")
    assert victim.read_bytes() == b"precious"
    with edited(path) as connection:  # older versions of SQLite do what is refused
        connection.execute("SELECT count(*) FROM records").fetchone()
    assert not victim.exists() or sqlite3.sqlite_version_info > (3, 40, 1)


def test_what_a_kill_leaves_is_rolled_back(path: Path) -> None:
    """A journal of the database itself."""
    victim = path.with_name("victim")
    before = path.read_bytes()
    journal = hot(path, victim)
    path.write_bytes(before)
    magic = journal.rindex(struct.pack(">I", 0x40000000 // PAGE + 1) + os.fsencode(victim))
    path.with_name("state.db-journal").write_bytes(journal[:magic])
    with contextlib.closing(open_store(f"sqlite:///{path}")) as store:
        assert store.read("key1") == bytes(50)
    assert stat.S_ISREG(path.lstat().st_mode)

"""One connection to a SQLite file: how it writes, and the check of what it has opened.

A small file can hold endless tables, whose pages refer to each other. So nothing is read that is
larger than the file has room for, and no query runs for ever.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from autostate.errors import DamagedStoreError, StoreError
from autostate.stores.places import restore

SCHEMA = "CREATE TABLE records (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)"
_INDEX = "sqlite_autoindex_records_1"  # of the primary key
_NUMBERS = ("user_version", "page_count", "page_size", "journal_mode")
_ROWS = (
    "SELECT typeof(key), CAST(key AS BLOB), typeof(value), "
    "CASE typeof(value) WHEN 'blob' THEN length(value) END FROM records NOT INDEXED"
)
_INDEXED_KEYS = (
    "SELECT typeof(key), CAST(key AS BLOB) FROM records INDEXED BY sqlite_autoindex_records_1 "
    "ORDER BY key"
)
_ROW = 4  # bytes that any row takes in a file, at least
LONGEST_KEY = 65_536
"""The most bytes of a key, and of the definition of a table; usually some hundreds."""

STEPS = 20_000
"""Steps of SQLite between two checks of the deadline: some milliseconds."""

_LONGEST_CHECK = 30.0
"""The most seconds for the check of a file; with a hundred records it takes a millisecond."""

WAIT: Final = 5.0
"""Seconds to wait for a lock that another process holds while the file is opened."""


def damaged(path: Path) -> DamagedStoreError:
    """Make the error for a file that is no whole database of autostate any more."""
    return DamagedStoreError(
        f"{path} is damaged: it was cut short or overwritten, or it is a copy that was made while "
        f"a process was writing to it. {restore()}"
    )


def checked(file: Path, mode: Literal["ro", "rw"], path: Path | None = None) -> sqlite3.Connection:
    """Open an existing database, and check that it holds a whole state of autostate.

    Args:
        file: The database.
        mode: Read only, or write too.
        path: The path in messages; None: that of the file.

    Raises:
        StoreError: The database is another program's.
        DamagedStoreError: It was cut short or changed, or has pages of several moments.
        sqlite3.Error: SQLite cannot open it.
    """
    connection = connected(file, mode)
    try:
        if mode == "rw":
            _use_rollback_journal(connection)
        _check_tables(connection, path or file)
        _check_whole(connection, file, path or file)
    except BaseException:
        connection.close()
        raise
    return connection


def connected(file: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Open an existing database without a check."""
    # `as_uri` loads an HTTP client from Python 3.14 on.
    connection = sqlite3.connect(
        f"file://{quote(bytes(file.absolute()))}?mode={mode}",
        uri=True,
        timeout=WAIT,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_KEY)
    deadline = time.monotonic() + _LONGEST_CHECK
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    if mode == "rw":
        try:
            # FULL also syncs the truncation of the journal, without which a power failure could
            # bring the journal back, and with it the state before the last commit.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # of macOS: see `files.py`
        except BaseException:
            connection.close()
            raise
    return connection


def roll_back(file: Path) -> None:
    """Undo the commit in which a process was killed; acknowledged commits stay.

    Raises:
        sqlite3.Error: The file or its folder cannot be written.
    """
    with closing(connected(file, "rw")) as connection:
        connection.execute("PRAGMA user_version").fetchone()  # a read rolls back first


def _use_rollback_journal(connection: sqlite3.Connection) -> None:
    """Use a rollback journal that is empty between commits.

    A database in WAL mode, which early versions used, is switched. While another process has it
    open it stays in WAL mode, which works as well; the next start switches it.
    """
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the library's table is there, as it was made; a trigger would change writes.

    Raises:
        StoreError: The table is missing: the database is another program's.
        DamagedStoreError: The table is another one, or has new triggers, indexes or columns.
    """
    connection.execute("PRAGMA trusted_schema = OFF")
    query = "SELECT type, name, sql FROM sqlite_master WHERE lower(tbl_name) = 'records'"
    found = {(kind, name): sql for kind, name, sql in connection.execute(query).fetchall()}
    if ("table", "records") not in found:
        raise StoreError(
            f"{path} is an SQLite database without the table `records`, so no state of "
            "autostate: move it away, or configure another path"
        )
    if found != {("table", "records"): SCHEMA, ("index", _INDEX): None}:
        raise DamagedStoreError(
            f"the table `records` of {path} is not as autostate has made it: somebody else has "
            f"changed the database. Nothing was changed. {restore()}"
        )


def _check_whole(connection: sqlite3.Connection, file: Path, path: Path) -> None:
    """Check that the file has all its pages, and all the records that were counted.

    A count of 0 means no count: the store is empty, or was edited by hand. Values that are no bytes
    were written by another program. Keys lie in the table and in its index, and are searched by
    their order: if one bit of a key has changed, other keys are not found either, and nothing else
    would tell.

    Raises:
        DamagedStoreError: The file was cut short or changed, or has pages of several moments.
    """
    connection.execute("BEGIN")
    try:
        [noted], [pages], [size], [mode] = [
            connection.execute(f"PRAGMA {name}").fetchone() for name in _NUMBERS
        ]
        count = _counted(connection, pages * size)
        short = mode != "wal" and file.stat().st_size < pages * size
    except sqlite3.DataError:  # a key that is too long
        noted, count, short = 0, None, True
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    if short or count is None or noted not in (0, count):
        raise damaged(path)


def _counted(connection: sqlite3.Connection, room: int) -> int | None:
    """Count the records; None if the table or the index is damaged or endless.

    Sums of seeded hashes of the keys tell whether table and index hold the same keys.
    """
    count = total = 0
    taken = indexed = 0
    for kind, key, is_a, length in connection.execute(_ROWS):
        taken += _ROW + len(key or b"") + (length or 0)
        if taken > room or kind != "text" or is_a != "blob":
            return None
        try:
            key.decode()
        except UnicodeDecodeError:
            return None
        count, total = count + 1, total + hash(key)
    before = None
    for number, (kind, key) in enumerate(connection.execute(_INDEXED_KEYS), 1):
        if number > count or kind != "text" or (before is not None and key <= before):
            return None
        indexed, total, before = number, total - hash(key), key
    return count if indexed == count and not total else None

"""The file of a SQLite store: how it is made and opened, and which other files are refused.

SQLite would make a missing file at its final path, with no byte in it until the first commit. A
process that dies in between leaves a file that the next process takes for an empty state. So a
database is made under a temporary name, and linked to its path when it is complete. If two
processes do so at once, one finds that the path exists, and opens the file of the other. So no
process of this library leaves an empty file: it was cut short, and is an error.

Only SQLite opens the database file. POSIX drops all locks that a process holds on a file when the
process closes *any* of its descriptors: reading a header with `open()` would release the lock of a
commit in another thread. `stat`, `link` and `rename` do no harm.

Anybody who can write to the folder can put any file there. SQLite trusts the files beside a
database: it empties the target of a link with the journal's name, and a journal can name another
file, which is deleted after the journal was rolled back. A small file can hold endless tables,
whose pages refer to each other. So the files beside a database are checked first, nothing is read
that is larger than the file has room for, and no query runs for ever.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autostate.errors import DamagedStoreError, StoreError
from autostate.files import create, make_folder, sync_folder
from autostate.stores.places import is_there, look_at, refuse_place, refuse_unreadable

logger: logging.Logger = logging.getLogger("autostate")

_SCHEMA = "CREATE TABLE records (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)"
_INDEX = "sqlite_autoindex_records_1"  # of the primary key
_RESTORE = (
    "Restore it from another copy. To begin anew, call autostate.delete(name): it keeps the file "
    "under another name"
)
DAMAGED = (
    "is damaged: it was cut short or overwritten, or it is a copy that was made while a process "
    f"was writing to it. {_RESTORE}"
)
_NUMBERS = (
    "PRAGMA user_version",
    "PRAGMA page_count",
    "PRAGMA page_size",
    "PRAGMA journal_mode",
)
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

_BESIDE = ("-journal", "-wal", "-shm")
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""The end of a journal that names another file, for a transaction over several databases."""

STEPS = 20_000
"""Steps of SQLite between two checks of the deadline: some milliseconds."""

_LONGEST_CHECK = 30.0
"""The most seconds for the check of a file; with a hundred records it takes a millisecond."""

_UNFINISHED = ".new-"
_TOKEN = re.compile(r"[0-9a-f]{16}(-\w+)?")
"""The rest of the names of temporary files, and of SQLite's files beside them."""
_ABANDONED = 3600.0
"""Seconds after which a file under a temporary name belongs to no process that still lives."""

_WAIT = 5.0
"""Seconds to wait for a lock that another process holds while the file is opened."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database, made if there is no file at the path.

    Args:
        path: Where it is. Missing folders are made, with mode 0700.

    Raises:
        StoreError: Something else is there, or it cannot be written; the message says what to do.
        DamagedStoreError: The file is empty.
        sqlite3.Error: SQLite cannot open it.
        OSError: A folder cannot be made.
    """
    refuse_place(path)
    _refuse_empty(path)
    real = Path(os.path.realpath(path))
    _remove_abandoned(real)
    if not is_there(real):
        make_folder(real.parent)
        _make(real)
    _warn_of_links(real)
    refuse_planted(real)
    return _connected(path)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that is there, to read it alone: nothing is made or changed.

    Raises:
        StoreError: There is none, or it cannot be read; the message says what to do.
        DamagedStoreError: It is empty, was cut short, or has pages of several moments.
        sqlite3.Error: SQLite cannot open it.
    """
    refuse_unreadable(path)
    _refuse_empty(path)
    refuse_planted(Path(os.path.realpath(path)))
    connection = _opened(path, "ro")
    try:
        _check_tables(connection, path)
        _check_whole(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def roll_back(path: Path) -> None:
    """Undo the commit in which a process was killed; acknowledged commits stay.

    Raises:
        sqlite3.Error: The file or its folder cannot be written.
    """
    connection = _connect(path, "rw")
    try:
        connection.execute("PRAGMA user_version").fetchone()  # a read rolls back first
    finally:
        connection.close()


def _refuse_empty(path: Path) -> None:
    found = look_at(path)
    if found is not None and not found.st_size:
        raise DamagedStoreError(
            f"{path} is empty, and no state of autostate ever is: it was cut short, or made by "
            "another program. Restore it from a copy. To begin anew, delete the file, or call "
            "autostate.delete(name)"
        )


def refuse_planted(path: Path) -> None:
    """Refuse files that another user has put beside a database.

    Args:
        path: The database, by its real path.

    Raises:
        DamagedStoreError: A file beside it is not its own, or would cause another file's deletion.
    """
    for suffix in _BESIDE:
        beside = path.with_name(f"{path.name}{suffix}")
        try:
            found = beside.lstat()
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise DamagedStoreError(
                f"{beside} is no file of its own: somebody else has put it there, and SQLite would "
                "write to what it stands for. Nothing was changed. Move it away"
            )
        if suffix == "-journal" and found.st_size and _names_another(beside):
            raise DamagedStoreError(
                f"{beside} names another file, which SQLite would delete, and no journal of "
                f"autostate does: somebody else has put it there. Nothing was changed. {_RESTORE}"
            )


def _names_another(journal: Path) -> bool:
    with suppress(FileNotFoundError), journal.open("rb") as file:
        begins = max(0, os.fstat(file.fileno()).st_size - len(_NAMES_ANOTHER))
        # In one step: its owner may empty it at any moment.
        return os.pread(file.fileno(), len(_NAMES_ANOTHER), begins) == _NAMES_ANOTHER
    return False


def owner_file_of(path: Path) -> Path:
    """Give the lock file of a database, which its owner locks: see `autostate.ownership.lock`."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}-owner")


def _warn_of_links(path: Path) -> None:
    """Warn of a file with another hard link: users of the other name cannot be noticed.

    A database that is being made has two names for a moment.
    """
    with suppress(OSError):  # listing the folder may be forbidden
        names = os.listdir(path.parent)  # noqa: PTH208 - as below
        made = any(name.startswith(path.name + _UNFINISHED) for name in names)
        if not made and path.stat().st_nlink > 1:
            logger.warning(
                "%s has another name, too (a hard link): a process that uses the file by that name "
                "is not seen, and SQLite may damage it after a crash. Make a copy in place of the "
                "link",
                path,
            )


def renamed(path: Path) -> Path:
    """Give a file that cannot be read another name, with its journal; return that name."""
    kept = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(kept)
    journal = path.with_name(f"{path.name}-journal")
    with suppress(FileNotFoundError):
        journal.rename(kept.with_name(f"{kept.name}-journal"))
    return kept


def _make(path: Path) -> None:
    """Make the database under a temporary name, then link it to its path."""
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        os.close(create(unfinished))  # SQLite gives its journal the mode of the file
        connection = _connect(unfinished, "rw")
        try:
            connection.execute(_SCHEMA)
        finally:
            connection.close()
        _link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def publish(unfinished: Path, path: Path) -> None:
    """Give a finished database its path.

    Raises:
        FileExistsError: The path exists.
    """
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise FileExistsError(f"{path} is there already, and was left: name another file") from None
    except OSError:  # a file system without hard links
        if is_there(path):
            raise
        unfinished.rename(path)
    sync_folder(path.parent)


def _link(unfinished: Path, path: Path) -> None:
    """Give a finished database its path, unless another process was faster."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links. A rename may replace what another process has made
        # in this very moment; that process finds out at its next write, as for every file that
        # is replaced while it is used, and writes its state again.
        if not is_there(path):
            unfinished.rename(path)


def _remove_abandoned(path: Path) -> None:
    """Delete the temporary files of processes that died while they made the database.

    A young file may be in use. A process that died between link and unlink has left a second name
    of the database itself, which is deleted at once.
    """
    with suppress(OSError):
        database = look_at(path)
        names = os.listdir(path.parent)  # noqa: PTH208 - one step, which Ctrl-C cannot split
        for name in names:
            begin, _, end = name.rpartition(_UNFINISHED)
            if begin == path.name and _TOKEN.fullmatch(end):
                left = path.with_name(name)
                found = left.lstat()
                linked = database is not None and os.path.samestat(found, database)
                if linked or time.time() - found.st_mtime > _ABANDONED:
                    left.unlink(missing_ok=True)


def _connected(path: Path) -> sqlite3.Connection:
    """Open an existing database."""
    connection = _connect(path, "rw")
    try:
        _use_rollback_journal(connection)
        _check_tables(connection, path)
        _check_whole(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = _opened(path, mode)
    try:
        # FULL also syncs the truncation of the journal, without which a power failure could
        # bring the journal back, and with it the state before the last commit.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # of macOS: see `files.py`
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    """Open a database that was not checked yet."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_WAIT,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_KEY)
    connection.set_progress_handler(until(time.monotonic() + _LONGEST_CHECK), STEPS)
    return connection


def until(deadline: float) -> Callable[[], bool]:
    """Give a function that tells SQLite to stop after a deadline of the monotonic clock."""
    return lambda: time.monotonic() > deadline


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


def note_count(connection: sqlite3.Connection) -> None:
    """Write the number of records into the first page, in the transaction that changes it.

    A copy of the file that is made during a commit has pages of several moments. The content of a
    record is protected by its digest, but a record may be missing because a page of the index is
    older than the page that points to it. Without the number the newest state would be missed.
    """
    [count] = connection.execute("SELECT count(*) FROM records").fetchone()
    [noted] = connection.execute("PRAGMA user_version").fetchone()
    if count != noted:
        connection.execute(f"PRAGMA user_version = {count}")


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
    if found != {("table", "records"): _SCHEMA, ("index", _INDEX): None}:
        raise DamagedStoreError(
            f"the table `records` of {path} is not as autostate has made it: somebody else has "
            f"changed the database. Nothing was changed. {_RESTORE}"
        )


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
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
        [noted], [pages], [size], [mode] = (
            connection.execute(query).fetchone() for query in _NUMBERS
        )
        count = _counted(connection, pages * size)
        short = mode != "wal" and path.stat().st_size < pages * size
    except sqlite3.DataError:  # a key that is too long
        noted, count, short = 0, None, True
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    if short or count is None or noted not in (0, count):
        raise DamagedStoreError(f"{path} {DAMAGED}")


def _counted(connection: sqlite3.Connection, room: int) -> int | None:
    """Count the records; None if the table or the index is damaged or endless.

    Sums of seeded hashes of the keys tell whether table and index hold the same keys.
    """
    count = total = 0
    taken = indexed = 0
    for kind, key, is_a, length in connection.execute(_ROWS):
        taken += _ROW + len(key or b"") + (length or 0)
        if taken > room or kind != "text" or is_a != "blob" or not _is_text(key):
            return None
        count, total = count + 1, total + hash(key)
    before = None
    for number, (kind, key) in enumerate(connection.execute(_INDEXED_KEYS), 1):
        if number > count or kind != "text" or (before is not None and key <= before):
            return None
        indexed, total, before = number, total - hash(key), key
    return count if indexed == count and not total else None


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True

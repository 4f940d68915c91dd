"""The file of a SQLite store: how it is made, how it is opened, and what is refused in its place.

SQLite would make a missing file at its final path, with no byte in it until the first commit. A
process that dies in between leaves a file that the next one takes for an empty state. So a
database is made under a temporary name, and linked to its path when it is complete. Of two
processes that do so at once one finds that the path exists, and opens what the other one made. An
empty file is therefore never ours: it was cut short, and is an error.

Nothing here opens the database file but SQLite. POSIX drops all locks that a process holds on a
file when the process closes *any* of its descriptors: reading a header with `open()` would take
away the lock of a commit that another thread is in. `stat`, `link` and `rename` do no harm.

Whoever can write to the folder can put any file there. SQLite believes what lies beside a database:
it empties what a link by the name of the journal points to, and a journal can name another file,
which is deleted when the journal has been rolled back. A small file can hold tables without an end:
its pages refer to each other. So what is beside it is looked at first, nothing is read that is
larger than there is room for in the file, and no query goes on for ever.
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
    "aside"
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
"""Bytes of a key, and of what defines a table; ours have some hundreds."""

_BESIDE = ("-journal", "-wal", "-shm")
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""How a journal ends that names another file, of a transaction over several databases."""

STEPS = 20_000
"""Steps of SQLite after which it is asked whether time is left: some milliseconds."""

_LONGEST_CHECK = 30.0
"""Seconds that a file may take to be checked; one of a hundred records takes a millisecond."""

_UNFINISHED = ".new-"
_TOKEN = re.compile(r"[0-9a-f]{16}(-\w+)?")
"""What follows it in the names of our files, and of what SQLite has beside one."""
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
        DamagedStoreError: It is empty, was cut short, or is of several moments.
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
    """Undo the commit in which a process was killed; what was acknowledged stays.

    Raises:
        sqlite3.Error: The file or its folder cannot be written.
    """
    connection = _connect(path, "rw")
    try:
        connection.execute("PRAGMA user_version").fetchone()  # whoever reads rolls back first
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
    """Refuse what somebody else has put beside a database.

    Args:
        path: The database, by its real path.

    Raises:
        DamagedStoreError: A file beside it is none of its own, or would have another one deleted.
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
    """Where the owner of the state in a database holds its lock: see `autostate.ownership.lock`."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}-owner")


def _warn_of_links(path: Path) -> None:
    """Warn of a file that has another name: who uses that is not seen from here.

    While a database is made it has two for a moment.
    """
    with suppress(OSError):  # the folder may be one that nobody may list
        names = os.listdir(path.parent)  # noqa: PTH208 - as below
        made = any(name.startswith(path.name + _UNFINISHED) for name in names)
        if not made and path.stat().st_nlink > 1:
            logger.warning(
                "%s has another name, too (a hard link): a process that uses the file by that name "
                "is not seen, and SQLite may damage it after a crash. Make a copy in place of the "
                "link",
                path,
            )


def set_aside(path: Path) -> Path:
    """Give a file that cannot be read another name, with its journal; return that name."""
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(aside)
    journal = path.with_name(f"{path.name}-journal")
    with suppress(FileNotFoundError):
        journal.rename(aside.with_name(f"{aside.name}-journal"))
    return aside


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
        FileExistsError: Something is there.
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
    """Delete what processes that died while they made the database have left.

    What is young may be in use. A process that died between link and unlink has left a second
    name of the database itself, which goes at once.
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
    """Open a database that is there."""
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
    """Open a database of which nothing is known yet."""
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
    """Give what tells SQLite to stop, after a moment of the monotonic clock."""
    return lambda: time.monotonic() > deadline


def _use_rollback_journal(connection: sqlite3.Connection) -> None:
    """Keep what a commit replaces in a journal that is empty between commits.

    A database in WAL mode, as early versions made it, is switched. While another process has it
    open it stays as it is, which works as well; the next start switches it.
    """
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def note_count(connection: sqlite3.Connection) -> None:
    """Note in the first page, in the transaction that changes it, how many records there are.

    A copy of the file that is made during a commit has pages of several moments. What a record
    holds is protected by its digest, but nothing tells of a record that is not found because a
    page of the index is older than the one that points to it. The newest state would be missed.
    """
    [count] = connection.execute("SELECT count(*) FROM records").fetchone()
    [noted] = connection.execute("PRAGMA user_version").fetchone()
    if count != noted:
        connection.execute(f"PRAGMA user_version = {count}")


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """See that our table is there, as it was made; a trigger would change what is written.

    Raises:
        StoreError: It is not there: the database is another program's.
        DamagedStoreError: It is another one, or has got triggers, indexes or columns.
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
    """See that the file has all its pages, and all the records that were counted.

    A count of 0 is none: the store is empty, or was edited by hand. Values that are no bytes were
    written by somebody else. Keys lie in the table and in its index, and are looked for there by
    their order: with a bit of one changed, others too are not found, and nothing else would tell.

    Raises:
        DamagedStoreError: It was cut short, or is of several moments, or was changed.
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
    """Count the records; None if table and index are not those of whole records, or endless.

    The sums of the hashes of their keys tell whether both have the same: they are seeded.
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

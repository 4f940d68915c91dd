"""A store in one SQLite file: the default where there is no Apify platform.

It uses a rollback journal and synchronous=FULL: a write is on the disk when it returns. A
write-ahead log is half a millisecond faster for a small commit, but keeps the newest acknowledged
writes in a second file. A copy of the first file alone is then silently an older state; so is the
database after one byte of the second file has changed, because SQLite takes that place for the end
of the log; and a log does not work on file systems on a network. With a rollback journal all
acknowledged writes are in one file. A commit of 500 bytes takes 0.76 ms, a commit of 100 MB half
the time that it takes with a log, which writes everything twice.

The journal is truncated at each commit (`journal_mode = TRUNCATE`). DELETE would have to sync the
folder at every commit (synchronous=EXTRA), or a power failure could bring the journal back and
undo an acknowledged commit. PERSIST is 0.14 ms faster, but leaves a file of old content behind that
nobody can tell from a journal that is needed.

The price is that a reader makes a commit wait, and the other way round. In SQLite a waiting commit
goes before readers that begin later, and both sides wait for each other with a busy timeout. Here
each read is a transaction of its own, which ends before the next one begins.

SQLite's own integrity check misses most flipped bytes in values, so damage is found by the digests
of autostate's journal. This module only distinguishes errors that a retry may mend (locked, disk
full, an I/O error) from errors that it will not mend (not a database, not writable).
"""

from __future__ import annotations

import builtins
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from autostate.errors import (
    DamagedStoreError,
    FencedError,
    StoreError,
    StoreGoneError,
    StoreUnavailableError,
)
from autostate.stores.base import OneByOne
from autostate.stores.places import is_writable, refuse_planted
from autostate.stores.sqlite_connection import LONGEST_KEY, STEPS, WAIT, damaged
from autostate.stores.sqlite_file import open_copy, open_database, owner_file_of

_PUT = (
    "INSERT INTO records (key, value) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_GET = (
    "SELECT CASE WHEN typeof(value) = 'blob' AND length(value) <= ? THEN value END "
    "FROM records WHERE key = ?"
)
_DELETE = "DELETE FROM records WHERE key = ?"
_LIST = "SELECT key FROM records WHERE key >= ? AND key < ? ORDER BY key"
_TRANSLATED = (sqlite3.Error, MemoryError, UnicodeDecodeError, OSError)
_TIMEOUT = 5.0  # seconds to wait for a lock that another process holds
_LOCKED = (
    "is locked by another process, for longer than the {wait:.3g} s that the setting flush_timeout "
    "left: end what reads or writes it for so long, or raise flush_timeout"
)
_LOCKED_AT_FIRST = (
    f"is locked by another process, for longer than {WAIT:.3g} s: end what reads or writes it for "
    "so long, then try again"
)
_NO_MEMORY = "cannot be used: there is not enough memory"
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_MENDABLE = {
    **dict.fromkeys(_BUSY, _LOCKED),
    sqlite3.SQLITE_FULL: "cannot grow because the disk is full: free some space",
    sqlite3.SQLITE_IOERR: "met an I/O error: check the disk and its quota",
    sqlite3.SQLITE_INTERRUPT: "takes longer to be read than the setting flush_timeout allows for: "
    "it holds more than a state does, because somebody else has changed it; else raise "
    "flush_timeout",
    sqlite3.SQLITE_NOMEM: _NO_MEMORY,
}
_NOT_ANY_MORE = (
    "is not writable any more: check the permissions of the file, of the journal beside it, and of "
    "their folder"
)
_LASTING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM})
_FINAL = {
    sqlite3.SQLITE_READONLY: "is not writable: check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder exists and is writable, and "
    "that this process does not have too many files open",
    sqlite3.SQLITE_PERM: "is not accessible: check the permissions of the file and its folder",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: move it away, or configure another path",
    sqlite3.SQLITE_TOOBIG: "does not take a record of this size",
}


class SqliteStore(OneByOne):
    """Records in a table of one SQLite file.

    Args:
        path: The file. Missing folders are made, with mode 0700.
        copy: A copy that is used in place of the file, which messages name all the same.
    """

    atomic = True
    conditional = True
    metered = False
    max_record = 256 << 20

    def __init__(self, path: str | os.PathLike[str], *, copy: Path | None = None) -> None:
        self.path: Path = Path(path).absolute()
        self.url: str = f"sqlite:///{self.path}"
        self.owner_file: Path | None = owner_file_of(self.path)
        self._copy = copy
        self._real = os.path.realpath(copy or self.path)
        self._name = str(self.path)
        self._wait = -1.0
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        try:
            self._open()
        except _TRANSLATED as error:
            raise self._translated(error) from error
        _open.add(self)

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        try:
            with self._lock:
                return self._get(self._ready(timeout), key)
        except _TRANSLATED as error:
            raise self._translated(error) from error

    def _get(self, connection: sqlite3.Connection, key: str) -> bytes | None:
        """Read a record, unless it is larger than a record can be."""
        row = connection.execute(_GET, (self.max_record, key)).fetchone()
        if row is None:
            return None
        value: bytes | None = row[0]
        if value is None:
            raise DamagedStoreError(
                f"the record {key} of {self.path} is none of autostate, or has more than "
                f"{self.max_record:,} bytes: somebody else has changed the database. Restore it "
                "from a copy"
            )
        return value

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records in one transaction; see `Store.write`."""
        try:
            with self._lock:
                if self._connection is not None and self._identity() != self._opened:
                    raise self._begun_anew()
                connection = self._ready(timeout)
                if connection.in_transaction:  # there was no memory to roll it back
                    connection.execute("ROLLBACK")
                # It holds the write lock from its beginning, so that `expect` holds to its end.
                connection.execute("BEGIN IMMEDIATE")
                try:
                    for key, value in (expect or {}).items():
                        if self._get(connection, key) != value:
                            told = f"{key} in {self.path} is not what it was: nothing written"
                            raise FencedError(told)
                    connection.executemany(_PUT, puts.items())
                    connection.executemany(_DELETE, [(key,) for key in deletes])
                    _note_count(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:  # else SQLite has already rolled back
                        connection.execute("ROLLBACK")
                    raise
        except _TRANSLATED as error:
            raise self._translated(error) from error

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        try:
            with self._lock:
                rows = self._ready(timeout).execute(_LIST, (prefix, prefix + "\U0010ffff"))
                return [row[0] for row in rows.fetchall()]
        except _TRANSLATED as error:
            raise self._translated(error) from error

    def erase_deleted(self) -> None:
        """Overwrite records deleted from now on: else they stay in free pages of the file."""
        try:
            with self._lock:
                self._ready(None).execute("PRAGMA secure_delete = ON")
        except _TRANSLATED as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close the file, and leave no other file beside it."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._forget()
            if connection is None:
                return
            try:
                # Another process is writing, and needs the journal; or the file is no journal, or
                # cannot be read.
                with suppress(sqlite3.Error, DamagedStoreError, OSError):
                    refuse_planted(self._real)
                    connection.execute("PRAGMA busy_timeout = 0")
                    connection.execute("PRAGMA journal_mode = DELETE")  # deletes the empty journal
            finally:
                connection.close()

    def _forget(self) -> None:
        """Let forks no longer wait for this store."""
        _open.discard(self)

    def _open(self) -> None:
        copy = self._copy
        connection = open_database(self.path) if copy is None else open_copy(copy, self.path)
        try:
            self._opened = self._identity()
        except BaseException:
            connection.close()
            raise
        self._use(connection)

    def _use(self, connection: sqlite3.Connection) -> None:
        """Raise the limit of lengths for records; the check of the file needs a lower one."""
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self.max_record + LONGEST_KEY)
        self._connection = connection

    def _begun_anew(self) -> StoreGoneError:
        """Begin a new file; this one was deleted or replaced, and nobody would find writes to it.

        Returns:
            The error that says so: its content has to be written again.
        """
        replaced = self._connection
        assert replaced is not None
        with suppress(OSError):
            if not self.path.stat().st_size:
                self.path.unlink()  # this process has the whole state
        self._open()  # if that fails, the next write comes here again
        self._wait = -1.0
        replaced.close()
        return StoreGoneError(
            f"{self.path} was deleted or replaced while this process used it: a new one was begun"
        )

    def _identity(self) -> tuple[int, int] | None:
        """Identify the file at the path; None if there is none. An inaccessible one is not gone."""
        try:
            found = os.stat(self._name)  # noqa: PTH116 - at each write
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _ready(self, timeout: float | None) -> sqlite3.Connection:
        """Give the connection, set to wait this long for locks."""
        if self._connection is None:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        refuse_planted(self._real)  # each time: every read looks for a hot journal, and follows it
        wait = _TIMEOUT if timeout is None else max(timeout, 0.0)
        deadline = time.monotonic() + wait  # for endless tables
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
        if wait != self._wait:
            self._connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
            self._wait = wait
        return self._connection

    def _translated(self, error: Exception) -> StoreError:
        """Turn an error of SQLite into the library's: what happened, where, and what to do."""
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _MENDABLE:
                told = _MENDABLE[code].format(wait=self._wait)
                if code in _BUSY and self._wait < 0:  # no setting limits the opening
                    told = _LOCKED_AT_FIRST
                if code == sqlite3.SQLITE_IOERR and not is_writable(self._real):
                    told = _NOT_ANY_MORE
                return StoreUnavailableError(f"{self.path} {told}", lasting=code in _LASTING)
            if code == sqlite3.SQLITE_CORRUPT:
                return damaged(self.path)
            return StoreError(f"{self.path} {_FINAL.get(code, f'refused: {error}')}")
        if isinstance(error, MemoryError):  # Python usually raises it for SQLITE_NOMEM
            return StoreUnavailableError(f"{self.path} {_NO_MEMORY}", lasting=True)
        if isinstance(error, OSError):
            if self._connection is None:
                return StoreError(
                    f"{self.path} cannot be made: {error.strerror}. Make its folder writable, or "
                    "configure another path"
                )
            return StoreUnavailableError(  # the file is open: the one beside it cannot be read
                f"{self.path} cannot be used now, since its journal cannot be read: "
                f"{error.strerror}. Check the disk"
            )
        return damaged(self.path)  # SQLite's message has invalid text


def _note_count(connection: sqlite3.Connection) -> None:
    """Write the number of records into the first page, in the transaction that changes it.

    A copy of the file that is made during a commit has pages of several moments. The content of a
    record is protected by its digest, but a record may be missing because a page of the index is
    older than the page that points to it. Without the number the newest state would be missed.
    """
    [count] = connection.execute("SELECT count(*) FROM records").fetchone()
    [noted] = connection.execute("PRAGMA user_version").fetchone()
    if count != noted:
        connection.execute(f"PRAGMA user_version = {count}")


# SQLite keeps in memory which locks this process holds on a file. A child that is forked during a
# transaction inherits this information, but not the locks, and would take the file for locked for
# ever. So a fork waits for the end of each transaction.

_FORK_WAITS = 10.0
_open: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_forking = threading.local()
"""The locks that a thread holds while it forks: other threads may fork at the same time."""


def is_open(path: Path) -> bool:
    """Tell whether this process has a database open.

    If it has, no other code of this process may open the file: closing it would drop SQLite's
    locks.
    """
    return any(store._real == str(path) for store in list(_open))


def _before_fork() -> None:
    locks = [store._lock for store in list(_open)]
    _forking.held = [lock for lock in locks if lock.acquire(timeout=_FORK_WAITS)]


def _after_fork() -> None:
    for lock in vars(_forking).pop("held", ()):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )

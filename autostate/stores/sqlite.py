"""A store in one SQLite file: the default where there is no Apify platform.

WAL with synchronous=FULL: a write is on the disk when it returns, and costs one sync. SQLite's
own integrity check passes over most flipped bytes in values, so the digests of the journal are
what finds damage; here, only errors are told apart: those that trying again may mend (locked,
disk full, an I/O error) and those that it will not (not a database, not writable).
"""

from __future__ import annotations

import builtins
import os
import sqlite3
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from autostate.errors import FencedError, StoreError, StoreGoneError, StoreUnavailableError
from autostate.syncing import sync

_SCHEMA = "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)"
_PUT = (
    "INSERT INTO records (key, value) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_TIMEOUT = 5.0  # seconds to wait for a lock that another process holds

_MENDABLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process: close that process, or wait",
    sqlite3.SQLITE_LOCKED: "is locked by another process: close that process, or wait",
    sqlite3.SQLITE_FULL: "cannot grow because the disk is full: free some space",
    sqlite3.SQLITE_IOERR: "met an I/O error: check the disk and its quota",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_NOMEM: "ran out of memory",
}
_LASTING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_FINAL = {
    sqlite3.SQLITE_READONLY: "is not writable: check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder exists and is writable",
    sqlite3.SQLITE_PERM: "is not accessible: check the permissions of the file and its folder",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: move it away, or configure another path",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it, or try `sqlite3 FILE .recover`",
    sqlite3.SQLITE_TOOBIG: "does not take a record of this size",
}


class SqliteStore:
    """Records in a table of one SQLite file.

    Args:
        path: The file. Missing folders are made, with mode 0700.
    """

    atomic = True
    conditional = True
    metered = False
    max_record = 256 << 20

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path).absolute()
        self.url: str = f"sqlite:///{self.path}"
        self._wait = -1.0
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        with self._translated():
            _make_folder(self.path.parent)
            self._connection = self._connect()

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        with self._translated():
            connection = self._ready(timeout)
            row = connection.execute("SELECT value FROM records WHERE key = ?", (key,)).fetchone()
        value = row[0] if row else None
        return value.encode() if isinstance(value, str) else value  # edited by hand

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records in one transaction; see `Store.write`."""
        self._renew_if_gone()
        with self._translated(), _transaction(self._ready(timeout)) as connection:
            for key, value in (expect or {}).items():
                query = "SELECT value FROM records WHERE key = ?"
                row = connection.execute(query, (key,)).fetchone()
                if (row[0] if row else None) != value:
                    raise FencedError(f"{key} in {self.path} is not what it was: nothing written")
            connection.executemany(_PUT, puts.items())
            connection.executemany("DELETE FROM records WHERE key = ?", ((k,) for k in deletes))

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        query = "SELECT key FROM records WHERE key >= ? AND key < ? ORDER BY key"
        with self._translated():
            rows = self._ready(timeout).execute(query, (prefix, prefix + "\U0010ffff"))
            return [row[0] for row in rows]

    def close(self) -> None:
        """Move what is in the write-ahead log into the file, and close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # another process may be reading: it will do it
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()

    def _renew_if_gone(self) -> None:
        """Begin a new file if ours was deleted or replaced: what we write to it nobody will find.

        Raises:
            StoreGoneError: It was; what was in it has to be written again.
        """
        if self._connection is None or self._identity() == self._opened:
            return
        self._connection.close()
        self._wait = -1.0
        with self._translated():
            _make_folder(self.path.parent)
            self._connection = self._connect()
        raise StoreGoneError(
            f"{self.path} was deleted or replaced while this process used it: a new one was begun"
        )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # of macOS: see `syncing.py`
            # The log is moved into the file every 16 MB instead of 4: a large commit seldom
            # pays for it, and afterwards the log is cut back.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            connection.execute(_SCHEMA)
            self._opened = self._identity()
        except BaseException:
            connection.close()
            raise
        return connection

    def _ready(self, timeout: float | None) -> sqlite3.Connection:
        """The connection, set to wait this long for locks."""
        if self._connection is None:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        wait = _TIMEOUT if timeout is None else max(timeout, 0.0)
        if wait != self._wait:
            self._connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
            self._wait = wait
        return self._connection

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Turn SQLite's errors into the library's: what happened, where, and what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _MENDABLE:
                raise StoreUnavailableError(
                    f"{self.path} {_MENDABLE[code]}", lasting=code in _LASTING
                ) from error
            raise StoreError(f"{self.path} {_FINAL.get(code, f'refused: {error}')}") from error
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be made: {error.strerror}. Make its folder writable, or "
                "configure another path"
            ) from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    """One transaction that holds the write lock from its beginning, so that `expect` is sure."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # after some errors SQLite has already rolled back
            connection.execute("ROLLBACK")
        raise


def _make_folder(folder: Path) -> None:
    """Make a missing folder, private, and keep the library's own out of version control."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.name == ".autostate":
        (folder / ".gitignore").write_text("*\n")
    with suppress(OSError):  # so that a power failure does not take the folder away again
        handle = os.open(folder.parent, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)

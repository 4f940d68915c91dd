"""A SQLite store that is only read: nothing is made or written, neither in the file nor beside it.

SQLite opens the file with `mode=ro`. Each read is a transaction of its own, so that a writing
process waits for the reading of one record at most. `at_one_moment` holds one transaction for
several reads: for a state that is replaced faster than it can be read in steps.

A process that is killed in a commit leaves a *hot* journal, which has to be rolled back before
anybody can read the file. Only a connection that may write can do so. One is opened for that
moment, as the next process that uses the state would do.
"""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from autostate.errors import StoreError
from autostate.stores.readonly import Unwritable
from autostate.stores.sqlite import SqliteStore
from autostate.stores.sqlite_connection import roll_back
from autostate.stores.sqlite_file import open_to_read

T = TypeVar("T")


class SqliteView(Unwritable, SqliteStore):
    """The records of a SQLite file, to be read.

    Args:
        path: The file.

    Raises:
        StoreError: There is no such file, or it cannot be read; the message says what to do.
    """

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self._rolled_back(lambda: super(SqliteView, self).read(key, timeout=timeout))

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        return self._rolled_back(lambda: super(SqliteView, self).list(prefix, timeout=timeout))

    @contextmanager
    def at_one_moment(self) -> Generator[None]:
        """Read one state throughout the body. A writing process waits for its end."""
        connection = self._ready(None)
        with self._lock:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._forget()
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _open(self) -> None:
        self._rolled_back(lambda: self._use(open_to_read(self.path)))

    def _rolled_back(self, read: Callable[[], T]) -> T:
        """Read; if a process was killed in a commit, roll that back first."""
        try:
            return read()
        except (StoreError, sqlite3.Error) as error:
            cause = error if isinstance(error, sqlite3.Error) else error.__cause__
            if getattr(cause, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
        try:
            with self._lock:
                roll_back(self.path)
        except sqlite3.Error as error:
            raise StoreError(
                f"a process was killed while it wrote to {self.path}, which can be read as soon as "
                "that is rolled back. This process may not do so: make the file and its folder "
                "writable, or copy the file, with the one that ends in -journal, to another folder"
            ) from error
        return read()

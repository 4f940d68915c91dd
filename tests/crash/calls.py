"""What a store asks of the operating system: each call can be recorded, or made to fail.

The functions of `os` and `pathlib` are replaced while a campaign runs, and SQLite's files are
reached through a VFS in Python (apsw, whose SQLite then does the work of Python's `sqlite3`). So
the store that is tried is the library's own, to the last line.

Only calls about files below one folder count.
"""

from __future__ import annotations

import errno
import io
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import apsw
import pytest

import autostate.stores.sqlite_connection

T = TypeVar("T")


class Watcher(Protocol):
    """Is told of each call, and makes it, or not."""

    def call(self, name: str, do: Callable[[], T], path: Path, *rest: Any) -> T:
        """See a call.

        Args:
            name: What is to be done: open, make, write, cut, sync, sync_folder, rename, link,
                remove, mkdir, list, read, stat.
            do: Does it.
            path: The file or folder.
            rest: The data and the offset of a write, the length, the other name.
        """
        ...


class Calls:
    """Lets a watcher see the calls about files below a folder.

    Args:
        folder: The folder.
        watcher: The watcher.
    """

    def __init__(self, folder: Path, watcher: Watcher) -> None:
        self.folder = folder
        self.watcher = watcher
        self._handles: dict[int, Path] = {}

    def ours(self, path: Any) -> bool:
        """Whether a path is below the folder."""
        return not isinstance(path, int) and str(path).startswith(str(self.folder))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Let the watcher see what is called in a block."""
        vfs = Files(self)
        with pytest.MonkeyPatch.context() as patch:
            for name, kind in _NAMES.items():
                patch.setattr(os, name, self._named(kind, getattr(os, name)))
            patch.setattr(os, "fsync", self._fsync(os.fsync))
            patch.setattr(os, "open", self._open(os.open))
            patch.setattr(os, "fdopen", self._fdopened(os.fdopen))
            patch.setattr(pathlib.Path, "open", self._opened(pathlib.Path.open))
            patch.setattr(pathlib.Path, "read_bytes", self._named("read", Path.read_bytes))
            patch.setattr(autostate.stores.sqlite_connection, "sqlite3", _Sqlite(vfs))
            try:
                yield
            finally:
                vfs.unregister()

    def _named(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose first argument is a path, and perhaps the second one another."""

        def call(path: Any, *rest: Any, **options: Any) -> Any:
            if not self.ours(path):
                return function(path, *rest, **options)
            others = [Path(one) for one in rest if self.ours(one)]
            return self.watcher.call(
                kind, lambda: function(path, *rest, **options), Path(path), *others
            )

        return call

    def _open(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if not self.ours(path):
                handle = function(path, flags, *rest, **options)
                self._handles.pop(handle, None)  # the number of one of ours that was closed
                return handle
            kind = "make" if flags & os.O_CREAT else "open"
            handle = self.watcher.call(
                kind, lambda: function(path, flags, *rest, **options), Path(path)
            )
            self._handles[handle] = Path(path)
            return handle

        return call

    def _fdopened(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`os.fdopen`; what is written is seen in the pieces in which it is handed over."""

        def call(handle: int, mode: str = "r", *rest: Any, **options: Any) -> Any:
            file = function(handle, mode, *rest, **options)
            path = self._handles.get(handle)
            return file if path is None or "w" not in mode else _Written(self.watcher, path, file)

        return call

    def _fsync(self, function: Callable[[int], None]) -> Callable[[int], None]:
        def call(handle: int) -> None:
            path = self._handles.get(handle)
            if path is None:
                return function(handle)
            kind = "sync_folder" if path.is_dir() else "sync"
            return self.watcher.call(kind, lambda: function(handle), path)

        return call

    def _opened(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`Path.open`; what is written is seen in the pieces in which it is handed over."""

        def call(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if not self.ours(path):
                file = function(path, mode, *rest, **options)
                self._handles.pop(file.fileno(), None)
                return file
            kind = "make" if "x" in mode or "w" in mode else "open"
            file = self.watcher.call(kind, lambda: function(path, mode, *rest, **options), path)
            self._handles[file.fileno()] = path
            return file if kind == "open" else _Written(self.watcher, path, file)

        return call


_NAMES = {
    "replace": "rename",
    "rename": "rename",
    "unlink": "remove",
    "link": "link",
    "mkdir": "mkdir",
    "listdir": "list",
    "stat": "stat",
}


class _Written:
    """A new file that the watcher sees being written."""

    def __init__(self, watcher: Watcher, path: Path, file: io.BufferedWriter) -> None:
        self._watcher, self._path, self._file = watcher, path, file
        self.fileno, self.close = file.fileno, file.close

    def write(self, data: bytes) -> int:
        at = self._file.tell()
        return self._watcher.call("write", lambda: self._file.write(data), self._path, data, at)

    def flush(self) -> None:
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


# -- SQLite ----------------------------------------------------------------------------------------


_CODES = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "cut": apsw.SQLITE_IOERR_TRUNCATE,
    "remove": apsw.SQLITE_IOERR_DELETE,
}
"""As what SQLite's own files report a failure."""


@contextmanager
def _refused(kind: str) -> Iterator[None]:
    """Report an error of the system to SQLite."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC and kind != "open"
        raise apsw.exception_for(apsw.SQLITE_FULL if full else _CODES[kind]) from error


class Files(apsw.VFS):  # type: ignore[misc, name-defined, unused-ignore]
    """SQLite's way to files, past a watcher."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.name = f"watched-{id(calls)}"
        super().__init__(self.name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        """Open a file."""
        return _File(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        """Remove a file, and sync the folder if that is wanted."""
        path, watcher = Path(name), self.calls.watcher
        remove = super().xDelete
        with _refused("remove"):
            watcher.call("remove", lambda: remove(name, False), path)
            if sync:
                watcher.call("sync_folder", lambda: None, path.parent)

    def excepthook(self, *_: Any) -> bool:
        """Errors are injected: nobody has to be told."""
        return True


class _File(apsw.VFSFile):  # type: ignore[misc, name-defined, unused-ignore]
    """A file of SQLite's."""

    def __init__(self, vfs: Files, name: Any, flags: list[int]) -> None:
        self.watcher = vfs.calls.watcher
        self.path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        made = bool(flags[0] & apsw.SQLITE_OPEN_CREATE) and not self.path.exists()
        # As SQLite does it: the first sync of a new journal syncs the folder that has its name.
        self.unknown = made and bool(flags[0] & apsw.SQLITE_OPEN_MAIN_JOURNAL)
        super_init = super().__init__
        kind = "make" if made else "open"
        with _refused("open"):
            self.watcher.call(kind, lambda: super_init("", name, flags), self.path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write."""
        write = super().xWrite
        data = bytes(data)
        with _refused("write"):
            self.watcher.call("write", lambda: write(data, offset), self.path, data, offset)

    def xTruncate(self, length: int) -> None:  # noqa: N802
        """Change the length."""
        truncate = super().xTruncate
        with _refused("cut"):
            self.watcher.call("cut", lambda: truncate(length), self.path, length)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Sync."""
        sync = super().xSync
        with _refused("sync"):
            self.watcher.call("sync", lambda: sync(flags), self.path)
            if self.unknown:
                self.unknown = False
                self.watcher.call("sync_folder", lambda: None, self.path.parent)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        """Read."""
        read = super().xRead
        with _refused("read"):
            found: bytes = self.watcher.call("read", lambda: read(amount, offset), self.path)
        return found


class _Sqlite:
    """The module `sqlite3`, with connections of apsw."""

    def __init__(self, vfs: Files) -> None:
        self._vfs = vfs

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    def connect(self, name: str, *, timeout: float, **_: Any) -> _Connection:
        """Open a database, which is named by its URI."""
        flags = apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        with _translated():
            connection = apsw.Connection(name, flags=flags, vfs=self._vfs.name)
        connection.set_busy_timeout(int(timeout * 1000))
        return _Connection(connection)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of apsw as those of `sqlite3`."""
    try:
        yield
    except apsw.Error as error:
        told = sqlite3.OperationalError(str(error))
        told.sqlite_errorcode = getattr(error, "extendedresult", getattr(error, "result", 0))
        raise told from error


class _Connection:
    """A connection of apsw, as the store uses one of `sqlite3`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    def execute(self, sql: str, values: Iterable[Any] = ()) -> _Cursor:
        with _translated():
            return _Cursor(self._connection.execute(sql, tuple(values)))

    def executemany(self, sql: str, rows: Iterable[Iterable[Any]]) -> None:
        with _translated():
            self._connection.executemany(sql, [tuple(row) for row in rows])

    def setlimit(self, category: int, limit: int) -> None:
        self._connection.limit(category, limit)

    def set_progress_handler(self, handler: Callable[[], int] | None, steps: int) -> None:
        self._connection.set_progress_handler(handler, steps)

    def close(self) -> None:
        with _translated():
            self._connection.close()


class _Cursor:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetchone(self) -> Any:
        with _translated():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _translated():
            return list(self._cursor.fetchall())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

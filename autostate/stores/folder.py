"""A store in a folder: a file for each object, replaced by renaming; see `indexed.py`.

A file is written under another name, synced, and renamed; then the folder is synced. So after a
power failure a file is there as a whole, or not at all. Who replaces the index holds a lock
meanwhile, which the system releases when the process dies.

All small records lie in the index, those of shared states too. What does not work: a file for each
lineage, as in `apart.py`. A listing may lack a file that is there all the time, if it is replaced
meanwhile (tmpfs, with thousands of files), and on a network drive it may be old. Then a fold would
lose the lineage.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from autostate.errors import StoreError, StoreUnavailableError
from autostate.files import make_folder, sync_folder, write_new
from autostate.stores.indexed import ChangedError, Found, IndexedStore, check_size
from autostate.stores.places import refuse_folder
from autostate.stores.server_urls import parsed

_ASIDE: Final = ".autostate-tmp"
_LOCK: Final = "autostate-lock"
_TIMEOUT: Final = 30.0
_LOOK: Final = 0.005
_MENDABLE: Final = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the disk quota is exhausted: make room",
    errno.EFBIG: "the limit of the size of a file is reached (ulimit -f): raise it",
    errno.EIO: "the disk reports an error",
    errno.EMFILE: "this process has too many open files: close some",
    errno.ENFILE: "the system has too many open files: close some",
    errno.ESTALE: "the network drive has lost the file",
}
_NO_FOLDER: Final = frozenset({errno.EEXIST, errno.ENOTDIR})
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ESTALE})


def _opened(path: str, flags: int) -> int:
    """Open a file, and no link; a named pipe in its place does not block."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


class FolderStore(IndexedStore):
    """The records of one state in a folder.

    Args:
        folder: The folder; one that is missing is made at the first write.
        url: The URL that names it.
    """

    is_stateless = True

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(_Files(folder, url), url)
        self.folder = folder
        self.state_name: str = folder.name
        self.owner_file: Path | None = folder.with_name(f"{folder.name}.autostate-owner")


def folder_of(url: str) -> Path:
    """Give the folder of the state that a normalized URL names, in the folder of the URL."""
    parts = parsed(url)
    return Path("/", parts.path, parts.state)


def open_folder(url: str, *, readonly: bool) -> FolderStore:
    """Open the folder of a state.

    Args:
        url: A normalized URL.
        readonly: Whether to make nothing. Else the folder is made: where that fails, a program
            learns it at its start, and not at its first save.

    Raises:
        StoreError: The folder cannot be made or written; the message says what to do.
    """
    folder = folder_of(url)
    if not readonly:
        refuse_folder(folder)
        _Files(folder, url).make()
    return FolderStore(folder, url)


class _Files:
    """The objects of a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    def make(self) -> None:
        """Make the folder, if it is not there."""
        with self._translated():
            make_folder(self._folder)

    def get(self, name: str, timeout: float | None) -> Found | None:
        """Return a file; its version is its content."""
        with self._translated():
            data = self._read(name)
        return None if data is None else Found(data, data)

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """Read files, one after another."""
        return (self.get(name, timeout) for name in names)

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """Write files, and sync them."""
        with self._translated():
            make_folder(self._folder)
            for name, data in contents.items():
                self._replace(name, data)
            sync_folder(self._folder)

    def replace(self, name: str, data: bytes, version: Any, timeout: float | None) -> Any:
        """Replace a file while a lock is held."""
        with self._translated():
            make_folder(self._folder)
            with self._locked(timeout):
                if self._read(name) != version:
                    raise ChangedError
                self._replace(name, data)
                sync_folder(self._folder)
        return data

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete files."""
        with self._translated():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def old(self, prefix: str, seconds: float, timeout: float | None) -> list[str]:
        """List old files, those that a killed process has left half written included."""
        written: dict[str, float] = {}
        with self._translated():
            for path in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.name.startswith(prefix) or path.name.endswith(_ASIDE):
                        written[path.name] = path.lstat().st_mtime
        before = max(written.values(), default=0.0) - seconds
        return [name for name, time_ in written.items() if time_ < before]

    def close(self) -> None:
        """Nothing is kept open."""

    def _read(self, name: str) -> bytes | None:
        try:
            with open(self._folder / name, "rb", opener=_opened) as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    raise OSError(errno.EINVAL, f"{name} is no file")
                check_size(self._url, name, about.st_size)
                return file.read()
        except FileNotFoundError:
            return None

    def _replace(self, name: str, data: bytes) -> None:
        aside = self._folder / f".{token_hex(8)}{_ASIDE}"
        try:
            write_new(aside, data)
            aside.replace(self._folder / name)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _locked(self, timeout: float | None) -> Generator[None]:
        """Hold the lock of the folder."""
        deadline = time.monotonic() + (_TIMEOUT if timeout is None else timeout)
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _handles.add(handle)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StoreUnavailableError(
                            f"{self._url} is locked by another process for a long time: end it"
                        ) from None
                    time.sleep(_LOOK)
            yield
        finally:
            if handle in _handles:  # else this is a child
                _handles.discard(handle)
                os.close(handle)

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            told = f"{self._url} ({self._folder}): {error.strerror or error}"
            if error.errno in _MENDABLE:
                lasting = error.errno not in _PASSING
                told = f"{told}: {_MENDABLE[error.errno]}"
                raise StoreUnavailableError(told, lasting=lasting) from None
            if error.errno in _NO_FOLDER:
                told = f"{told}: something that is no folder lies there. Move it away"
                raise StoreError(told) from None
            raise StoreError(f"{told}: make the folder readable and writable") from None


_handles: set[int] = set()
"""Open files of locks: a child that is forked meanwhile would hold these locks while it lives."""


def _leave_to_parent() -> None:
    while _handles:
        os.close(_handles.pop())


os.register_at_fork(after_in_child=_leave_to_parent)

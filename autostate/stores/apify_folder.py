"""A key-value store in a folder, in exactly the layout that the Apify SDK uses locally.

A record is two files: `{key}` with the value and `{key}.__metadata__.json` beside it; without the
second file the SDK takes the record for missing, and so does this store. The order of the steps and
syncing ensure that a crash leaves the old record or the new one:

- put: the value, then the metadata, each written to a temporary file, synced and renamed; then the
  folder is synced. A crash in between leaves a new record missing, and a replaced record with its
  new value.
- delete: the metadata first, then the value. A crash in between leaves a value that nobody sees.

The program's own records in the same store are never touched.

Other users may be able to write to the folder. Anything there that is no plain file is not opened:
a link could show any file as a record, and a pipe would never end. A file that is larger than a
record can be is not read. The folder itself may be a link: users put `storage` on another disk, and
anybody who can plant a link there could as well plant the records. Files are private, whatever the
umask is; the folders above the store are made as the SDK makes them, since the program's datasets
lie there too.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote, unquote

from autostate.errors import DamagedStoreError, StoreError, StoreUnavailableError
from autostate.files import make_folder, sync_folder, write_new
from autostate.stores.base import OneByOne

_METADATA = ".__metadata__.json"
_ASIDE = ".autostate-tmp"
_ABANDONED = 3600.0
MAX_METADATA = 65_536
_LINKS = frozenset({errno.ELOOP, getattr(errno, "EMLINK", errno.ELOOP)})
"""The errors that systems raise for a link that must not be followed."""
_NO_FILE = frozenset({errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EOPNOTSUPP})
"""The errors that they raise for a socket, a folder or a device."""
_MENDABLE = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the disk quota is exhausted: make room",
    errno.EFBIG: "the limit for the size of a file is reached: raise it",
    errno.EMFILE: "this process has too many open files: close some",
    errno.ENFILE: "the system has too many open files: close some",
    errno.ENOENT: "the folder was emptied meanwhile",
    errno.EIO: "the disk reports an error",
}
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOENT})
"""Errors that may be over in a moment."""


class ApifyFolderStore(OneByOne):
    """The local form of an Apify key-value store.

    Args:
        folder: The store's folder; made at the first write.
        url: The URL that names the store.
        max_record: The most bytes of one record, as on the platform.
    """

    atomic = False
    conditional = False
    metered = False
    is_stateless = True
    """Whether a forked process can use the store together with its parent."""

    def __init__(self, folder: Path, url: str, max_record: int) -> None:
        self.url = url
        self.max_record = max_record
        self.folder = folder
        self.state_name: str = folder.name
        self.owner_file: Path | None = folder.with_name(f"{folder.name}.autostate-owner")
        self._swept = False
        self._closed = False

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        value, metadata = self._paths(key)
        described = self.read_file(metadata, MAX_METADATA)
        return None if described is None else self.read_file(value, self.max_record)

    def read_file(self, path: Path, limit: int) -> bytes | None:
        """Return the content of a file of the folder, None if there is no file.

        Args:
            path: The file.
            limit: The most bytes that the file may have.

        Raises:
            DamagedStoreError: It is no plain file, or too large; nothing of it was read.
            StoreError: The file cannot be read; the message says what to do.
        """
        with self._translated():
            try:
                return _read(path, limit)
            except FileNotFoundError:
                return None

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write records one after another, then delete; see `Store.write`."""
        with self._translated():
            for key, content in puts.items():
                self._put(key, content)
            for key in deletes:
                for path in reversed(self._paths(key)):
                    path.unlink(missing_ok=True)
            if deletes and self.folder.is_dir():
                sync_folder(self.folder)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        with self._translated():
            try:
                names = set(os.listdir(self.folder))  # noqa: PTH208 - Ctrl-C cannot split it
            except FileNotFoundError:
                return []
        keys = ((unquote(name), name) for name in names if f"{name}{_METADATA}" in names)
        found = ((key, name) for key, name in keys if key.startswith(prefix))
        return sorted(key for key, name in found if _file_name(key) == name)

    def close(self) -> None:
        """Refuse further use. No file is kept open."""
        self._closed = True

    def _put(self, key: str, content: bytes) -> None:
        value, metadata = self._paths(key)
        self._make_folder()
        self._sweep()
        described = {"key": key, "content_type": _content_type(content), "size": len(content)}
        _replace(value, content)
        _replace(metadata, json.dumps(described, indent=2).encode())
        sync_folder(self.folder)

    def _paths(self, key: str) -> tuple[Path, Path]:
        name = _file_name(key)
        return self.folder / name, self.folder / f"{name}{_METADATA}"

    def _make_folder(self) -> None:
        make_folder(self.folder.parent, 0o755)
        make_folder(self.folder)

    def _sweep(self) -> None:
        """Remove once the temporary files of killed processes; a young file may be in use."""
        if not self._swept:
            self._swept = True
            for path in self.folder.glob(f".*{_ASIDE}"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.lstat().st_mtime > _ABANDONED:
                        path.unlink()

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        try:
            yield
        except OSError as error:
            said = f"The store {self.url} in {self.folder}: {error.strerror or error}"
            if error.errno in _MENDABLE:
                lasting = error.errno not in _PASSING
                raise StoreUnavailableError(
                    f"{said}: {_MENDABLE[error.errno]}", lasting=lasting
                ) from None
            raise StoreError(f"{said}: make the folder readable and writable") from None


def _file_name(key: str) -> str:
    """Give the SDK's name for the file of a key; a value that is no text is no key."""
    return quote(key, safe="", errors="replace")


def _content_type(content: bytes) -> str:
    """Give the content type: the SDK reads JSON as JSON; a part of a larger record is not JSON."""
    whole = content.startswith(b"{") and content.endswith(b"}")
    return "application/json; charset=utf-8" if whole else "application/octet-stream"


def _read(path: Path, limit: int) -> bytes:
    """Read a plain file that is no larger than `limit`.

    Raises:
        DamagedStoreError: It is no plain file, or larger.
        OSError: The file cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, no pipe
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno in _LINKS:
            raise _refused(path, "is a symbolic link, which is not followed") from error
        if error.errno in _NO_FILE:
            raise _refused(path, "is no file") from error
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "is no file")
        if found.st_size <= limit:
            with open(handle, "rb", closefd=False) as file:
                return file.read(found.st_size)  # it is never written in place
    finally:
        os.close(handle)
    told = f"has {found.st_size:,} bytes, and at most {limit:,} were written: it was not read"
    raise _refused(path, told)


def _refused(path: Path, why: str) -> DamagedStoreError:
    return DamagedStoreError(
        f"{path} {why}: somebody else has changed the store. Put back the file from a copy, or "
        "move it away"
    )


def _replace(path: Path, content: bytes) -> None:
    """Write, sync and rename a file in place of another, in one step; a link is replaced, too."""
    aside = path.with_name(f".{token_hex(8)}{_ASIDE}")
    try:
        write_new(aside, content)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise

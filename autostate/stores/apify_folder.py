"""A key-value store in a folder, in exactly the layout that the Apify SDK uses locally.

A record is two files: `{key}` with the value and `{key}.__metadata__.json` beside it; without the
second the SDK takes the record for missing, and so does this store. Order and syncing make a crash
leave the old record or the new one:

- put: value, then metadata, each written aside, synced and renamed; then the folder is synced.
  A crash in between leaves a new record missing, and of a replaced one the new value.
- delete: metadata first, then the value. A crash in between leaves a value that nobody sees.

Records of the program's own in the same store are never touched.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import json
import os
import time
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote, unquote

from autostate.errors import StoreError, StoreUnavailableError
from autostate.stores.places import is_there
from autostate.syncing import sync

_METADATA = ".__metadata__.json"
_ASIDE = ".autostate-tmp"
_ABANDONED = 3600.0
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
"""What may be over in a moment."""


class ApifyFolderStore:
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
    """There is nothing that a forked process could not share with its parent."""

    def __init__(self, folder: Path, url: str, max_record: int) -> None:
        self.url = url
        self.max_record = max_record
        self.folder = folder
        self.owner_file: Path | None = folder.with_name(f"{folder.name}.autostate-owner")
        self._swept = False
        self._closed = False

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        value, metadata = self._paths(key)
        with self._translated():
            try:
                return value.read_bytes() if is_there(metadata) else None
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
                _sync_folder(self.folder)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        with self._translated():
            try:
                names = set(os.listdir(self.folder))  # noqa: PTH208 - Ctrl-C cannot split it
            except FileNotFoundError:
                return []
        keys = (unquote(name) for name in names if f"{name}{_METADATA}" in names)
        return sorted(key for key in keys if key.startswith(prefix))

    def close(self) -> None:
        """Refuse further use. Nothing is kept open."""
        self._closed = True

    def _put(self, key: str, content: bytes) -> None:
        value, metadata = self._paths(key)
        self._make_folder()
        self._sweep()
        described = {"key": key, "content_type": _content_type(content), "size": len(content)}
        _replace(value, content)
        _replace(metadata, json.dumps(described, indent=2).encode())
        _sync_folder(self.folder)

    def _paths(self, key: str) -> tuple[Path, Path]:
        name = quote(key, safe="")
        return self.folder / name, self.folder / f"{name}{_METADATA}"

    def _make_folder(self) -> None:
        missing = [each for each in (self.folder, *self.folder.parents) if not is_there(each)]
        self.folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync_folder(made.parent)

    def _sweep(self) -> None:
        """Remove once what killed processes have left aside; what is young may be in use."""
        if not self._swept:
            self._swept = True
            for path in self.folder.glob(f".*{_ASIDE}"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _ABANDONED:
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
                ) from error
            raise StoreError(f"{said}: make the folder readable and writable") from error


def _content_type(content: bytes) -> str:
    """JSON is read as JSON by the SDK; a part of a larger record is not JSON."""
    whole = content.startswith(b"{") and content.endswith(b"}")
    return "application/json; charset=utf-8" if whole else "application/octet-stream"


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another in one step, synced before."""
    aside = path.with_name(f".{token_hex(8)}{_ASIDE}")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            sync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)

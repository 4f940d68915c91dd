"""A store in memory: for tests, and for a state that need not outlive the process."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from autostate.errors import FencedError, StoreError
from autostate.stores.base import OneByOne


class _Records(dict[str, bytes]):
    """The records, with the lock under which they are read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


_shared: dict[str, _Records] = {}


class MemoryStore(OneByOne):
    """Records in a dict: gone with the process, but otherwise as good as a database.

    Args:
        name: Stores of the same name in one process hold the same records, so that a second
            one finds what the first one wrote. None: a store of its own.
    """

    atomic = True
    conditional = True
    metered = False
    max_record = 1 << 30
    owner_file: Path | None = None

    def __init__(self, name: str | None = None) -> None:
        self.url: str = f"memory:{name or ''}"
        self._records = _Records() if name is None else _shared.setdefault(name, _Records())
        self._closed = False

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        with self._open().lock:
            return self._records.get(key)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records, all at once; see `Store.write`."""
        records = self._open()
        with records.lock:
            for key, value in (expect or {}).items():
                if records.get(key) != value:
                    raise FencedError(f"{key} in {self.url} is not what it was: nothing written")
            records.update((key, bytes(value)) for key, value in puts.items())
            for key in deletes:
                records.pop(key, None)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        with self._open().lock:
            return sorted(key for key in self._records if key.startswith(prefix))

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        with self._open().lock:
            return {k: v for k, v in self._records.items() if k.startswith(tuple(prefixes))}

    def close(self) -> None:
        """Refuse further use. The records stay with other stores of the same name."""
        self._closed = True

    def _open(self) -> _Records:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        return self._records

"""A store in the child of a fork, opened by the first call that needs it.

A fork is no moment to open anything. The server may not answer: then the child would wait, or go on
as the writer that its parent is. With gevent nobody may wait in the middle of a fork, not even for
a connection; and each program that `subprocess` starts there begins as such a child.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from autostate.stores.base import Store
from autostate.stores.wrapping import StoreAround


class Reopened(StoreAround):
    """What a parent has opened, for its child: another connection to the same records.

    Args:
        before: The store of the parent, which is neither called nor freed here.
        opener: Opens the store in this process.
    """

    def __init__(self, before: Store, opener: Callable[[], Store]) -> None:
        super().__init__(before)
        self._before = before  # lest it is freed
        self._opener = opener
        self._is_open = False

    def __getattr__(self, name: str) -> Any:
        """Give an attribute that only some stores have; what can be called belongs to this one."""
        found = getattr(self.store, name)
        return getattr(self._opened(), name) if callable(found) else found

    def _opened(self) -> Store:
        """Give the store of this process; `Prefixed` lets one thread call at a time."""
        if not self._is_open:
            self.store = self._opener()
            self._is_open = True
        return self.store

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self._opened().read(key, timeout=timeout)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        return self._opened().list(prefix, timeout=timeout)

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        return self._opened().scan(prefixes, timeout=timeout)

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Store.read_many`."""
        return self._opened().read_many(keys, timeout=timeout)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records; see `Store.write`."""
        self._opened().write(puts, deletes, expect=expect, timeout=timeout)

    def close(self) -> None:
        """Close the store, if this process has opened it."""
        if self._is_open:
            self.store.close()

"""Stores around another store, whose records they protect."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autostate.stores.base import Store


class StoreAround:
    """The part that is the same around any store.

    Args:
        store: The other store; it is closed with this one.
    """

    def __init__(self, store: Store) -> None:
        self.store: Store = store
        self.url: str = store.url
        self.atomic: bool = store.atomic
        self.conditional: bool = store.conditional
        self.metered: bool = store.metered
        self.max_record: int = store.max_record
        self.owner_file: Path | None = store.owner_file

    def __getattr__(self, name: str) -> Any:
        """Give an attribute that only some stores have."""
        return getattr(self.store, name)

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self.store.read(key, timeout=timeout)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        return self.store.list(prefix, timeout=timeout)

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        return self.store.scan(prefixes, timeout=timeout)

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Store.read_many`."""
        return self.store.read_many(keys, timeout=timeout)

    def close(self) -> None:
        """Close the other store."""
        self.store.close()

"""Stores of any kind that are only read: every write is refused before it begins."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from autostate.errors import ReadOnlyError
from autostate.ownership.owner import Owner
from autostate.stores.base import Store


def refused(url: str) -> ReadOnlyError:
    """Make the error for an attempt to change a state that is only read."""
    return ReadOnlyError(
        f"the state in {url} was opened with readonly=True: nothing of it can be changed here, and "
        "nothing was. Open it without that to write"
    )


class ReadOnlyStore:
    """A wrapper of another store, without its `write`.

    Args:
        store: The other store; it is closed with this one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url: str = store.url
        self.atomic: bool = store.atomic
        self.conditional: bool = store.conditional
        self.metered: bool = store.metered
        self.max_record: int = store.max_record
        self.owner_file: Path | None = store.owner_file
        asks: Callable[[Owner], bool | None] | None = getattr(store, "owner_lives", None)
        if asks is not None:
            self.owner_lives: Callable[[Owner], bool | None] = asks

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self._store.read(key, timeout=timeout)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Refuse to write.

        Raises:
            ReadOnlyError: Always.
        """
        raise refused(self.url)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        return self._store.list(prefix, timeout=timeout)

    def close(self) -> None:
        """Close the other store."""
        self._store.close()

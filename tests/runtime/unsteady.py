"""What the tests of managers share: stores that fail, are full, or are slow."""

from __future__ import annotations

from typing import Any

from autostate.errors import StoreUnavailableError
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore

WAIT = 120.0


class Unsteady(MemoryStore):
    """A store that is not reached so often, first when reading and then when writing."""

    def __init__(self, name: str, *, reads: int = 0, writes: int = 0) -> None:
        super().__init__(name)
        self.reads = reads
        self.writes = writes

    def list(self, prefix: str, *, timeout: float | None = None) -> list[str]:
        self.reads -= 1
        if self.reads >= 0:
            raise StoreUnavailableError("not reached")
        return super().list(prefix, timeout=timeout)

    def write(self, *args: Any, **kwargs: Any) -> None:
        self.writes -= 1
        if self.writes >= 0:
            raise StoreUnavailableError("not reached")
        super().write(*args, **kwargs)


class Full(SqliteStore):
    """A SQLite file on a disk that is full from some moment on."""

    full = False

    def write(self, *args: Any, **kwargs: Any) -> None:
        if self.full:
            raise StoreUnavailableError("the disk is full")
        super().write(*args, **kwargs)

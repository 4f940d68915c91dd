"""Peers that keep the state on the disk, each as durable as it can be made.

RocksDB and LMDB get values as bytes, encoded by msgspec, in one batch or transaction for each save.
A value is read before something inside of it is changed: there is no state in memory.
"""

from __future__ import annotations

import contextlib
import importlib
import shelve
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.entries import MEMBERS, OBJECTS, Shape
from benchmarks.limit import encode
from benchmarks.participants import InMemory

MAP: Final = 1 << 36
"""The most bytes of LMDB's file, which is sparse."""


class Bytes:
    """A database of bytes. What changes is encoded when it is applied, and written by `save`."""

    idle = 0.0

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder, self.shape = folder, shape
        self.puts: list[tuple[bytes, bytes]] = []
        self.removed: list[bytes] = []
        self._decode = msgspec.json.Decoder(shape.type).decode

    @property
    def state(self) -> dict[str, Any]:
        """All that is stored."""
        return {key.decode(): self._decode(value) for key, value in self.items()}

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Give all that is stored."""
        raise NotImplementedError

    def get(self, keys: list[bytes]) -> list[bytes]:
        """Read the values of many keys."""
        raise NotImplementedError

    def fill(self, values: dict[str, Any]) -> None:
        """Encode many values."""
        if self.shape is OBJECTS:
            made: dict[str, Any] = {}
            self.shape.fill(made, values)
            values = made
        if self.shape is MEMBERS:
            self.puts = [(url.encode(), b"") for url in values]
        else:
            self.puts = [(url.encode(), encode(value)) for url, value in values.items()]

    def assign(self, values: dict[str, Any]) -> None:
        """Encode values."""
        self.fill(values)

    def alter(self, urls: list[str], status: int) -> None:
        """Read values, change something inside of them, and encode them."""
        keys = [url.encode() for url in urls]
        values = dict(zip(urls, map(self._decode, self.get(keys)), strict=True))
        self.shape.alter(values, urls, status)
        self.puts = list(zip(keys, map(encode, values.values()), strict=True))

    def remove(self, urls: list[str]) -> None:
        """Note which keys to remove."""
        self.removed = [url.encode() for url in urls]


class RocksDB(Bytes):
    """RocksDB by rocksdict: a batch for each save, written with `sync`."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        from rocksdict import Options, Rdict, WriteBatch, WriteOptions

        self._batch = WriteBatch
        self._database = Rdict(str(folder / "rocksdb"), Options(raw_mode=True))
        options = WriteOptions()
        options.sync = True
        self._database.set_write_options(options)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Give all that is stored."""
        found: Iterable[tuple[bytes, bytes]] = self._database.items()
        return found

    def get(self, keys: list[bytes]) -> list[bytes]:
        """Read the values of many keys."""
        found: list[bytes] = self._database.get(keys)
        return found

    def save(self) -> None:
        """Write the batch."""
        batch = self._batch(raw_mode=True)
        for key, value in self.puts:
            batch.put(key, value)
        for key in self.removed:
            batch.delete(key)
        self._database.write(batch)
        self.puts, self.removed = [], []

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class LMDB(Bytes):
    """LMDB with its defaults: each transaction is synced."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        import lmdb

        self._database = lmdb.open(str(folder / "lmdb"), map_size=MAP)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Give all that is stored."""
        with self._database.begin() as transaction:
            yield from transaction.cursor()

    def get(self, keys: list[bytes]) -> list[bytes]:
        """Read the values of many keys."""
        with self._database.begin() as transaction:
            return [transaction.get(key) for key in keys]

    def save(self) -> None:
        """Write and commit a transaction."""
        with self._database.begin(write=True) as transaction:
            if self.puts:
                transaction.cursor().putmulti(self.puts)
            for key in self.removed:
                transaction.delete(key)
        self.puts, self.removed = [], []

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class Reassigned(InMemory):
    """A mapping to which a value has to be assigned again after something in it has changed."""

    def alter(self, urls: list[str], status: int) -> None:
        """Get values, change something inside of them, and assign them."""
        for url in urls:
            value = self.state[url]
            self.shape.alter({url: value}, (url,), status)
            self.state[url] = value


class SqliteDict(Reassigned):
    """sqlitedict, with `PRAGMA synchronous=FULL` in place of the OFF that it sets itself."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        from sqlitedict import SqliteDict as Opened

        self.state = Opened(str(folder / "sqlitedict.db"))
        self.state.conn.execute("PRAGMA synchronous=FULL")

    def save(self) -> None:
        """Commit."""
        self.state.commit()

    def close(self) -> None:
        """Close the file."""
        self.state.close()


class DiskCache(Reassigned):
    """The Index of diskcache, a transaction for each save, with `sqlite_synchronous=FULL`."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        from diskcache import Cache, Index

        cache = Cache(str(folder / "diskcache"), eviction_policy="none", sqlite_synchronous=2)
        self.state = Index.fromcache(cache)
        self._transaction: Any = None

    def _begin(self) -> None:
        self._transaction = self.state.transact()
        self._transaction.__enter__()

    def fill(self, values: dict[str, Any]) -> None:
        """Put many values into a transaction."""
        self._begin()
        super().fill(values)

    def assign(self, values: dict[str, Any]) -> None:
        """Put values into a transaction."""
        self._begin()
        super().assign(values)

    def alter(self, urls: list[str], status: int) -> None:
        """Change values in a transaction."""
        self._begin()
        super().alter(urls, status)

    def remove(self, urls: list[str]) -> None:
        """Remove entries in a transaction."""
        self._begin()
        super().remove(urls)

    def save(self) -> None:
        """Commit."""
        self._transaction.__exit__(None, None, None)

    def close(self) -> None:
        """Close the file."""
        self.state.cache.close()


class Tree(Reassigned):
    """A BTree of ZODB with plain values, in a FileStorage, which syncs each transaction."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        import transaction
        import ZODB

        self._commit = transaction.commit
        self._database = ZODB.DB(str(folder / "zodb.fs"))
        self.state = self._database.open().root()["pages"] = self.made(shape)

    def made(self, shape: Shape) -> Any:
        """Make an empty container."""
        from BTrees.OOBTree import OOBTree, OOTreeSet

        return OOTreeSet() if shape is MEMBERS else OOBTree()

    def save(self) -> None:
        """Commit."""
        self._commit()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class Mapping(Tree):
    """A PersistentMapping of ZODB with plain values: one record, which each commit writes anew."""

    def made(self, shape: Shape) -> Any:
        """Make an empty container."""
        from persistent.mapping import PersistentMapping

        return PersistentMapping()

    def alter(self, urls: list[str], status: int) -> None:
        """Change something inside of values, and tell ZODB."""
        self.shape.alter(self.state, urls, status)
        self.state._p_changed = True


_KINDS: Final = {
    "dbm.sqlite3": "no: `synchronous=OFF`",
    "dbm.gnu": "`sync` syncs",
    "dbm.ndbm": "no: nothing is synced",
    "dbm.dumb": "no: nothing is synced",
}


def dbm_of_shelves() -> str:
    """Tell what a shelf of this Python is made of, and whether it is durable."""
    for name, said in _KINDS.items():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            return f"{said} (`{name}`)"
    raise RuntimeError("this Python has no dbm")


class Shelf(InMemory):
    """A shelf with `writeback=True`: `sync` writes every entry that was used since the last one."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        self.state = shelve.open(str(folder / "shelf"), "c", writeback=True)  # noqa: SIM115

    def save(self) -> None:
        """Write and sync."""
        self.state.sync()

    def close(self) -> None:
        """Close the file."""
        self.state.cache.clear()  # it has been saved
        self.state.close()

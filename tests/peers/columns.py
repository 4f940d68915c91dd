"""One adapter for each way to use a library, no more than what its documentation shows."""

from __future__ import annotations

import shelve
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, Protocol

import sqlitedict
import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

if TYPE_CHECKING:
    from autostate.settings import SettingsByName

Root = MutableMapping[Any, Any]


class Column(Protocol):
    """A library, used in one way, in the working directory."""

    def opened(self) -> Any:
        """Async context: the store is open."""

    async def root(self, name: str, **defaults: Any) -> Root:
        """The mapping of this name, with defaults for what it lacks."""

    def nested(self, value: Any) -> Any:
        """What a program would store in place of plain containers."""

    async def save(self) -> None:
        """What the library offers to save now."""


class _Sync:
    """What is common to the libraries that have a file for each mapping."""

    def __init__(self) -> None:
        self.roots: dict[str, Any] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield
        for root in self.roots.values():
            root.close()

    async def root(self, name: str, **defaults: Any) -> Root:
        if name not in self.roots:
            self.roots[name] = self.connect(name)
        for key, value in defaults.items():
            self.roots[name].setdefault(key, value)
        root: Root = self.roots[name]
        return root

    def connect(self, name: str) -> Any:
        raise NotImplementedError

    def nested(self, value: Any) -> Any:
        return value


class Autostate:
    """On SQLite, with its default settings."""

    url = "sqlite:///state.db"
    settings: SettingsByName = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        import autostate

        autostate.configure(self.url, **self.settings)
        yield

    async def root(self, name: str, **defaults: Any) -> Root:
        from autostate import PersistedDict

        return PersistedDict(name, **defaults)

    def nested(self, value: Any) -> Any:
        return value

    async def save(self) -> None:
        import autostate

        await autostate.durable()


def _actor() -> Any:
    """An Actor that leaves logging and the end of the process to the program."""
    from apify import Actor

    return Actor(configure_logging=False, exit_process=False)


class AutostateInActor(Autostate):
    """In an Actor, which saves each half a second here instead of each half a minute."""

    url = "apify:"
    settings: SettingsByName = {"debounce": 0.2, "max_delay": 0.5}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with _actor(), super().opened():
            yield


class UseState:
    """`Actor.use_state`, its key-value store in the SDK's local folder."""

    def opened(self) -> Any:
        return _actor()

    async def root(self, name: str, **defaults: Any) -> Root:
        from apify import Actor

        return await Actor.use_state(defaults, key=name)

    def nested(self, value: Any) -> Any:
        return value

    async def save(self) -> None:
        from apify import Actor

        store = await Actor.open_key_value_store()
        await store.persist_autosaved_values()


class _SqliteDbm(MutableMapping[bytes, bytes]):
    """`dbm.sqlite3`, which shelve uses from Python 3.13 on, for the Pythons before it."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._execute("PRAGMA journal_mode = wal")
        self._execute("PRAGMA synchronous = off")  # no row asks for power cuts: 20,000 syncs less
        self._execute(
            "CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
        )

    def _execute(self, *query: Any) -> list[Any]:
        with closing(self._connection.execute(*query)) as cursor:
            return cursor.fetchall()

    def __getitem__(self, key: bytes) -> bytes:
        for (value,) in self._execute("SELECT value FROM Dict WHERE key = ?", (key,)):
            return bytes(value)
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._execute("REPLACE INTO Dict (key, value) VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        self[key]
        self._execute("DELETE FROM Dict WHERE key = ?", (key,))

    def __iter__(self) -> Iterator[bytes]:
        return iter([row[0] for row in self._execute("SELECT key FROM Dict")])

    def __len__(self) -> int:
        return int(self._execute("SELECT COUNT(key) FROM Dict")[0][0])

    def close(self) -> None:
        self._connection.close()


class Shelve(_Sync):
    """A shelf a mapping."""

    writeback = False

    def connect(self, name: str) -> Any:
        return shelve.Shelf(_SqliteDbm(f"{name}.db"), writeback=self.writeback)

    async def save(self) -> None:
        for shelf in self.roots.values():
            shelf.sync()


class ShelveWriteback(Shelve):
    """With `writeback=True`, which its documentation has for values that are changed in place."""

    writeback = True


class SqliteDict(_Sync):
    """A file a mapping: two tables in one would lock each other out until both are committed."""

    autocommit = False

    def connect(self, name: str) -> Any:
        return sqlitedict.SqliteDict(f"{name}.sqlite", autocommit=self.autocommit)

    async def save(self) -> None:
        for table in self.roots.values():
            table.commit()


class SqliteDictAutocommit(SqliteDict):
    """With `autocommit=True`."""

    autocommit = True


class Zodb:
    """A file storage; plain containers below the mappings."""

    new_root: Callable[[], Any] = PersistentMapping

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        database = ZODB.DB("Data.fs")
        self._connection = database.open()
        yield
        transaction.abort()  # what nobody committed
        database.close()

    async def root(self, name: str, **defaults: Any) -> Root:
        roots = self._connection.root()
        if name not in roots:
            roots[name] = self.new_root()
        for key, value in defaults.items():
            roots[name].setdefault(key, value)
        root: Root = roots[name]
        return root

    def nested(self, value: Any) -> Any:
        return value

    async def save(self) -> None:
        try:
            transaction.commit()
        except BaseException:
            transaction.abort()  # without it every later commit fails
            raise


class ZodbPersistent(Zodb):
    """With the Persistent classes that its documentation has for containers below."""

    def nested(self, value: Any) -> Any:
        if type(value) is dict:
            return PersistentMapping({key: self.nested(item) for key, item in value.items()})
        if type(value) is list:
            return PersistentList(map(self.nested, value))
        return value


class ZodbBTrees(ZodbPersistent):
    """With the BTrees that its documentation has for large mappings."""

    new_root = OOBTree


COLUMNS: dict[str, Callable[[], Column]] = {
    "autostate": Autostate,
    "autostate in an Actor": AutostateInActor,
    "use_state": UseState,
    "shelve": Shelve,
    "shelve, writeback": ShelveWriteback,
    "sqlitedict": SqliteDict,
    "sqlitedict, autocommit": SqliteDictAutocommit,
    "ZODB": Zodb,
    "ZODB, Persistent": ZodbPersistent,
    "ZODB, BTrees": ZodbBTrees,
}

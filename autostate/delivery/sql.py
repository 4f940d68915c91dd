"""A table of a SQL database, with the id of each item as its unique key.

An item that is sent again meets its own row, and changes nothing: so each item arrives exactly
once, and nobody has to be asked what has arrived. The statement names the key
(`ON CONFLICT (key) DO NOTHING`). Without it, a table that has no such key would take items twice,
and a row that breaks another rule of the table would be left out without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from autostate.delivery.destination import Destination, OutboxItem
from autostate.errors import DeliveryRefusedError, forget_locals

Connect = Callable[[], Any]
Row = Mapping[str, Any] | Sequence[Any]

_POSTGRESQL: Final = ("postgresql://", "postgres://")
_TIMEOUTS: Final = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "keepalives_idle": 30}
"""Seconds, milliseconds and seconds: a server that vanished must not stop an outbox for hours."""
_LOGIC_ERROR: Final = 1
"""SQLite's code for a wrong statement, which is no matter of the file or of its locks."""

_of_parents: list[Any] = []
"""Connections of the processes from which this one was forked: to close them would end them there,
too."""


class SqlTable(Destination[Any]):
    """A table of a SQL database; each item arrives exactly once.

    Each batch is one transaction. Lists and dicts in a row are written as JSON.

    Args:
        database: The path of a SQLite file; a URL of PostgreSQL (`postgresql://…`), which needs
            psycopg (`autostate[postgresql]`); or a function that opens a connection of DB-API 2 to
            a database that knows `ON CONFLICT`.
        table: The name of the table, with that of its schema before a dot, if it has one.
        columns: The names of the columns beside the key, or a mapping of their names to their SQL
            types. By default each row says its own.
        row: Makes a mapping of columns to values, or a sequence of values, of an item's value; by
            default the value is one.
        key: The column of the item's id; it has to be the primary key, or to be unique.
        create: Make the table if it is missing; this needs `columns`.
        statement: Another statement, which gets the id and then the values of the row, or a mapping
            of both, with the key among its names. It has to bear the same item twice.

    Example:
        >>> import autostate
        >>> from autostate.delivery import SqlTable
        >>> table = SqlTable("pages.db", "pages", {"url": "TEXT", "size": "INTEGER"}, create=True)
        >>> pages = autostate.outbox("pages", table)
        >>> pages.put({"url": "https://example.com", "size": 1256})
        >>> pages.drain()
        True
    """

    def __init__(
        self,
        database: str | os.PathLike[str] | Connect,
        table: str,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        *,
        row: Callable[[Any], Row] | None = None,
        key: str = "item_id",
        create: bool = False,
        statement: str | None = None,
    ) -> None:
        if create and not columns:
            raise ValueError("create=True needs the columns of the table")
        self.table = table
        self._database = database if callable(database) else os.fspath(database)
        self._columns = None if columns is None else tuple(columns)
        self._types = columns if isinstance(columns, Mapping) else {}
        self._row = row
        self._key = key
        self._create = create
        self._statement = statement
        self._connection: Any = None
        self._process = 0
        self._has_table = not create

    def __repr__(self) -> str:
        return f"SqlTable({self.table!r})"

    def is_same(self, other: Destination[Any]) -> bool:
        """Tell whether the other one writes to the same table in the same way."""
        return isinstance(other, SqlTable) and self._identity() == other._identity()

    def _identity(self) -> tuple[Any, ...]:
        settings = (self._columns, self._row, self._key, self._statement)
        return self._database, self.table, settings

    def deliver(self, items: Sequence[OutboxItem[Any]], place: Any) -> None:
        """Insert the items in one transaction; those that are there already stay as they are."""
        connection = None
        try:
            connection = self._opened()
            with contextlib.closing(connection.cursor()) as cursor:
                self._make_table(cursor)
                for statement, rows in self._statements(items):
                    cursor.executemany(statement, rows)
            connection.commit()
            self._has_table = True
        except BaseException as error:
            translated = _translated(error)
            self._give_up(lost=translated is not error)
            if translated is error:
                raise
            forget_locals(error)  # of the driver, which has rows
            raise translated from error

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and self._process == os.getpid():
            connection.close()

    # -- inside -------------------------------------------------------------------------------

    def _opened(self) -> Any:
        if self._connection is not None and self._process != os.getpid():
            _of_parents.append(self._connection)
            self._connection = None
        if self._connection is None:
            self._process = os.getpid()
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Any:
        database = self._database
        if callable(database):
            return database()
        if database.startswith(_POSTGRESQL):
            try:
                psycopg: Any = import_module("psycopg")
            except ImportError as error:
                raise DeliveryRefusedError(
                    "PostgreSQL needs psycopg: pip install 'autostate[postgresql]'"
                ) from error
            known = psycopg.conninfo.conninfo_to_dict(database)
            options: Any = {k: v for k, v in _TIMEOUTS.items() if k not in known}
            return psycopg.connect(database, **options)
        return sqlite3.connect(Path(database).expanduser(), timeout=30)

    def _give_up(self, *, lost: bool) -> None:
        """Undo what was begun; close a connection that may be lost."""
        connection = self._connection
        if connection is None:
            return
        try:
            connection.rollback()
        except Exception:
            lost = True
        if lost:
            with contextlib.suppress(Exception):
                self.close()

    def _make_table(self, cursor: Any) -> None:
        if not self._has_table and self._columns is not None:
            columns = "".join(
                f", {_quoted_name(name)} {self._types.get(name, 'TEXT')}" for name in self._columns
            )
            key = f"{_quoted_name(self._key)} TEXT PRIMARY KEY"
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {_quoted(self.table)} ({key}{columns})")

    def _statements(
        self, items: Sequence[OutboxItem[Any]]
    ) -> Iterator[tuple[str, list[dict[str, Any] | list[Any]]]]:
        """Give statements with the rows for each, in the order of the items."""
        rows = [self._values(item) for item in items]
        for columns, group in groupby(rows, key=lambda row: row[0]):
            statement = self._statement or self._insert(columns)
            yield statement, [values for _, values in group]

    def _values(self, item: OutboxItem[Any]) -> tuple[tuple[str, ...], dict[str, Any] | list[Any]]:
        """Return the columns and the values of an item."""
        row = item.value if self._row is None else self._row(item.value)
        if isinstance(row, Mapping):
            columns = tuple(row) if self._columns is None else self._columns
            if unknown := row.keys() - set(columns):
                raise ValueError(f"{self.table} has no columns {sorted(map(str, unknown))}")
            values = [_bound(row.get(name)) for name in columns]
            if self._statement is not None:
                return columns, {self._key: item.id, **dict(zip(columns, values, strict=True))}
        elif isinstance(row, Sequence) and not isinstance(row, str | bytes):
            columns, values = self._columns or (), [_bound(value) for value in row]
            if self._statement is None and len(columns) != len(values):
                raise ValueError(f"a row has {len(values)} values for {len(columns)} columns")
        else:
            raise TypeError(f"a row is a mapping or a sequence, not {type(row).__name__}")
        return columns, [item.id, *values]

    def _insert(self, columns: tuple[str, ...]) -> str:
        mark = _mark_of(self._connection)
        table, key = _quoted(self.table), _quoted_name(self._key)
        names = ", ".join([key, *map(_quoted_name, columns)])
        if mark == "%s":  # then each other percent sign is written twice
            table, key, names = (name.replace("%", "%%") for name in (table, key, names))
        marks = ", ".join([mark] * (len(columns) + 1))
        return (
            f"INSERT INTO {table} ({names}) VALUES ({marks}) "  # noqa: S608 - all names are quoted
            f"ON CONFLICT ({key}) DO NOTHING"
        )


def _quoted(name: str) -> str:
    """Quote the name of a table, which may have that of its schema before a dot."""
    return ".".join(map(_quoted_name, name.split(".")))


def _quoted_name(name: str) -> str:
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a table or column")
    return '"{}"'.format(name.replace('"', '""'))


def _mark_of(connection: Any) -> str:
    """Return what stands for a value in statements for a connection."""
    module = sys.modules[type(connection).__module__.partition(".")[0]]
    style = getattr(module, "paramstyle", "qmark")
    return "%s" if style in ("format", "pyformat") else "?"


def _bound(value: Any) -> Any:
    """Return a value as it is bound: what is nested, as JSON."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=msgspec.to_builtins)
    return value


def _translated(error: BaseException) -> BaseException:
    """Tell errors of the connection, and refusals, from those of an item."""
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith("28") or state == "42501":  # who may log in; what one may do
        return DeliveryRefusedError(f"{type(error).__name__}: {error}")
    names = {cls.__name__ for cls in type(error).__mro__}
    if not names & {"OperationalError", "InterfaceError"}:  # those of DB-API 2, of any module
        return error
    if getattr(error, "sqlite_errorcode", None) == _LOGIC_ERROR:
        return error
    return ConnectionError(f"{type(error).__name__}: {error}")

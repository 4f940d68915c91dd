"""A store in a PostgreSQL database: a table of records, and one function that writes.

A write is one call of the function, and so one transaction: it takes a lock for the state, compares
what is expected, writes and deletes. Nothing outlives a transaction on the server's side, so that
a pool such as PgBouncer may give each transaction another connection.

The client has no timeout for a call. A call runs in a thread of its own; if its time is over, the
connection is given up, and its outcome is unknown.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors, sql

from autostate.errors import DamagedStoreError, FencedError, StoreError, StoreUnavailableError
from autostate.ownership.owner import Owner
from autostate.stores.calls import Calls
from autostate.stores.server_urls import ServerUrl, parsed

T = TypeVar("T")

SCHEMA: Final = "autostate"
"""The schema of the table and the function, if the parameter `schema` names no other."""

_MAKE: Final = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.records (
    state text COLLATE "C", key text COLLATE "C", data bytea NOT NULL, PRIMARY KEY (state, key)
);
ALTER TABLE {schema}.records ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE OR REPLACE FUNCTION {schema}.write_1(
    state_ text, expected text[], wanted bytea[], puts text[], datas bytea[], deletes text[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    differs text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(state_, 4173));
    SELECT one.key INTO differs FROM unnest(expected, wanted) AS one(key, data)
        LEFT JOIN {schema}.records AS found ON found.state = state_ AND found.key = one.key
        WHERE found.data IS DISTINCT FROM one.data LIMIT 1;
    IF differs IS NOT NULL THEN
        RETURN differs;
    END IF;
    INSERT INTO {schema}.records (state, key, data)
        SELECT state_, one.key, one.data FROM unnest(puts, datas) AS one(key, data)
        ON CONFLICT (state, key) DO UPDATE SET data = excluded.data;
    DELETE FROM {schema}.records WHERE state = state_ AND key = ANY(deletes);
    RETURN NULL;
END $$;
"""
_WRITE: Final = "SELECT {schema}.write_1(%s, %s, %s, %s, %s, %s)"
_READ: Final = """
SELECT one.key, CASE WHEN length(data) <= %s THEN data END, data IS NOT NULL
FROM unnest(%s::text[]) WITH ORDINALITY AS one(key, number)
LEFT JOIN {schema}.records AS found ON found.state = %s AND found.key = one.key
ORDER BY number
"""
_SCAN: Final = """
SELECT key, CASE WHEN length(data) <= %s THEN data END FROM {schema}.records
WHERE state = %s AND key ^@ ANY(%s::text[])
"""
_LIST: Final = "SELECT key FROM {schema}.records WHERE state = %s AND key ^@ %s ORDER BY key"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MISSING: Final = (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName)
_REFUSED: Final = (
    errors.InvalidAuthorizationSpecification,
    errors.InvalidPassword,
    errors.InsufficientPrivilege,
    errors.InvalidCatalogName,
)


class PostgresStore:
    """The records of one state in a PostgreSQL database.

    Args:
        url: A normalized URL, see `server_urls`. The parameter `schema` names the schema; all
            others are the client's own.
    """

    atomic = True
    conditional = True
    metered = False
    max_record = 64 << 20
    owner_file: Path | None = None
    outlives_run = True

    def __init__(self, url: str) -> None:
        self.url: str = url
        parts = parsed(url)
        self.state_name: str = parts.state
        parameters = dict(parts.parameters)
        schema = parameters.pop("schema", SCHEMA)
        if not _NAME.fullmatch(schema):
            raise StoreError(f"a schema cannot be called {schema!r}: take letters, digits and _")
        self._schema = schema
        self._client_url = _client_url(parts._replace(parameters=parameters))
        self._place = f"{parts.scheme}://{parts.hosts}/{parts.path}"
        self._calls = Calls(self._told)
        self._connection: Any = None
        self._made = False
        self._pid = os.getpid()
        self._inherited: builtins.list[Any] = []
        self._closed = False
        self._ask(_LIST, (self.state_name, ""), None)

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        [row] = self._ask(_READ, (self.max_record, [key], self.state_name), timeout)
        return self._record(*row)

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another, on a connection of their own; see `Store.read_many`."""
        if not keys:
            return
        connection = self._calls.run(self._connect, timeout)
        try:
            rows = connection.cursor().stream(
                self._query(_READ), (self.max_record, [*keys], self.state_name), binary=True
            )
            for _ in keys:
                yield self._record(*self._calls.run(lambda: next(rows), timeout))
        finally:
            connection.close()

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        rows = self._ask(_SCAN, (self.max_record, self.state_name, [*prefixes]), timeout)
        found = {key: self._record(key, data, there=True) for key, data in rows}
        return {key: data for key, data in found.items() if data is not None}

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        return [key for (key,) in self._ask(_LIST, (self.state_name, prefix), timeout)]

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records in one transaction; see `Store.write`."""
        wanted = expect or {}
        [(differs,)] = self._ask(
            _WRITE,
            (
                self.state_name,
                [*wanted],
                [*wanted.values()],
                [*puts],
                [*puts.values()],
                [*deletes],
            ),
            timeout,
            makes=True,
        )
        if differs is not None:
            raise FencedError(f"{differs} in {self.url} is not what it was: nothing written")

    def owner_lives(self, owner: Owner) -> bool | None:
        """Give None: the server does not know it. An owner has a lease."""
        return None

    def close(self) -> None:
        """Close the connection. Closing twice is no error."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()
        self._calls.close()

    def _ask(
        self, query: str, arguments: tuple[Any, ...], timeout: float | None, *, makes: bool = False
    ) -> builtins.list[Any]:
        """Run a query, and give its rows; no rows if nothing was made yet.

        Args:
            query: The query.
            arguments: Its arguments.
            timeout: The most seconds to wait.
            makes: Make the table and the function if they are missing.
        """
        self._check_open()

        def run() -> builtins.list[Any]:
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.execute(self._query(query), arguments, binary=True)
            rows: builtins.list[Any] = cursor.fetchall()
            return rows

        try:
            return self._calls.run(run, timeout)
        except StoreError as error:
            if not isinstance(error.__cause__, _MISSING):
                if self._connection is None or self._connection.closed or _is_late(error):
                    self._connection = None
                raise
        if not makes:
            return [(key, None, False) for key in arguments[1]] if query == _READ else []
        self._calls.run(self._make, timeout)
        return self._calls.run(run, timeout)

    def _make(self) -> None:
        """Make the schema, the table and the function, once for all processes."""
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(4173)")
            self._connection.execute(self._query(_MAKE))

    def _connect(self) -> Any:
        """Connect to the server."""
        return psycopg.connect(
            self._client_url,
            autocommit=True,
            prepare_threshold=None,  # a pool may give the next transaction another connection
            application_name="autostate",
        )

    def _query(self, query: str) -> Any:
        text: Any = query  # it wants a literal, lest somebody puts values into a query
        return sql.SQL(text).format(schema=sql.Identifier(self._schema))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        if self._pid != os.getpid():  # a fork: what the parent has is kept, and not touched
            self._inherited += [self._connection, self._calls]
            self._connection, self._calls, self._pid = None, Calls(self._told), os.getpid()

    def _record(self, key: str, data: bytes | None, there: bool) -> bytes | None:
        if there and data is None:
            raise DamagedStoreError(
                f"the record {key} of {self.url} has more than {self.max_record:,} bytes, as none "
                "has: somebody else has changed the state. Put it back from a copy, or delete it"
            )
        return None if data is None else bytes(data)

    def _told(self, error: BaseException) -> StoreError:
        """Make the library's error; the server's message may quote data, and is not told."""
        place = f"{self._place} ({self.state_name})"
        if isinstance(error, TimeoutError):
            return StoreUnavailableError(f"{place} did not answer in time")
        if isinstance(error, _REFUSED):
            return StoreError(
                f"{place} refuses this client: {_reason(error)}. Check name, password and database "
                "in the URL; the role needs the right to create a schema, or USAGE of the schema "
                f"{self._schema} and rights to its table and function"
            )
        if isinstance(error, errors.DiskFull | errors.ReadOnlySqlTransaction | errors.OutOfMemory):
            return StoreUnavailableError(f"{place}: {_reason(error)}", lasting=True)
        if isinstance(error, psycopg.OperationalError):
            return StoreUnavailableError(
                f"{place} was not reached, or did not answer: {_reason(error)}"
            )
        return StoreError(f"{place} refused: {_reason(error)}")


def _client_url(url: ServerUrl) -> str:
    return url._replace(scheme="postgresql").client


def _is_late(error: StoreError) -> bool:
    return isinstance(error, StoreUnavailableError)


def _reason(error: BaseException) -> str:
    """Give the first line of a message, which names no values."""
    diagnosis = getattr(error, "diag", None)
    told = getattr(diagnosis, "message_primary", None) or str(error)
    return str(told).partition("\n")[0]

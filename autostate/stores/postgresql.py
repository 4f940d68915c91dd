"""A store in a PostgreSQL database: a table of records, and one function that writes.

A write is one call of the function, and so one transaction: it takes a lock for the state, compares
what is expected, writes and deletes. Nothing outlives a transaction on the server's side, so that
a pool such as PgBouncer may give each transaction another connection.

A connection on which a query was not finished, because its time was over or the program was
interrupted, is closed: an answer may be under way that belongs to no later query.
"""

from __future__ import annotations

import builtins
import contextlib
import logging
import os
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from psycopg import Error, OperationalError, errors, sql

from autostate.errors import DamagedStoreError, FencedError, StoreError, StoreUnavailableError
from autostate.ownership.owner import Owner
from autostate.stores.postgresql_connection import TIMEOUT, Connection, connected
from autostate.stores.server_urls import ServerUrl, parsed

logger: logging.Logger = logging.getLogger("autostate")

SCHEMA: Final = "autostate"
"""The schema of the table and the function, if the parameter `schema` names no other."""

_MAKE: Final = """
DO $$ BEGIN -- IF NOT EXISTS asks for the right to make one in any case
    IF to_regnamespace({name}) IS NULL THEN
        CREATE SCHEMA {schema};
    END IF;
END $$;
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
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- What is compared below would be as of before the lock.
        RAISE EXCEPTION 'default_transaction_isolation has to be read committed for this role';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
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
_WRITE: Final = "SELECT {schema}.write_1(%s, %s, %b, %s, %b, %s)"
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
_FACTS: Final = "SELECT current_setting('fsync')"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MISSING: Final = (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName)
_REFUSED: Final = (
    errors.InvalidAuthorizationSpecification,
    errors.InvalidPassword,
    errors.InsufficientPrivilege,
    errors.InvalidCatalogName,
)
_NOT_LET_IN: Final = re.compile(
    "FATAL: .*(authentication failed|does not exist|pg_hba|permission denied|not permitted)"
)
"""What a server says that lets nobody in. Its code comes with each such answer; but libpq leaves it
out of the text at the verbosity of a new connection, and psycopg sets no other. In another language
it counts as a server that does not answer, which is told all the same."""


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
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._inherited: builtins.list[Connection | None] = []
        self._closed = False
        self._examine()

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
        self._check_open()
        with self._translated():
            connection = connected(self._client_url, timeout)
        with contextlib.closing(connection), contextlib.suppress(*_MISSING):
            rows = connection.cursor().stream(
                self._query(_READ), (self.max_record, [*keys], self.state_name), binary=True
            )
            for key in keys:
                with self._translated(missing=True):
                    row = next(rows)
                yield self._record(key, *row[1:])
            return
        yield from (None for _ in keys)

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

    def _examine(self) -> None:
        """Connect; say what an end of the server would lose."""
        [(fsync,)] = self._ask(_FACTS, (), None)
        if fsync == "off":
            logger.warning(
                "%s has fsync off: if its machine ends without notice, the whole database may be "
                "lost. Set fsync on to lose nothing",
                self._place,
            )

    def _ask(
        self, query: str, arguments: tuple[Any, ...], timeout: float | None, *, makes: bool = False
    ) -> builtins.list[Any]:
        """Run a query, and give its rows; no rows if nothing was made yet.

        Args:
            query: The query.
            arguments: Its arguments.
            timeout: The most seconds to wait for each answer.
            makes: Make the table and the function if they are missing.
        """
        self._check_open()
        with self._translated():
            try:
                return self._run(query, arguments, timeout)
            except _MISSING:
                if not makes:
                    return [(key, None, False) for key in arguments[1]] if query == _READ else []
            with self._ready(timeout).transaction():  # once for all processes
                self._run("SELECT pg_advisory_xact_lock(4173)", (), timeout)
                self._ready(timeout).execute(self._query(_MAKE))
            return self._run(query, arguments, timeout)

    def _run(
        self, query: str, arguments: tuple[Any, ...], timeout: float | None
    ) -> builtins.list[Any]:
        connection = self._ready(timeout)
        return connection.execute(self._query(query), arguments, binary=True).fetchall()

    def _ready(self, timeout: float | None) -> Connection:
        """Return the connection, which waits this long for each answer."""
        if self._connection is None or self._connection.closed:
            self._connection = connected(self._client_url, timeout)
        self._connection.seconds = TIMEOUT if timeout is None else timeout
        return self._connection

    def _query(self, query: str) -> Any:
        text: Any = query  # it wants a literal, lest somebody puts values into a query
        return sql.SQL(text).format(
            schema=sql.Identifier(self._schema), name=sql.Literal(f'"{self._schema}"')
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        if self._pid != os.getpid():  # a fork: what the parent has is kept, and not touched
            self._inherited.append(self._connection)
            self._connection, self._pid = None, os.getpid()

    def _record(self, key: str, data: bytes | None, there: bool) -> bytes | None:
        if there and data is None:
            raise DamagedStoreError(
                f"the record {key} of {self.url} has more than {self.max_record:,} bytes, as none "
                "has: somebody else has changed the state. Put it back from a copy, or delete it"
            )
        return None if data is None else bytes(data)

    @contextlib.contextmanager
    def _translated(self, *, missing: bool = False) -> Generator[None]:
        """Raise the library's errors; but what says that nothing was made yet, if `missing`."""
        try:
            yield
        except (Error, TimeoutError) as error:
            if missing and isinstance(error, _MISSING):
                raise
            raise self._told(error) from None  # its message may quote data

    def _told(self, error: BaseException) -> StoreError:
        """Make the library's error; the server's message may quote data, and is not told."""
        place = f"{self._place} ({self.state_name})"
        if isinstance(error, TimeoutError):
            return StoreUnavailableError(f"{place} did not answer in time")
        if isinstance(error, _REFUSED) or _is_login_refused(error):
            return StoreError(
                f"{place} refuses this client: {_reason(error)}. Check name, password and database "
                "in the URL; the role needs the right to create a schema, or USAGE of the schema "
                f"{self._schema} and rights to its table and function"
            )
        if isinstance(error, errors.DiskFull | errors.ReadOnlySqlTransaction | errors.OutOfMemory):
            return StoreUnavailableError(f"{place}: {_reason(error)}", lasting=True)
        if isinstance(error, OperationalError):
            return StoreUnavailableError(
                f"{place} was not reached, or did not answer: {_reason(error)}. Check the host and "
                "the port in the URL, and that the server runs"
            )
        return StoreError(f"{place} refused: {_reason(error)}")


def _client_url(url: ServerUrl) -> str:
    return url._replace(scheme="postgresql").client


def _is_login_refused(error: BaseException) -> bool:
    finished = getattr(error, "pgconn", None)  # of a connection that was not made
    lacks_password = finished is not None and finished.needs_password
    return lacks_password or _NOT_LET_IN.search(str(error)) is not None


def _reason(error: BaseException) -> str:
    """Give the first line of a message, which names no values."""
    diagnosis = getattr(error, "diag", None)
    told = getattr(diagnosis, "message_primary", None) or str(error)
    return str(told).partition("\n")[0]

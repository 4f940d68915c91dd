"""The servers, each started once for a test run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module

import pytest

from autostate.stores import open_store
from tests.servers import need
from tests.servers.base import Server
from tests.servers.kinds import PACKAGES, server_of

_numbers = itertools.count(1)


def new_state() -> str:
    """A name that no other test has."""
    return f"s{next(_numbers)}"


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
    made = server_of(request.param, tmp_path_factory.mktemp(request.param))
    made.start()
    with closing(open_store(made.url("first"))) as store:
        store.list("")  # a client may begin threads, which stay
    yield made
    made.kill()
    made.remove()


@pytest.fixture(scope="session")
def obstore() -> None:
    """Let the client of S3 begin its threads, which stay."""
    need("obstore")
    client, stores = import_module("obstore"), import_module("obstore.store")
    client.put(stores.MemoryStore(), "record", b"")


@pytest.fixture
def url(server: Server) -> str:
    """The URL of a state of the test's own."""
    return server.url(new_state())

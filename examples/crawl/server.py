"""The server of a demo whose state lies on one: started for it, and ended with it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import autostate
from autostate import PersistedCounter
from tests.servers import missing_of
from tests.servers.kinds import PACKAGES, remote

KINDS: Final = {"redis": "valkey", "postgresql": "postgres", "s3": "seaweed"}
"""What speaks the protocol."""


@contextmanager
def served(store: str | None) -> Iterator[str | None]:
    """Start a server; give the URL of a state on it, None if none is wanted."""
    if store is None:
        yield None
        return
    missing = missing_of(PACKAGES[KINDS[store]])
    if missing:
        names = " ".join(name.replace("_", "-") for name in missing)
        sys.exit(f"--store {store} needs packages: {sys.executable} -m pip install {names}")
    with tempfile.TemporaryDirectory() as folder:
        server = remote(KINDS[store], Path(folder))
        server.start()
        try:
            yield server.url("crawl")
        finally:
            server.remove()


def counted(url: str) -> dict[str, int]:
    """Read what the crawl has counted."""
    with autostate.open(url, readonly=True):
        return dict(PersistedCounter[str]("visits"))

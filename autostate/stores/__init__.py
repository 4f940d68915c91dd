"""Stores: bytes by key. Everything that makes a state of them is the journal's business."""

from __future__ import annotations

import os

from autostate.stores.base import Store
from autostate.stores.urls import file_of, normalized

__all__ = ["Store", "checked", "open_store"]


def open_store(url: str | os.PathLike[str]) -> Store:
    """Open the store that a URL names.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, `memory:` (private to the
            caller), `memory:NAME` (shared by name in this process), `apify:` (the default
            key-value store of the run) or `apify:NAME`; or the path of a SQLite file. A path may
            begin with `~`.

    Returns:
        The open store. The caller closes it.

    Raises:
        ValueError: The URL is of no known kind; the message says what to write instead.
        StoreError: The store cannot be opened; the message says what to do.

    Example:
        >>> store = open_store("memory:")
        >>> store.write({"greeting": b"hello"})
        >>> store.read("greeting")
        b'hello'
    """
    url = normalized(url)
    path = file_of(url)
    if path is not None:
        from autostate.stores.sqlite import SqliteStore

        return SqliteStore(path)
    scheme, _, name = url.partition(":")
    if scheme == "memory":
        from autostate.stores.memory import MemoryStore

        return MemoryStore(name or None)
    from autostate.stores.apify import open_apify

    return open_apify(name or None)


def checked(source: str | os.PathLike[str]) -> str:
    """Give the URL of a store that could be opened, as far as looking tells.

    Args:
        source: As for `open_store`.

    Raises:
        ValueError: It is no URL of a store.
        StoreError: Nothing can be saved there.
    """
    url = normalized(source)
    path = file_of(url)
    if path is not None:
        from autostate.stores.places import refuse_place

        refuse_place(path)
    return url

"""Stores: bytes by key. Everything that makes a state of them is the journal's business."""

from __future__ import annotations

from autostate.stores.base import Store

__all__ = ["Store", "open_store"]

_KNOWN = (
    "sqlite:///relative/path, sqlite:////absolute/path, memory:, memory:NAME, apify:, apify:NAME"
)


def open_store(url: str) -> Store:
    """Open the store that a URL names.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, `memory:` (private to the
            caller), `memory:NAME` (shared by name in this process), `apify:` (the default
            key-value store of the run) or `apify:NAME`.

    Returns:
        The open store. The caller closes it.

    Raises:
        ValueError: The URL is of no known kind.
        StoreError: The store cannot be opened; the message says what to do.

    Example:
        >>> store = open_store("memory:")
        >>> store.write({"greeting": b"hello"})
        >>> store.read("greeting")
        b'hello'
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory":
        from autostate.stores.memory import MemoryStore

        return MemoryStore(rest or None)
    if colon and scheme == "sqlite" and rest.startswith("///") and rest[3:].strip("/"):
        from autostate.stores.sqlite import SqliteStore

        return SqliteStore(rest[3:])
    if colon and scheme == "apify":
        from autostate.stores.apify import open_apify

        return open_apify(rest or None)
    raise ValueError(f"{url!r} is not the URL of a store. Known are: {_KNOWN}")

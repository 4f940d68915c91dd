"""A record that a program wrote with an SDK of Apify: read, and never touched.

On the platform the record is the same for all SDKs. Elsewhere the Python SDK writes `KEY` with its
metadata beside it, the JavaScript SDK `KEY.json`, mostly without metadata. A value without its
metadata, which the Python SDK takes for missing, is read here: each file is written in one step, so
a killed program meant to keep this value.
"""

from __future__ import annotations

import json
import re

from autostate.stores.apify import open_apify
from autostate.stores.apify_folder import MAX_METADATA, ApifyFolderStore

MAX_FOREIGN = 256 << 20
"""The most bytes of a program's own record, which `adopt` reads: more than the platform allows."""

_KEY = re.compile(r"[a-zA-Z0-9!\-_.'()]{1,256}")
_NONE = "application/x-none"
"""The Python SDK's content type for None: the record counts as missing."""


def check_key(key: str) -> None:
    """Refuse an object that cannot be the key of a record.

    Raises:
        TypeError: The key is no text.
        ValueError: The platform allows no such key.
    """
    if not isinstance(key, str):
        raise TypeError(f"the key of the record is a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} cannot be the key of a record: it has at most 256 letters, digits and any of "
            "! - _ . ' ( )"
        )


def read_record(store: str | None, key: str, *, timeout: float | None = None) -> bytes | None:
    """Read the record of a program under a key of an Apify key-value store.

    Args:
        store: The name of the store; None for the run's default store.
        key: The key.
        timeout: The most seconds to wait; None: the store's own default.

    Returns:
        The value, decompressed; None if there is none.

    Raises:
        StoreUnavailableError: The store did not answer; trying again may help.
        StoreError: Trying again will not help; the message says what will.
        ValueError: No store can have this name.
    """
    opened = open_apify(store)
    try:
        if isinstance(opened, ApifyFolderStore):
            return _read_local(opened, key)
        return opened.read_up_to(MAX_FOREIGN, key, timeout=timeout)
    finally:
        opened.close()


def _read_local(store: ApifyFolderStore, key: str) -> bytes | None:
    value, metadata = store._paths(key)
    for path in (value, value.with_name(f"{value.name}.json")):
        found = store.read_file(path, MAX_FOREIGN)
        if found is None:
            continue
        if found:
            return found
        described = store.read_file(metadata, MAX_METADATA) or b""
        return None if _content_type(described) == _NONE else found
    return None


def _content_type(metadata: bytes) -> str | None:
    try:
        described = json.loads(metadata)
    except (ValueError, RecursionError):
        return None
    return described.get("content_type") if isinstance(described, dict) else None

"""The key-value stores of Apify: over HTTP on the platform, in the SDK's files elsewhere.

`apify:` is the default store of the run, `apify:NAME` a named store that outlives the run. Nothing
here imports the SDK, which would take most of a second, so state objects at module level are ready
before `apify` is even imported. The environment variables are read as the SDK reads them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from autostate.errors import StoreError
from autostate.stores.apify_folder import ApifyFolderStore
from autostate.stores.apify_platform import MAX_RECORD, ApifyStore
from autostate.stores.urls import shown

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")

_METAMORPH = re.compile(r"INPUT-METAMORPH-(?P<count>[0-9]{1,9})")


def open_apify(name: str | None, *, make: bool = True) -> ApifyStore | ApifyFolderStore:
    """Open the run's default store (None) or a named one; send nothing before the first use.

    Args:
        name: The name of the store, or None.
        make: Make a missing named store; else a missing store counts as empty.

    Raises:
        ValueError: No store can have this name.
        StoreError: The platform's environment variables are incomplete.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(
            f"{shown(f'apify:{name}')} is not the URL of a key-value store: a name has at "
            "most 63 letters, digits and hyphens, with no hyphen at either end"
        )
    url = f"apify:{name or ''}"
    if not is_at_home():
        return ApifyFolderStore(local_folder(name), url, MAX_RECORD)
    store_id = None if name else _required("ACTOR_DEFAULT_KEY_VALUE_STORE_ID")
    api = _setting("APIFY_API_BASE_URL") or "https://api.apify.com"
    token = _required("APIFY_TOKEN")
    within = "" if name else _of_metamorph()
    return ApifyStore(api, token, url, store_id=store_id, name=name, make=make, within=within)


def _of_metamorph() -> str:
    """Give what the keys of this Actor's state begin with, after a metamorph.

    The run and its default store stay, and what the former Actor has saved there is of other
    objects, perhaps under the same names. The key of the input is the one thing that is the same
    in all containers of an Actor of the run, and differs from that of every other Actor: the id of
    the Actor would not tell an Actor that becomes itself, and a run that never becomes another
    Actor has the keys that it has always had. The keys do not begin with those of the former
    Actor, which would list them as its own.
    """
    found = _METAMORPH.fullmatch(_setting("ACTOR_INPUT_KEY", "APIFY_INPUT_KEY") or "")
    return f"metamorph-{found['count']}-" if found else ""


def is_at_home() -> bool:
    """Tell whether this process runs on the Apify platform, as the SDK decides it."""
    return _flag(_setting("APIFY_IS_AT_HOME"), default=False)


def local_folder(name: str | None) -> Path:
    """Tell where the SDK keeps a key-value store outside of the platform."""
    storage = _setting("APIFY_LOCAL_STORAGE_DIR", "CRAWLEE_STORAGE_DIR")
    base = Path("storage" if storage is None else storage)
    return (base / "key_value_stores" / (name or "default")).absolute()


def purges_on_start() -> bool:
    """Tell whether the SDK will empty the local default store when an Actor starts."""
    if is_at_home():
        return False
    return _flag(_setting("APIFY_PURGE_ON_START", "CRAWLEE_PURGE_ON_START"), default=True)


def _setting(*names: str) -> str | None:
    """Read an environment variable like the SDK's settings: any case, the first name wins."""
    folded = {key.upper(): value for key, value in os.environ.items()}
    return next((folded[name] for name in names if name in folded), None)


def _flag(value: str | None, *, default: bool) -> bool:
    if value is None:
        return default
    return value.strip().lower() in {"1", "true", "t", "yes", "y", "on"}


def _required(name: str) -> str:
    old_name = name.replace("ACTOR_", "APIFY_", 1)
    value = _setting(name, old_name)
    if not value:
        raise StoreError(
            f"APIFY_IS_AT_HOME is set, but {name} is not: on the Apify platform it always is. "
            "Elsewhere unset APIFY_IS_AT_HOME, or configure another store"
        )
    return value

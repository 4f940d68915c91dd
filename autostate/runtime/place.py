"""Where a manager's store is: its URL, checked, and the place that two URLs may share.

Also where the state is that its processes share with others.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from autostate import under_test
from autostate.errors import StoreError
from autostate.process import exit_status
from autostate.settings import SHARED_VARIABLE, Settings, SettingsByName

if TYPE_CHECKING:
    from pathlib import Path

    from autostate.stores import Store

SHARED: Final = "shared"
"""The name of the shared state beside the program's own: of its file, or its name in a folder."""
SHARED_KEYS: Final = "shared-"
"""Before all keys of a shared state, so that a program's own state may lie in the same store."""


def place_of(source: str | Store) -> object:
    """Give a key that is the same for two URLs of one store.

    A store object that is neither a file, a folder nor on a platform is its own key.
    """
    from autostate.stores import file_of

    if hasattr(source, "at"):  # a commit of its history is another state than the present one
        return source
    if isinstance(source, str):
        path = path_of(source)
        name = object() if source == "memory:" else source
    else:
        path = getattr(source, "folder", None) or file_of(source.url)
        name = source.url if hasattr(source, "owner_lives") else source
    return name if path is None else os.path.realpath(path)


def path_of(url: str) -> Path | None:
    """Give the path of a store; None if it is not on this machine."""
    from autostate.stores import file_of

    scheme, _, name = url.partition(":")
    if scheme == "apify":
        from autostate.stores.apify import is_at_home, local_folder

        return None if is_at_home() else local_folder(name or None)
    return file_of(url)


def checked(
    store: str | os.PathLike[str] | Store | None, settings: SettingsByName
) -> str | Store | None:
    """Give a store, or the URL of a store that can probably be opened; open nothing."""
    if not isinstance(store, str | os.PathLike):
        if store is not None and not isinstance(getattr(store, "url", None), str):
            raise TypeError(
                f"this needs a store's URL, a path or a store, not {type(store).__name__}: write "
                'autostate.open("sqlite:///state.db"), and settings by name'
            )
        return store
    from autostate.stores import checked as checked_url
    from autostate.stores.urls import normalized

    if under_test.is_exported(str(store)):  # the program has asked the environment
        store = under_test.default_url(str(store)) or store
    try:
        url = normalized(store)
    except ValueError as error:
        exit_status.expect(error)
        raise
    readonly = Settings.for_store(url, **settings).readonly
    try:
        return checked_url(store, readonly=readonly)
    except StoreError as error:
        exit_status.expect(error)
        raise


def named_by_environment(url: str, settings: SettingsByName) -> str:
    """Check a store's URL from the environment; an error names the variable."""
    variable = "AUTOSTATE_URL"
    try:
        return str(checked(url, settings))
    except (ValueError, StoreError) as error:
        if not os.environ.get(variable, "").strip():
            raise
        problem = f"the environment variable {variable}: {error}"
        raise exit_status.expect(type(error)(problem)) from None


def shared_url(own: str, named: str | os.PathLike[str] | None) -> str:
    """Give the URL of the state that a program shares with others.

    Args:
        own: The URL of the program's own state.
        named: What the setting `shared` says.

    Raises:
        StoreError: It has to be named, on servers and in folders by `state=`, too: on a server,
            programs that have nothing to do with each other may use the same database; and runs of
            an Actor have no store in common.
    """
    from autostate.stores import file_of
    from autostate.stores.urls import SERVERS, normalized, shown

    if named is not None:
        url = normalized(named)
        scheme = url.partition(":")[0].partition("+")[0]
        if (scheme in SERVERS or scheme == "file") and not re.search(r"[?&]state=.", str(named)):
            raise StoreError(
                "the URL of the shared state names no state, so each program would have one of its "
                f"own name: add ?state=NAME, as in {shown(url).partition('?')[0]}?state=NAME"
            )
        path = file_of(url)  # absolute: the program may change its working directory
        return url if path is None else f"sqlite:///{path}"
    path = file_of((own == "memory:" and under_test.exported_url()) or own)
    if path is not None:
        return f"sqlite:///{path.parent / SHARED}.db"
    scheme, _, name = own.partition(":")
    if scheme == "memory":
        return f"memory:{name}-{SHARED}" if name else f"memory:{SHARED}"
    if scheme == "file":
        return normalized(f"{own.partition('?')[0]}?state={SHARED}")
    if scheme == "apify":
        example, why = "apify:NAME", "runs of an Actor share no default store"
    elif scheme.partition("+")[0] in SERVERS:
        example = f"{shown(own).partition('?')[0]}?state=NAME"
        why = "on a server, only you know which programs share it"
    else:
        example, why = "sqlite:///shared.db", "nobody can tell what is beside a store of your own"
    raise StoreError(
        f"the shared state needs a URL of its own, for {why}: "
        f'autostate.configure(shared="{example}"), or {SHARED_VARIABLE}'
    )

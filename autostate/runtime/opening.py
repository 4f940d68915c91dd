"""Opening the store of a state by its settings, after a check that the state is whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from autostate.errors import CorruptStateError, StoreError, StoreUnavailableError
from autostate.journal import Journal
from autostate.settings import Settings
from autostate.stores import Store, file_of, opened
from autostate.stores.keyed import keyed
from autostate.stores.urls import normalized


def open_state(
    url: str | os.PathLike[str],
    settings: Settings,
    *,
    readonly: bool = False,
    trusting: bool = False,
) -> Store:
    """Open the store of a state.

    Args:
        url: As for `open_store`.
        settings: The settings with the keys that protect the store.
        readonly: As for `open_store`.
        trusting: Accept unsigned records although a key is set.

    Raises:
        CorruptStateError: A commit that a kill has left unfinished cannot be undone, because its
            journal or the database is damaged. Nothing was touched.
        StoreError: The store cannot be opened.
    """
    url = normalized(url)
    _try_to_undo(url, settings, trusting=trusting)
    store = opened(url, readonly=readonly)
    try:
        return keyed(store, settings, trusting=trusting)
    except BaseException:
        store.close()
        raise


def _try_to_undo(url: str, settings: Settings, *, trusting: bool) -> None:
    """See in a copy that SQLite will find a whole state when it undoes an unfinished commit."""
    path = file_of(url)
    if path is None or not os.path.lexists(f"{os.path.realpath(path)}-journal"):
        return
    from autostate.stores.hot_journal import copied
    from autostate.stores.places import refuse_planted
    from autostate.stores.sqlite import SqliteStore

    refuse_planted(Path(os.path.realpath(path)))
    with copied(path) as copy:
        if copy is None:
            return
        try:
            with contextlib.closing(SqliteStore(path, copy=copy.path)) as plain:
                store = keyed(plain, settings, trusting=trusting)
                Journal(store, on_corrupt=settings.on_corrupt).recover()
        except StoreUnavailableError:  # of the copy, which has no room, for example: nobody knows
            return
        except (CorruptStateError, StoreError):  # also: it is no database any more
            if copy.is_current():
                raise

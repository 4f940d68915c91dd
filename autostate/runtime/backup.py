"""A copy of a state in a file of its own.

The file is made under a temporary name, and gets its final name when it is complete: a file with
the final name holds a whole state, whenever this process ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from autostate.journal.copying import copy_state
from autostate.runtime.api import current_manager, live
from autostate.runtime.manager import StateManager
from autostate.runtime.opening import open_state
from autostate.runtime.place import place_of
from autostate.settings import Settings
from autostate.signing import KeyFile, NoKeyError
from autostate.stores import Store, file_of
from autostate.stores.keyed import keyed
from autostate.stores.sqlite import SqliteStore
from autostate.stores.sqlite_file import publish
from autostate.stores.urls import normalized

logger: logging.Logger = logging.getLogger("autostate")


def backup(path: str | os.PathLike[str], url: str | os.PathLike[str] | None = None) -> str:
    """Copy the state into a new SQLite file: as of one moment, also while a process writes it.

    Unsaved changes of this process are saved first. The copy is a state by itself, whatever store
    it comes from: to go on with it, also in another place, set `AUTOSTATE_URL` to the returned
    URL. The key that signs pickled values (`state.db.key`) is copied with it.

    Args:
        path: The new file. Missing folders are made.
        url: The store that is copied, as for `configure`; by default the store of this process.

    Returns:
        The URL of the copy.

    Raises:
        FileExistsError: Something is at the path already. It was left unchanged.
        CorruptStateError: A record is damaged; the message names it.
        StoreError: There is no state, or it cannot be read; or the file cannot be written.
        FlushError: As for `flush`, which raises the same other errors, too.

    Example:
        >>> import autostate
        >>> autostate.PersistedDict("progress")["page"] = 7
        >>> with autostate.open(autostate.backup("copy.db")):
        ...     autostate.PersistedDict("progress")
        {'page': 7}
    """
    target = Path(os.path.realpath(path))
    key = KeyFile(str(target))
    for each in (target, key.path):
        if os.path.lexists(each):
            raise FileExistsError(f"{each} is there already, and was left: name another file")
    unfinished = target.with_name(f"{target.name}.new-{secrets.token_hex(8)}")
    try:
        with _source(url) as (source, settings), contextlib.closing(SqliteStore(unfinished)) as new:
            copy = keyed(new, settings, name=target.name, like=source)
            copy_state(source, copy, timeout=settings.flush_timeout)
            _copy_key(source, key)
        publish(unfinished, target)
    except BaseException:
        key.path.unlink(missing_ok=True)
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return f"sqlite:///{target}"


@contextmanager
def _source(url: str | os.PathLike[str] | None) -> Generator[tuple[Store, Settings]]:
    """Open the store that is copied, with all writes of this process; give its settings, too."""
    manager = current_manager() if url is None else _manager_of(normalized(url))
    if manager is not None:
        manager.flush()
    if manager is not None and manager.store is not None and file_of(manager.url) is None:
        with manager.exclusive():
            yield manager.store, manager.settings
        return
    named = normalized(url or current_manager().url)
    settings = Settings.for_store(named) if manager is None else manager.settings
    store = open_state(named, settings, readonly=True)
    with contextlib.closing(store):
        yield store, settings


def _manager_of(url: str) -> StateManager | None:
    """Give the manager of this process that has a store open, if there is one."""
    place = place_of(url)
    known = (one for one in live() if place in (place_of(one.url), one.url))
    return next(known, None)


def _copy_key(source: Store, key: KeyFile) -> None:
    """Copy the key with which the values of the copy were signed."""
    path = file_of(source.url)
    if path is None:
        return
    try:
        key.give(KeyFile(str(path)).read())
    except FileNotFoundError:
        return
    except NoKeyError as error:
        logger.warning("pickled values in the copy cannot be verified without their key: %s", error)

"""Replacing a state that cannot be read by a new one, when the user deletes a state object.

Unreadable records are copied to other keys of their store. A database that SQLite cannot read, or
that was cut short, is renamed as a whole.
"""

from __future__ import annotations

import logging
from pathlib import Path

from autostate import logs, steps
from autostate.errors import CorruptStateError, DamagedStoreError
from autostate.journal import Journal, Recovered
from autostate.journal.salvage import names_in
from autostate.runtime.claim import Claim
from autostate.runtime.start import Opened, start
from autostate.settings import Settings
from autostate.stores import Store, open_store
from autostate.stores.base import FORMAT
from autostate.stores.keyed import KeyedStore, keyed
from autostate.stores.urls import file_of
from autostate.tracking import convert

logger: logging.Logger = logging.getLogger("autostate")

_CHUNK = 8 << 20
_OVERLAP = 4096


def begin_anew(source: str | Store, settings: Settings, name: str) -> tuple[Opened, bool]:
    """Recover a state; if it cannot be read, keep it under another name and begin a new one.

    Args:
        source: The URL of the store, or the store.
        settings: How long to wait, and what to do about damage.
        name: The state object that is deleted. Other state objects of the unreadable state raise
            CorruptStateError when they are created.

    Returns:
        The state, and whether it is a new one.

    Raises:
        CorruptStateError: There is an earlier state to go back to, with other state objects.
    """
    try:
        return start(source, settings), False
    except DamagedStoreError as error:
        return _without_file(source, settings, name, error), True
    except CorruptStateError as error:
        if getattr(error, "intact", False):
            raise
        try:
            return _without_records(source, settings, name, error), True
        except DamagedStoreError as worse:
            return _without_file(source, settings, name, worse), True


def still_unreadable(name: str) -> CorruptStateError:
    """Make the error for a state object that could not be read before, and was not deleted."""
    return CorruptStateError(
        f"{name!r} could not be read when another state object was deleted. What was stored is "
        "kept in records `autostate-corrupt-…` of the store, or in a file `….corrupt-…` "
        f"beside the database. Restore it; or, to begin it anew, {steps.delete(name)}"
    )


def _without_records(
    source: str | Store, settings: Settings, name: str, error: CorruptStateError
) -> Opened:
    store = keyed(open_store(source) if isinstance(source, str) else source, settings)
    going_back = settings.on_corrupt == "raise" and getattr(error, "previous", False)
    claim = Claim.to(store, settings)
    try:
        if isinstance(store, KeyedStore) and store.holds_encrypted():
            raise _names_unknown(error)
        claim.acquire(0, None)
        journal = Journal(
            store, on_corrupt=settings.on_corrupt, convert=convert, keep=settings.keep
        )
        recovered = journal.begin_anew(
            name,
            unless_others=error if going_back else None,
            timeout=settings.flush_timeout,
        )
        claim.move_to(journal.epoch)
    except BaseException:
        claim.release()
        if isinstance(source, str):
            store.close()
        raise
    logger.error(
        "the state in %s could not be read: %s. %s begins anew; copies of the records are kept "
        "there, under keys that begin with autostate-corrupt-%s",
        *(store.url, error, name, _others(recovered)),
        extra=logs.attributes("begins_anew", name=name, store=store.url),
    )
    return Opened(store, journal, recovered, claim)


def _without_file(
    source: str | Store, settings: Settings, name: str, error: DamagedStoreError
) -> Opened:
    path = file_of(source) if isinstance(source, str) else None
    if path is None:
        raise error
    from autostate.stores.sqlite_file import owner_file_of, renamed

    if settings.keys and _holds(path, b'{"autostate":%d,"encrypted":"' % FORMAT):
        raise _names_unknown(error)
    claim = Claim(str(source), owner_file_of(path), settings)
    claim.acquire(0, None)
    store = None
    try:
        kept = renamed(path)
        names = _names_in_file(kept)
        store = keyed(open_store(str(source)), settings)
        journal = Journal(
            store, on_corrupt=settings.on_corrupt, convert=convert, keep=settings.keep
        )
        journal.recover(timeout=settings.flush_timeout)
        recovered = journal.begin_with(names - {name}, timeout=settings.flush_timeout)
        claim.move_to(journal.epoch)
    except BaseException:
        claim.release()
        if store is not None:
            store.close()
        raise
    logger.error(
        "%s. %s begins anew; the whole file is kept as %s%s",
        *(error, name, kept, _others(recovered)),
        extra=logs.attributes("begins_anew", name=name, store=str(source)),
    )
    return Opened(store, journal, recovered, claim)


def _names_unknown(error: CorruptStateError) -> CorruptStateError:
    return CorruptStateError(
        f"{error}. It is encrypted: which other state objects are in what cannot be read cannot be "
        "found out, and each of them would begin anew without a word. So nothing was deleted: move "
        "the store away to begin everything anew"
    )


def _holds(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(_CHUNK):
            if text in rest + chunk:
                return True
            rest = chunk[-len(text) :]
    return False


def _names_in_file(path: Path) -> set[str]:
    """Find the names of roots in a file that is no database any more, as far as they are whole."""
    names: set[str] = set()
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            names |= names_in(rest + chunk)
            rest = chunk[-_OVERLAP:]
    return names


def _others(recovered: Recovered) -> str:
    others = sorted(node.name for node in recovered.nodes.values() if node.name)
    if not others:
        return ". No names of others were found in it: if there were any, they begin anew, too"
    listed = ", ".join(map(repr, others[:10]))
    return f". Not readable either, until they are deleted too: {listed}"

"""Copies of a state in another store.

A file is made under a temporary name, and gets its final name when it is complete: a file with the
final name holds a whole state, whenever this process ends. In any other store the copying process
owns the state meanwhile, as a program does.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autostate import progress_bar
from autostate.errors import StoreError
from autostate.files import check_free
from autostate.journal import Journal
from autostate.journal.head import HEADS
from autostate.journal.verifying import unsigned
from autostate.ownership.owner import Owner
from autostate.process import lifecycle
from autostate.runtime.api import current_manager, live
from autostate.runtime.claim import Claim, in_use
from autostate.runtime.manager import StateManager
from autostate.runtime.opening import open_state
from autostate.runtime.place import SHARED_KEYS, place_of
from autostate.settings import Settings, scheme
from autostate.signing import KeyFile, NoKeyError, Signer
from autostate.stores import Store, file_of, opened
from autostate.stores.keyed import keyed
from autostate.stores.sqlite import SqliteStore
from autostate.stores.sqlite_file import publish
from autostate.stores.urls import normalized

logger: logging.Logger = logging.getLogger("autostate")


def copy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    progress: bool | None = None,
) -> str:
    """Copy a state into another store: as of one moment, also while its program writes.

    A shared state is copied, too: of each process all changes up to one.

    The copy is read again and compared before it counts as a state. To go on with it, set
    `AUTOSTATE_URL` to the returned URL. An interrupted copy leaves no state behind, and can be
    made again. What is signed or encrypted is so in the copy, too, with the first key that is set.

    Args:
        source: The store with the state, as for `configure`. If it is in use in this process,
            unsaved changes are saved first.
        target: The other store, of any kind, without a state.
        progress: Whether to show the progress on a terminal, with `rich`. None: if it takes longer
            than half a second, and `rich` is installed.

    Returns:
        The URL of the copy.

    Raises:
        FileExistsError: The target is a file that exists. It was left unchanged.
        FileNotFoundError: The target is a file in a folder that is missing.
        ValueError: The source and the target are one, or no URL can name the target.
        StateInUseError: A live process uses the target.
        CorruptStateError: A record is damaged; the message names it.
        StoreError: There is no state to copy, or one at the target, which is left unchanged; or a
            store cannot be read or written.
        ImportError: `progress=True`, and `rich` is not installed.
        FlushError: As for `flush`, which raises the same other errors, too.

    Example:
        >>> import autostate
        >>> with autostate.open("memory:first"):
        ...     autostate.PersistedDict("progress")["page"] = 7
        >>> with autostate.open(autostate.copy("memory:first", "memory:second")):
        ...     autostate.PersistedDict("progress")
        {'page': 7}
    """
    if progress:
        progress_bar.require()
    url = normalized(target)
    if place_of(normalized(source)) == place_of(url):
        raise ValueError(f"{url} cannot be copied to itself: name another target")
    if (path := file_of(url)) is not None:
        return copy_into_file(source, path, progress=progress)
    with _source_of(source) as (store, settings):
        if manager_of(url) is not None:
            raise StoreError(f"{url} is in use in this process: name a target that is not")
        own, shared = parts_of(store, settings)
        with contextlib.closing(keyed(opened(url), settings, like=store)) as made:
            if shared and made.list(SHARED_KEYS, timeout=settings.flush_timeout):
                raise StoreError(
                    f"{url} holds a shared state, or a part of one that an interrupted copy has "
                    "left, and nothing is overwritten: name another target"
                )
            if own:
                _fill_claimed(made, store, settings, progress)
            if shared:
                _fill_shared(made, store, settings)
            return made.url


def copy_into_file(
    url: str | os.PathLike[str] | None, path: Path, *, progress: bool | None = None
) -> str:
    """Copy a state into a new SQLite file; return its URL. See `copying.copy`."""
    target = Path(os.path.realpath(path))
    _check_named(target)
    key = KeyFile(str(target))
    for each in (target, key.path):
        check_free(each)
    unfinished = target.with_name(f"{target.name}.new-{secrets.token_hex(8)}")
    try:
        with (
            _source_of(url) as (source, settings),
            contextlib.closing(SqliteStore(unfinished)) as new,
        ):
            copy = keyed(new, settings, name=target.name, like=source)
            own, shared = parts_of(source, settings)
            if own:
                journal = Journal(copy)
                journal.recover(timeout=settings.flush_timeout)
                _fill(journal, copy, source, settings, progress)
            if shared:
                _fill_shared(copy, source, settings)
            _copy_key(source, key)
        publish(unfinished, target)
    except BaseException:
        key.path.unlink(missing_ok=True)
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return f"sqlite:///{target}"


def _check_named(path: Path) -> None:
    """Refuse a file from which nobody could go on.

    Raises:
        ValueError: Its URL would name another one, or none.
    """
    url = f"sqlite:///{path}"
    try:
        named = normalized(url)
    except ValueError:
        named = ""
    if named != url:
        raise ValueError(
            f"{path} cannot be named by a URL, in which ? and {{…}} have a meaning: choose another "
            "name"
        )


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


def parts_of(source: Store, settings: Settings) -> tuple[bool, bool]:
    """Tell whether to copy a program's own state, and a shared one: a store may hold both."""
    shared = bool(source.list(SHARED_KEYS, timeout=settings.flush_timeout))
    return not shared or bool(source.list(HEADS, timeout=settings.flush_timeout)), shared


def _fill_shared(target: Store, source: Store, settings: Settings) -> None:
    """Copy what processes share; by a module of a layer above, which few programs need."""
    module = importlib.import_module("autostate.shared.copying")
    module.fill(source, target, settings.flush_timeout)


def _fill_claimed(target: Store, source: Store, settings: Settings, progress: bool | None) -> None:
    """Copy a state into a store that no other process uses."""
    timeout = settings.flush_timeout
    claim = Claim.to(target, settings.changed(takeover=False, wait_for_owner=0.0))
    journal = Journal(target)
    saved_at = journal.recover(timeout=timeout).saved_at
    try:
        epoch = claim.acquire(journal.epoch - 1, saved_at)
        if not claim.wait_for_others(journal, saved_at):
            raise in_use(target.url, journal.last_owner(timeout=timeout) or Owner(), saved_at)
        if epoch is not None:
            journal.begin_at(epoch)
        _fill(journal, target, source, settings, progress)
        give_back(journal, claim, timeout)
    finally:
        claim.release()


def give_back(journal: Journal, claim: Claim, timeout: float) -> None:
    """Tell processes that cannot find it out that this one does not own the state any more."""
    if claim.lease is not None:
        with contextlib.suppress(StoreError):  # then they wait for the end of the lease
            journal.renew(ended=True, timeout=timeout)


def _fill(
    journal: Journal, target: Store, source: Store, settings: Settings, progress: bool | None
) -> None:
    """Copy a state into the store of a journal, and show the progress."""
    timeout = settings.flush_timeout

    def check_pickled() -> None:
        if {scheme(target.url), scheme(source.url)} in ({"sqlite"}, {"memory"}):
            return  # the key goes with the file, or is that of the process
        signer = Signer(target.url, lambda: settings.keys)
        nodes = Journal(source).recover(timeout=timeout).nodes
        if any(True for _ in unsigned(nodes, signer)):
            raise StoreError(
                f"{source.url} holds pickled values that were signed with another key than one "
                f"that is set (AUTOSTATE_KEY), and nobody could read them in {target.url}: let the "
                "program save them with a key that is set, and copy with this key"
            )

    with contextlib.closing(_Bars(progress)) as bars:
        journal.fill(source, check_pickled, bars.move, timeout=timeout)


class _Bars:
    """The bars of a copy, one after another: what is copied, and then compared, in kB."""

    def __init__(self, progress: bool | None) -> None:
        self._wanted = progress_bar.is_wanted(progress)
        self._at_once = progress is True
        self._what = ""
        self._bar: progress_bar.Bar | None = None

    def move(self, what: str, done: int, size: int) -> None:
        """Show how far the copy is: see `autostate.journal.copying.Report`."""
        if not self._wanted:
            return
        if what != self._what or self._bar is None:
            self.close()
            self._what = what
            total = -(-size // 1000)
            self._bar = progress_bar.Bar(f"kB {what}", 0, total, at_once=self._at_once)
        self._bar.move(-(-done // 1000), time.perf_counter())

    def close(self) -> None:
        """Draw the present bar for the last time."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def _source_of(url: str | os.PathLike[str] | None) -> Generator[tuple[Store, Settings]]:
    """Open the store that is copied, with all writes of this process; give its settings, too."""
    manager = current_manager() if url is None else manager_of(normalized(url))
    if manager is not None:
        manager.flush()
    if url is not None:
        others: list[Any] = [each for each in lifecycle.keepers if each not in live()]
        for shared in others:
            if place_of(shared.url) == place_of(normalized(url)):
                shared.flush()
    if manager is not None and manager.store is not None and file_of(manager.url) is None:
        with manager.exclusive():
            yield manager.store, manager.settings
        return
    named = normalized(url or current_manager().url)
    settings = Settings.for_store(named) if manager is None else manager.settings
    store = open_state(named, settings, readonly=True)
    with contextlib.closing(store):
        yield store, settings


def manager_of(url: str) -> StateManager | None:
    """Give the manager of this process that has a store open, if there is one."""
    place = place_of(url)
    known = (one for one in live() if place in (place_of(one.url), one.url))
    return next(known, None)

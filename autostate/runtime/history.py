"""The history of a state: its commits, which can be listed, opened and restored."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from autostate.errors import StoreError
from autostate.journal import history as past
from autostate.ownership.owner import Owner
from autostate.ownership.state_names import of_programs
from autostate.runtime.claim import in_use
from autostate.runtime.copying import give_back, manager_of
from autostate.runtime.opening import open_state
from autostate.runtime.past import At, state_at
from autostate.runtime.start import start
from autostate.settings import Settings
from autostate.stores.readonly import refused
from autostate.stores.urls import normalized


@dataclass(frozen=True)
class Commit:
    """A commit in the history of a state.

    Attributes:
        number: Its number: each commit has the next one.
        time: When it was made, in UTC.
        size: The bytes of its changes.
        objects: The names of the state objects that it changed.
    """

    number: int
    time: datetime
    size: int
    objects: tuple[str, ...]


def history(url: str | os.PathLike[str]) -> list[Commit]:
    """List the commits that the history of a state has kept, the oldest first.

    A state has a history from the first commit on that a program makes with the setting `history`.

    Args:
        url: The store, as for `configure`.

    Returns:
        The commits; an empty list if no history is kept.

    Raises:
        CorruptStateError: A record is damaged.
        StoreError: There is no such store, or it cannot be read.

    Example:
        >>> import autostate
        >>> with autostate.open("memory:jobs", history=1000):
        ...     autostate.PersistedDict("progress")["page"] = 7
        >>> [(commit.number, commit.objects) for commit in autostate.history("memory:jobs")]
        [(1, ('progress',))]
    """
    named = normalized(url)
    settings = Settings.for_store(named)
    with contextlib.closing(open_state(named, settings, readonly=True)) as store:
        found = past.commits(store, settings.flush_timeout)
    return [
        Commit(
            each.number,
            datetime.fromtimestamp(each.time, UTC),
            each.size,
            tuple(of_programs(each.roots)),
        )
        for each in found
    ]


def restore(url: str | os.PathLike[str], *, at: At) -> int:
    """Make a state again what it was at a commit of its history, by a new commit.

    So a restore can be undone by another one. Only what differs is written.

    Args:
        url: The store, as for `configure`. No live process may own the state.
        at: The number of the commit; or a time, in seconds since 1970 or as a datetime: then the
            last commit until that time.

    Returns:
        The number of the new commit; that of the last one if nothing differs.

    Raises:
        ReadOnlyError: The environment allows no writing.
        StateInUseError: A live process owns the state.
        CorruptStateError: A record is damaged.
        StoreError: There is no such commit, or no such store; or it cannot be read or written.

    Example:
        >>> import autostate
        >>> with autostate.open("memory:restored", history="30d"):
        ...     progress = autostate.PersistedDict("progress", page=1)
        ...     autostate.flush()
        ...     progress["page"] = 2
        >>> autostate.restore("memory:restored", at=1)
        3
        >>> with autostate.open("memory:restored"):
        ...     autostate.PersistedDict("progress")
        {'page': 1}
    """
    named = normalized(url)
    if manager_of(named) is not None:
        raise StoreError(f"{named} is in use in this process: restore before it is opened")
    settings = Settings.for_store(named, takeover=False, wait_for_owner=0.0)
    if settings.readonly:
        raise refused(named)
    timeout = settings.flush_timeout
    with contextlib.closing(open_state(named, settings, readonly=True)) as store:
        _, lines = state_at(store, at, timeout)
    opened = start(named, settings)
    try:
        if not opened.claim.held:
            owner = opened.journal.last_owner(timeout=timeout) or Owner()
            raise in_use(opened.store.url, owner, opened.recovered.saved_at)
        number = opened.journal.restore(lines, timeout=timeout)
        opened.journal.check_owner(timeout=timeout)
        give_back(opened.journal, opened.claim, timeout)
    finally:
        opened.claim.release()
        opened.store.close()
    return number

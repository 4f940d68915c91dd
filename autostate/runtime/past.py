"""A state of the past, as its history has kept it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from autostate import steps
from autostate.errors import StoreError
from autostate.journal import Journal, history
from autostate.runtime.opening import open_state
from autostate.settings import Settings
from autostate.stores import Store
from autostate.stores.keyed import keyed
from autostate.stores.memory import MemoryStore
from autostate.stores.readonly import ReadOnlyStore

At = int | float | datetime
"""The number of a commit; or a time, in seconds since 1970 or as a datetime."""


def past_store(source: str | os.PathLike[str] | Store, at: At, settings: Settings) -> Store:
    """Give a store with the state of a commit, in memory; it cannot be written.

    Args:
        source: The store of the state.
        at: The commit, as for `restore`.
        settings: The settings with the keys.
    """
    with _opened(source, settings) as store:
        marker, lines = state_at(store, at, settings.flush_timeout)
        made = _PastStore(store.url, marker.number)
    journal = Journal(keyed(made, settings), clock=lambda: marker.time, keep=(0, 0))
    journal.recover()
    journal.commit(lines)
    return ReadOnlyStore(made)


def no_history(url: str) -> StoreError:
    """Make the error for a state of which no commit is kept."""
    return StoreError(
        f"{url} has no history: no commit is kept. The program keeps one from its next save on if "
        f"it is started with {steps.setting('history', '30d')}"
    )


class _PastStore(MemoryStore):
    """A store with one state of the past; pickled values in it have the key of the store."""

    def __init__(self, url: str, at: int) -> None:
        super().__init__()
        self.url: str = url
        self.at: int = at


@contextmanager
def _opened(source: str | os.PathLike[str] | Store, settings: Settings) -> Generator[Store]:
    if isinstance(source, str | os.PathLike):
        store = open_state(source, settings, readonly=True)
        with contextlib.closing(store):
            yield store
    else:
        yield keyed(source, settings)


def state_at(store: Store, at: At, timeout: float) -> tuple[history.Marker, list[bytes]]:
    """Read the lines that make the state of a commit, with its marker."""
    found = history.state_at(store, timeout, **_wanted(at))
    if found is None:
        kept = history.commits(store, timeout)
        if not kept:
            raise no_history(store.url)
        first, last = kept[0], kept[-1]
        told = f"commits {first.number} ({_told(first.time)}) to {last.number} ({_told(last.time)})"
        raise StoreError(f"{store.url} has kept no commit {at}: its history holds {told}")
    return found


def _wanted(at: At) -> dict[str, Any]:
    if isinstance(at, datetime):
        return {"time": at.timestamp()}
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise TypeError(
            f"at is the number of a commit, seconds since 1970 as a float, or a datetime, not "
            f"{type(at).__name__}"
        )
    return {"time": at} if isinstance(at, float) else {"number": at}


def _told(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

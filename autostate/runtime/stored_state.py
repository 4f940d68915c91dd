"""A stored state, read without the program that wrote it and without its classes.

Values are kept as tagged JSON (`codec/tagged.py` explains it); pickled values are not loaded.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from autostate.errors import AutostateError
from autostate.journal import Journal, NodeState
from autostate.ownership.lock import LocksUnsupportedError, OwnerLock
from autostate.ownership.owner import Owner
from autostate.ownership.state_names import of_programs
from autostate.runtime.opening import open_state
from autostate.settings import Settings
from autostate.stores import Store
from autostate.stores.urls import normalized

logger = logging.getLogger("autostate")

_OTHERS: Final = 50
_LARGE: Final = 16 << 20


@dataclass(frozen=True)
class StoredState:
    """The content of a store, as of one moment.

    Attributes:
        url: The URL of the store.
        nodes: The nodes of the state by id.
        saved_at: The time of the last save, in seconds since 1970; None: never.
        owner: The owner, or the last one if it ended without releasing the state; None: nobody,
            or unknown.
        alive: Whether the owner is a live process; None: nobody can tell, and it has a lease.
    """

    url: str
    nodes: dict[int, NodeState]
    saved_at: float | None
    owner: Owner | None
    alive: bool | None

    @cached_property
    def roots(self) -> dict[str, int]:
        """The nodes of the program's state objects, by name."""
        found = {node.name: at for at, node in self.nodes.items() if node.name is not None}
        return {name: found[name] for name in of_programs(found)}


def read_state(
    url: str | os.PathLike[str], settings: Settings | None = None, *, trusting: bool = False
) -> StoredState:
    """Read the content of a store; make and write nothing, and disturb no process.

    Args:
        url: As for `autostate.open`.
        settings: The settings; by default those of the store.
        trusting: Accept unsigned records although a key is set.

    Raises:
        CorruptStateError: A record is damaged.
        StoreError: There is no such store, or it cannot be read.
    """
    settings = settings or Settings.for_store(normalized(url))
    store = open_state(url, settings, readonly=True, trusting=trusting)
    with contextlib.closing(store):
        journal = Journal(store, on_corrupt=settings.on_corrupt)
        found = journal.recover(timeout=settings.flush_timeout)
        for notice in found.notices:
            logger.warning("%s", notice)
        alive: bool | None
        owner, alive = _owner(store, found.epoch)
        asks = getattr(store, "owner_lives", None)
        if owner is None and asks is not None:  # the owner is on another machine
            owner = journal.last_owner(timeout=settings.flush_timeout)
            owner = None if owner is None or owner.ended else owner
            alive = False if owner is None else asks(owner)
    return StoredState(store.url, found.nodes, found.saved_at, owner, alive)


def names_in(url: str | os.PathLike[str], settings: Settings) -> list[str]:
    """Give the names of the state objects in a store."""
    return list(read_state(url, settings).roots)


def beside(path: Path, name: str, *, among: bool = False) -> Path | None:
    """Find the other store in the same folder that holds a state object of a name.

    Large stores, and stores that cannot be read, are skipped.

    Returns:
        Its path; None if there is none, or several: a name that many programs use says nothing.

    Args:
        path: The store; it need not exist.
        name: The name of the state object.
        among: The store itself may be the result, too.
    """
    others = sorted(one for one in path.parent.glob(f"*{path.suffix}") if among or one != path)
    found = []
    for other in others[:_OTHERS]:
        with contextlib.suppress(AutostateError, OSError):
            if other.stat().st_size <= _LARGE and name in read_state(other).roots:
                found.append(other)
                if len(found) > 1:
                    break
    return found[0] if len(found) == 1 else None


def _owner(store: Store, epoch: int) -> tuple[Owner | None, bool]:
    """Tell who owns the state, and whether the owner lives."""
    if store.owner_file is None:
        return None, False
    lock = OwnerLock(store.owner_file)
    with contextlib.suppress(LocksUnsupportedError, OSError):
        living = lock.living(epoch)
        if living is not None:
            return living, True
    return lock.named(), False

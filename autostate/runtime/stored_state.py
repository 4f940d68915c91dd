"""A state as it is stored, read without the program that wrote it: no class of it is needed.

Values are as their JSON says (`codec/tagged.py` tells how that is to be read); of pickled values
nothing is loaded.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
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
    """What a store holds, as of one moment.

    Attributes:
        url: The store.
        nodes: The nodes of the state by id.
        saved_at: When it was saved last, in seconds since 1970; None: never.
        owner: Who owns it, or did when it ended without giving it back; None: nobody, or unknown.
        alive: The owner is a live process.
    """

    url: str
    nodes: dict[int, NodeState]
    saved_at: float | None
    owner: Owner | None
    alive: bool

    @property
    def roots(self) -> dict[str, int]:
        """The nodes of the state objects of the program, by name."""
        found = {node.name: at for at, node in self.nodes.items() if node.name is not None}
        return {name: found[name] for name in of_programs(found)}


def read_state(
    url: str | os.PathLike[str], settings: Settings | None = None, *, trusting: bool = False
) -> StoredState:
    """Read what a store holds; nothing is made or written, and nobody is disturbed.

    Args:
        url: As for `autostate.open`.
        settings: Those of the store by default.
        trusting: Believe what nobody has signed although a key is set.

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
        owner, alive = _owner(store, found.epoch)
        asks = getattr(store, "owner_lives", None)
        if owner is None and asks is not None:  # of another machine
            owner = journal.last_owner(timeout=settings.flush_timeout)
            owner = None if owner is None or owner.ended else owner
            alive = owner is not None and asks(owner) is True
    return StoredState(store.url, found.nodes, found.saved_at, owner, alive)


def names_in(url: str | os.PathLike[str], settings: Settings) -> list[str]:
    """Give the names of the state objects in a store."""
    return list(read_state(url, settings).roots)


def beside(path: Path, name: str, *, among: bool = False) -> Path | None:
    """Give another store in the folder of a store in which there is a state object of a name.

    Those that are large are not looked at, nor those that cannot be read.

    Args:
        path: The store; it need not be there.
        name: The name of the state object.
        among: The store itself may be the one, too.
    """
    others = sorted(one for one in path.parent.glob(f"*{path.suffix}") if among or one != path)
    for other in others[:_OTHERS]:
        with contextlib.suppress(AutostateError, OSError):
            if other.stat().st_size <= _LARGE and name in read_state(other).roots:
                return other
    return None


def _owner(store: Store, epoch: int) -> tuple[Owner | None, bool]:
    """Who owns the state, and whether that lives."""
    if store.owner_file is None:
        return None, False
    lock = OwnerLock(store.owner_file)
    with contextlib.suppress(LocksUnsupportedError, OSError):
        living = lock.living(epoch)
        if living is not None:
            return living, True
    return lock.named(), False

"""Writing into a state that no live process owns, without the classes of its program."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from autostate.errors import StateInUseError
from autostate.journal import Journal
from autostate.journal.commit import NodeState
from autostate.ownership.owner import Owner
from autostate.runtime.claim import in_use
from autostate.runtime.copying import give_back
from autostate.runtime.start import Opened, start
from autostate.settings import Settings
from autostate.stores.urls import normalized


class Held:
    """A state that this process owns.

    Args:
        opened: The state.
        timeout: The most seconds to wait for each answer of the store.

    Attributes:
        url: The URL of the store.
        nodes: The nodes by id, as they are stored: no value is built.
    """

    def __init__(self, opened: Opened, timeout: float) -> None:
        self._journal = opened.journal
        self._timeout = timeout
        self.url: str = opened.store.url
        # Read again: those of `opened` were built for a program, and changes that a process could
        # not save were added since.
        self.nodes: dict[int, NodeState] = Journal(opened.store).recover(timeout=timeout).nodes

    @property
    def roots(self) -> dict[str, int]:
        """All roots by name, the library's own too."""
        return {node.name: at for at, node in self.nodes.items() if node.name is not None}

    def commit(self, changes: list[bytes]) -> None:
        """Make changes durable, all of them or none."""
        self._journal.commit(changes, timeout=self._timeout)
        self._journal.check_owner(timeout=self._timeout)


@contextmanager
def held(url: str) -> Generator[Held]:
    """Own a state during the body, which begins if there is none.

    Raises:
        StateInUseError: A live process owns the state.
        CorruptStateError: A record is damaged.
        StoreError: The store cannot be read or written.
    """
    named = normalized(url)
    settings = Settings.for_store(named, takeover=False, wait_for_owner=0.0)
    timeout = settings.flush_timeout
    opened = start(named, settings)
    try:
        if not opened.claim.held:
            raise _in_use(opened, timeout)
        yield Held(opened, timeout)
        give_back(opened.journal, opened.claim, timeout)
    finally:
        opened.claim.release()
        opened.store.close()


def _in_use(opened: Opened, timeout: float) -> StateInUseError:
    owner = opened.journal.last_owner(timeout=timeout) or Owner()
    return in_use(opened.store.url, owner, opened.recovered.saved_at)

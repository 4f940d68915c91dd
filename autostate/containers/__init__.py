"""The state objects: real subclasses of the builtins that save themselves."""

from __future__ import annotations

from autostate.containers import default, ordered
from autostate.containers.counter import PersistedCounter
from autostate.containers.deque import PersistedDeque
from autostate.containers.dict import PersistedDict
from autostate.containers.list import PersistedList
from autostate.containers.set import PersistedSet
from autostate.tracking.kind import SELDOM

SELDOM.update(
    proxy="autostate.containers.proxy",
    loop="autostate.containers.position",
    outbox="autostate.containers.outbox_state",
)

__all__ = [
    "PersistedCounter",
    "PersistedDeque",
    "PersistedDict",
    "PersistedList",
    "PersistedSet",
    "default",
    "ordered",
]

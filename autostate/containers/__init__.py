"""The state objects: real subclasses of the builtins that save themselves."""

from __future__ import annotations

from autostate.containers import proxy
from autostate.containers.counter import PersistedCounter
from autostate.containers.dict import PersistedDict
from autostate.containers.list import PersistedList
from autostate.containers.set import PersistedSet

__all__ = ["PersistedCounter", "PersistedDict", "PersistedList", "PersistedSet", "proxy"]

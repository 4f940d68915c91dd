"""The shared containers, filled, and what was written to them."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from autostate.shared.counter import SharedCounter
from autostate.shared.dict import SharedDict
from autostate.shared.set import SharedSet

CLASSES: Final[dict[str, Any]] = {"counter": SharedCounter, "set": SharedSet, "dict": SharedDict}
BUILTIN: Final[dict[str, Any]] = {"counter": Counter, "set": set, "dict": dict}
CONTENT: Final[dict[str, Any]] = {
    "counter": {"a": 3, "b": 1, "c": -2},
    "set": {"a", "b", "c"},
    "dict": {"a": 1, "b": "two"},
}


def filled(kind: str, name: str = "shared") -> Any:
    """Make a shared container with the content above."""
    made = CLASSES[kind](name)
    made.update(CONTENT[kind])
    made._handle_.writes.clear()
    return made


def writes(container: Any) -> list[dict[Any, Any]]:
    """What was written since, call by call."""
    made: list[dict[Any, Any]] = container._handle_.writes
    return made

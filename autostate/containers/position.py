"""The state object that keeps the position of a resumable loop.

A position is of a kind of its own, so that no state object of the program can have the same name:
else the program would write into the position, and the loop into the program's state object.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from autostate.containers.dict import DictBarrier, register_mapping
from autostate.containers.root import blank

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager


BEGIN: Final = (0, None, None)
"""The position of a loop that has done nothing."""


class Content(dict[str, Any]):
    """The plain form of a position."""

    __slots__ = ()


class Position(DictBarrier, Content):
    """The position of a loop, a dict."""

    __slots__ = ("_key_", "_node_")


def position(manager: StateManager, name: str) -> Position:
    """Give the position of the loop of that name, at its beginning if it is new.

    Raises:
        StateTypeError: The name belongs to a state object of the program.
    """
    made: Position = manager.create(name, "loop", functools.partial(blank, Position))
    if not made:
        made["position"] = BEGIN
    return made


register_mapping("loop", Content, Position)

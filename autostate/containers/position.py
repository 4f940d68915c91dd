"""The state object that keeps the position of a resumable loop.

A position is of a kind of its own, so that no state object of the program can have the same name:
else the program would write into the position, and the loop into the program's state object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autostate.containers.dict import RAW, DictBarrier, keyed, recording, refill
from autostate.containers.root import blank
from autostate.tracking.barrier import register_kind
from autostate.tracking.kind import Kind, copy_dict

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager


class Content(dict[str, Any]):
    """The plain form of a position."""

    __slots__ = ()


class Position(DictBarrier, Content):
    """The position of a loop, a dict."""

    __slots__ = ("_key_", "_node_")

    if not TYPE_CHECKING:
        __setitem__ = keyed(dict, "__setitem__")
        __delitem__ = keyed(dict, "__delitem__")


def position(manager: StateManager, name: str) -> Position:
    """Give the position of the loop of that name, empty if it is new.

    Raises:
        StateTypeError: The name belongs to a state object of the program.
    """
    made: Position = manager.create(name, "loop", lambda: blank(Position, Content))
    return made


register_kind(
    Kind(
        name="loop",
        shape="mapping",
        builtin=Content,
        tracked=Position,
        copy=copy_dict,
        fill=dict.update,
        refill=refill,
        raw=RAW,
        recording=recording(dict),
    )
)

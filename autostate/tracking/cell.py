"""The container of a node that is an object: the object is at several places of the state."""

from __future__ import annotations

from typing import Any, Final

from autostate import codec
from autostate.tracking.kind import KINDS, PLAIN, Kind


class Cell(dict[str, Any]):
    """Holds the object under the one key "value"."""

    __slots__ = ("_key_", "_node_")


OBJECT: Final = Kind(
    name="shared_object",
    shape="mapping",
    builtin=Cell,
    tracked=Cell,
    copy=dict,
    fill=dict.update,
    refill=dict.update,
    raw=frozenset(),
    stand_in=codec.unsaved,  # entries refer to the node, and nobody could read these without
    show=lambda cell: cell["value"],
)
"""An object without a barrier: saved as a whole, as the one entry "value"."""

OBJECT.nested = Cell  # there is nothing to hide about it
KINDS[OBJECT.name] = PLAIN[Cell] = OBJECT

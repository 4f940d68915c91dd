"""The state object that keeps what an outbox has not delivered.

It is of a kind of its own, so that no state object of the program can have the same name.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from autostate.containers.dict import DictBarrier, register_mapping
from autostate.containers.root import blank

if TYPE_CHECKING:
    from autostate.runtime.manager import StateManager


class Content(dict[Any, Any]):
    """The plain form of an outbox."""

    __slots__ = ()


class OutboxState(DictBarrier, Content):
    """What an outbox has not delivered, a dict."""

    __slots__ = ("_key_", "_node_")


def outbox_state(manager: StateManager, name: str, *, own: bool = False) -> OutboxState:
    """Give the state of the outbox of that name, empty if it is new.

    Args:
        manager: The manager of the state.
        name: The name of the outbox.
        own: Whether it is one of the library's own, whose names no program can use.

    Raises:
        StateTypeError: The name belongs to a state object of the program.
    """
    make = functools.partial(blank, OutboxState)
    made: OutboxState = manager.create(name, "outbox", make, own=own)
    return made


register_mapping("outbox", Content, OutboxState)

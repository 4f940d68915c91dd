"""Removing a state object from a state that no live process owns."""

from __future__ import annotations

from autostate.apify.adopt import forget
from autostate.cli.values import check_name
from autostate.errors import CorruptStateError, StateInUseError
from autostate.runtime.api import open as open_state
from autostate.runtime.stored_state import read_state


def check(url: str, name: str, *, readable: bool) -> None:
    """Check that there is such a state object, and that no live process owns the state.

    Args:
        url: The store.
        name: The name of the state object.
        readable: Whether an unreadable state is an error.

    Raises:
        CommandError: There is no such state object.
        StateInUseError: A live process owns the state.
    """
    try:
        state = read_state(url)
    except CorruptStateError:
        if readable:
            raise
        return
    check_name(state, name)
    if state.alive:
        raise StateInUseError(owner=state.owner)


def remove(url: str, name: str, *, also_notes: bool) -> None:
    """Remove a state object.

    Args:
        url: The store.
        name: The name of the state object.
        also_notes: Forget also that a record was taken over into it.

    Raises:
        StateInUseError: A live process owns the state.
    """
    with open_state(
        url, readonly=False, takeover=False, on_unknown="keep", wait_for_owner=0.0
    ) as manager:
        manager.delete(name)
        if also_notes:
            forget(manager, name)

"""The commands that remove a state object from a state that no live process owns."""

from __future__ import annotations

from autostate.apify.adopt import forget
from autostate.cli import console, shared
from autostate.cli.choosing import choose_to_write
from autostate.cli.errors import CommandError
from autostate.cli.values import check_name
from autostate.errors import CorruptStateError, StateInUseError
from autostate.runtime.api import open as open_state
from autostate.runtime.stored_state import read_state
from autostate.shared.unpublished import discard_unpublished


def reset(*, name: str, url: str | None, program: str | None, yes: bool, as_json: bool) -> None:
    """Put a state object back to nothing: the program begins it from its defaults."""
    chosen = choose_to_write(url, program)
    if not _reset_shared(name, chosen, yes=yes, as_json=as_json):
        check(chosen, name, readable=True)
        console.ask(f"Reset {name} in {chosen}?", yes=yes)
        remove(chosen, name, also_notes=True)
        _tell("reset", name, chosen, as_json=as_json)


def delete(*, name: str, url: str | None, program: str | None, yes: bool, as_json: bool) -> None:
    """Remove a state object; of one that cannot be read, a copy is kept."""
    chosen = choose_to_write(url, program)
    if (state := shared.only_shared(chosen, name)) is not None:
        raise shared.undeletable(name, state)
    check(chosen, name, readable=False)
    console.ask(f"Delete {name} in {chosen}?", yes=yes)
    remove(chosen, name, also_notes=False)
    _tell("deleted", name, chosen, as_json=as_json)


def discard(*, url: str | None, program: str | None, yes: bool, as_json: bool) -> None:
    """Give up what a killed process has left for a shared state that is gone."""
    chosen = choose_to_write(url, program)
    state = read_state(chosen)
    if state.alive:
        raise StateInUseError(owner=state.owner)
    left = shared.unpublished(state)
    if left is None:
        raise CommandError(f"{chosen} holds no changes for a shared state")
    console.ask(f"Give up {left}?", yes=yes)
    discard_unpublished(chosen)
    if as_json:
        console.write_json({"store": chosen, "done": "given up"})
    else:
        console.write("given up")


def _reset_shared(name: str, own: str, *, yes: bool, as_json: bool) -> bool:
    """Reset an object that programs share; tell whether there is one."""
    state = shared.only_shared(own, name)
    if state is None:
        return False
    console.ask(f"Reset {name}, which programs share, in {state.url}?", yes=yes)
    shared.remove(name, state)
    _tell("reset", name, state.url, as_json=as_json, is_shared=True)
    return True


def _tell(done: str, name: str, url: str, *, as_json: bool, is_shared: bool = False) -> None:
    if as_json:
        console.write_json({"store": url, "name": name, "shared": is_shared, "done": done})
    else:
        console.write(f"{name} was {done}")


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
        FlushError: It could not be saved, and is not removed later either.
        StateInUseError: A live process owns the state.
    """
    with open_state(url, takeover=False, on_unknown="keep", wait_for_owner=0.0) as manager:
        manager.delete(name)
        manager.forgo_last_resort()
        if also_notes:
            forget(manager, name)

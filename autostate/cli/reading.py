"""Reading the state that a command is about."""

from __future__ import annotations

from typing import Any

from autostate.cli import console, paths, shared
from autostate.cli.choosing import choose
from autostate.cli.past import point
from autostate.cli.points import Point
from autostate.cli.values import Values, check_name
from autostate.runtime.stored_state import StoredState, read_state
from autostate.saving import spill


def read(url: str | None, program: str | None, at: str | None = None) -> StoredState:
    """Read the state in the chosen store.

    Args:
        url: As for `choose`.
        program: As for `choose`.
        at: A commit of its history, as for `point`; None: as it is.

    Raises:
        UsageError: `at` is neither a commit nor a time.
        StoreError: There is no such commit.
    """
    chosen = choose(url, program).url
    if at is not None:
        return Point(chosen, point(at)).state()
    state = read_state(chosen)
    warn_of_spills(state.url)
    return state


def warn_of_spills(url: str) -> None:
    """Tell of changes that a process could not save, which are not shown."""
    for path in spill.pending(url):
        console.warn(
            f"{path} holds changes that a process could not save; they are left out. "
            "The next start of the program adds them"
        )


def value_at(
    name: str, path: list[str], url: str | None, program: str | None, at: str | None
) -> Any:
    """Give a state object or a shared one, or what is at a path in it.

    Raises:
        CommandError: There is nothing of this name, or at this path.
    """
    state = read(url, program, at)
    found = None if name in state.roots else shared.object_of(name, state)
    if found is not None and at is not None:
        raise shared.without_history([name])
    if found is not None:
        value = shared.value_of(found[1])
    else:
        check_name(state, name)
        value = Values(state).of(name)
    return paths.follow(name, value, paths.parsed(path))

"""States that a command compares or exports: of a store, as it is or as it was."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from autostate.cli import document, shared
from autostate.cli.choosing import choose, is_path, refuse_memory
from autostate.cli.errors import CommandError
from autostate.cli.past import point
from autostate.cli.values import Values
from autostate.journal import Journal
from autostate.runtime.past import past_store
from autostate.runtime.stored_state import StoredState, read_state
from autostate.settings import Settings
from autostate.shared.stored import read_shared
from autostate.stores.keyed import keyed
from autostate.stores.urls import normalized

_POINT: Final = re.compile(r"(?P<store>.*)@(?P<at>[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}.*)", re.DOTALL)
HERE: Final = "."
"""What stands for the chosen store."""


class Point(NamedTuple):
    """A state of a store.

    Attributes:
        url: The URL of the store.
        at: A commit of its history; None: as it is.
    """

    url: str
    at: int | datetime | None = None

    def __str__(self) -> str:
        if self.at is None:
            return self.url
        return f"{self.url}@{self.at if isinstance(self.at, int) else self.at.isoformat()}"

    def state(self) -> StoredState:
        """Read the state."""
        if self.at is None:
            return read_state(self.url)
        settings = Settings.for_store(self.url)
        store = past_store(self.url, self.at, settings)
        with contextlib.closing(store):
            found = Journal(keyed(store, settings)).recover()
        return StoredState(self.url, found.nodes, found.saved_at, None, None)

    def objects(self) -> dict[str, Any]:
        """Give the values of all state objects by name, and of shared ones in the same store.

        Raises:
            CommandError: Nothing was ever saved there.
        """
        state = self.state()
        values = Values(state)
        found = {name: values.of(name) for name in state.roots}
        both = None if self.at else read_shared(self.url, Settings.for_store(self.url))
        for name, each in {} if both is None else both.objects.items():
            found.setdefault(name, shared.value_of(each))
        if both is None and self.at is None:
            refuse_nothing(state)
        return found


class Exported(NamedTuple):
    """State objects in a document of `export`.

    Attributes:
        path: The file.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def objects(self) -> dict[str, Any]:
        """Give the values of all state objects by name.

        Raises:
            CommandError: It is no such document.
        """
        found = document.parse(self.path.read_bytes())
        if found is None:
            raise CommandError(f"{self.path} is no document of autostate export")
        values = Values(found.state)
        return {name: values.of(name) for name in found.state.roots}


def refuse_nothing(state: StoredState) -> None:
    """Refuse a place where nothing is: on a server or in a folder, the name of it may be wrong.

    Raises:
        CommandError: Nothing was ever saved there.
    """
    if state.saved_at is None and state.owner is None and not state.nodes:
        raise nothing_in(state.url)


def nothing_in(url: str) -> CommandError:
    """Make the error for a place where nothing was ever saved."""
    return CommandError(
        f"nothing was ever saved in {url}: check its name, or let the program save first"
    )


def named(text: str, url: str | None, program: str | None) -> Point | Exported:
    """Give the state that a user means.

    Args:
        text: A URL or file, or "." for the chosen store, and perhaps `@` with a commit or a time;
            or a document, whose name ends with .json.
        url: As for `choose`.
        program: As for `choose`.

    Raises:
        CommandError: There is no store, or several that may be meant.
        ValueError: It is not the URL of a store.
    """
    if text.endswith(".json") and is_path(text):
        return Exported(Path(text))
    found = None if os.path.lexists(text) else _POINT.fullmatch(text)
    source = text if found is None else found["store"]
    at = None if found is None else point(found["at"])
    if source in {"", HERE}:
        return Point(choose(url, program).url, at)
    named_url = normalized(Path(source) if is_path(source) else source)
    refuse_memory(named_url)
    return Point(named_url, at)

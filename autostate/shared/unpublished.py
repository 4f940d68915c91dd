"""What a former process has left for a shared state, and giving it up.

The changes of a program with a state of its own are items of an outbox in that state. If the shared
state for which they are meant is gone, nobody can ever publish them; and as long as they are there,
the program can share nothing elsewhere. So there has to be a way to give them up, which nobody goes
without having asked for it.
"""

from __future__ import annotations

import contextvars
import logging
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from autostate.containers.outbox_state import outbox_state
from autostate.errors import StoreError
from autostate.runtime.api import current_manager, open as open_state
from autostate.runtime.manager import StateManager
from autostate.shared.kinds import Objects
from autostate.stores import file_of

logger: logging.Logger = logging.getLogger("autostate")

NAME: Final = "autostate.shared"
"""The name of the outbox."""
Change = Objects
"""What was changed between two cuts: an item of the outbox."""

decode: Final = msgspec.json.Decoder(Objects).decode
_BESIDE: Final = "sqlite:///./"
"""The beginning of the place of a file beside that of the program's own state."""


class Unpublished(NamedTuple):
    """What a former process has left.

    Attributes:
        url: The shared state for which it is meant.
        entries: How many entries of each object it has changed, by name.
    """

    url: str
    entries: dict[str, int]

    def __str__(self) -> str:
        objects = ", ".join(f"{name} ({count})" for name, count in self.entries.items())
        return f"unpublished changes of {objects} that are meant for the shared state in {self.url}"


def look(manager: StateManager) -> Unpublished | None:
    """Tell what a former process has left in the state of a program; None: nothing."""
    if manager._tracker().kind(NAME) is None:
        return None
    return left_in(outbox_state(manager, NAME, own=True), manager.url)


def left_in(content: Mapping[Any, Any], own: str) -> Unpublished | None:
    """Tell what a former process has left in an outbox; None: nothing.

    Args:
        content: The content of the outbox.
        own: The URL of the program's own state.
    """
    counts: Counter[str] = Counter()
    for text in (value for key, value in content.items() if type(key) is int):
        for name, (_, entries) in decode(text.encode()).items():
            counts[name] += len(entries)
    if not counts:
        return None
    url, file = str(content["place"]), file_of(own)
    if file is not None and url.startswith(_BESIDE):
        url = f"sqlite:///{file.parent / url.removeprefix(_BESIDE)}"
    return Unpublished(url, dict(counts))


def discard_unpublished(url: str | os.PathLike[str] | None = None) -> dict[str, int]:
    """Give up changes to a shared state that is gone, which a killed process has left.

    A program with a state of its own publishes what a former process had saved there and not
    published. If the shared state has another URL by then, nothing is published, and making a
    shared object is an error, lest the changes get lost. If their shared state is gone for good,
    call this before the first shared object is made.

    Args:
        url: The state of a program that does not run, as for `open`. By default that of this
            process.

    Returns:
        How many entries of each shared object are given up, by name; also the log tells. Empty:
        there was nothing.

    Raises:
        RuntimeError: This process is about to publish the changes.
        StateInUseError: Another process owns the state.
        StoreError: The state cannot be read.
        ReadOnlyError: The state is only read here, and there is something to give up.

    Example:
        >>> import autostate
        >>> autostate.discard_unpublished()
        {}
    """
    if url is None:
        return _discard(current_manager())
    with open_state(url, takeover=False, on_unknown="keep", wait_for_owner=0.0) as manager:
        found = _discard(manager)
        manager.forgo_last_resort()
        return found


def _discard(manager: StateManager) -> dict[str, int]:
    found = look(manager)
    if found is None:
        return {}
    incarnation = manager._incarnation
    if incarnation is not None and NAME in incarnation.companions:
        raise RuntimeError(
            f"this process publishes the {found} itself. If that is gone, name the shared state "
            "that takes its place, by configure(shared=…), before the first state object is made"
        )
    manager._delete(NAME)
    logger.warning("%s are given up, as was asked for", found)
    return found.entries


def mean(manager: StateManager, url: str) -> None:
    """Note for which shared state the items of the outbox are meant.

    Raises:
        StoreError: It holds items that are meant for another one.
    """
    state = outbox_state(manager, NAME, own=True)
    place, known = _place(url, manager.url), state.get("place")
    if known not in (None, place) and (left := look(manager)) is not None:
        raise StoreError(
            f"the state of this program in {manager.url} holds {left}, and the shared state is now "
            f"in {url}. Nothing is lost: name {left.url} until they are published. If it is gone "
            "for good, call autostate.discard_unpublished() before the first shared object is "
            "made, or run `autostate discard` while the program does not run"
        )
    if known != place:
        # In an empty context: an `atomic()` block around the first change may raise.
        contextvars.Context().run(state.__setitem__, "place", place)


def _place(url: str, own: str) -> str:
    """Name a shared state so that a file beside the program's own may move with it."""
    path, beside = file_of(url), file_of(own)
    if path is None:
        return url
    folder = os.path.realpath(path.parent)
    if beside is not None and folder == os.path.realpath(beside.parent):
        return f"{_BESIDE}{path.name}"
    return f"sqlite:///{folder}/{path.name}"

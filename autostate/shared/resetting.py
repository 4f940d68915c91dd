"""Bringing a shared object to nothing, as one more process that shares it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator
from typing import Any, Final

from autostate.errors import StateTypeError
from autostate.runtime.opening import open_state
from autostate.settings import Settings
from autostate.shared.handle import ABSENT
from autostate.shared.keys import key_of
from autostate.shared.kinds import MERGED, Entries
from autostate.shared.replica import Replica, Shared
from autostate.shared.stored import KINDS

_BUILTIN: Final[dict[str, Any]] = {"counter": Counter, "set": set, "dict": dict}


def reset(url: str, name: str, kind_name: str, settings: Settings) -> None:
    """Contribute the opposite of what is published: what others publish later counts from nothing.

    Args:
        url: The URL of the shared state.
        name: The name of the object.
        kind_name: Its kind: counter, set or dict.
        settings: The settings of the store.

    Raises:
        StateTypeError: Its values are merged by a function, so that a deletion would not hold.
        FlushError: It was not published in time.
        StoreError: The store cannot be read or written.
    """
    with writing(url, name, kind_name, settings) as shared:
        if kind_name == "dict" and any(each[0] == MERGED for each in shared.entries.values()):
            raise StateTypeError(
                f"{name!r} in {url} cannot be reset: a function merges its values, and would "
                "bring back what other processes have. Let the program use a new name"
            )
        shared.write(_operations(kind_name, shared.entries))


@contextlib.contextmanager
def writing(url: str, name: str, kind_name: str, settings: Settings) -> Generator[Shared]:
    """Hold a shared object during the body, and publish what it writes.

    Raises:
        FlushError: It was not published in time.
        StoreError: The store cannot be read or written.
    """
    made: list[Shared] = []

    def make(shared: Shared) -> Any:
        made.append(shared)
        return _BUILTIN[kind_name]()

    with contextlib.closing(Replica(open_state(url, settings))) as replica:
        replica.open(name, KINDS[kind_name], make)
        [shared] = made
        with shared.lock:
            yield shared
        replica.flush(settings.flush_timeout)


def _operations(kind_name: str, entries: Entries) -> dict[Any, Any]:
    """Give what undoes the entries; see `handle.Handle.write`."""
    shown = {text: KINDS[kind_name].show(text, entry) for text, entry in entries.items()}
    there = {key_of(text): value for text, value in shown.items() if value is not ABSENT}
    if kind_name == "counter":
        return {key: -number for key, number in there.items()}
    return dict.fromkeys(there, False if kind_name == "set" else ABSENT)

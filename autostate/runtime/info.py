"""Information about a state object, or a shared object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Info:
    """Information about a state object.

    Attributes:
        name: The name of the state object.
        kind: "dict", "set", "counter", "list", "deque", "proxy", "object": an object of a
            `@persisted` class, "loop": the position of a resumable loop; or "outbox": what
            an outbox has not delivered.
        resumed: Whether the state object was found in the store when it was created.
        downtime: Seconds between the last save of the previous incarnation and the start of this
            one, if a state was resumed. Else None.
        last_saved: The time of its manager's last save, in seconds since 1970; None: never.
        dirty: Whether any change that its manager keeps is not saved yet; a save may be under way.
        unsavable: The paths of its entries that cannot be saved, as in `statistics()`.
        last_error: Why its manager's last attempt to save failed; None if it succeeded.
        waiting: Seconds for which a save has waited for the store to answer; 0 if none waits.
    """

    name: str
    kind: str
    resumed: bool
    downtime: float | None
    last_saved: float | None
    dirty: bool
    last_error: str | None = None
    waiting: float = 0.0
    unsavable: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedInfo:
    """Information about a shared object.

    Attributes:
        name: Its name.
        kind: "counter", "set" or "dict".
        entries: The number of its entries in view.
        unpublished: The number of entries of which this process has changes that are not published
            yet, those of open `atomic()` blocks included.
        age: Seconds since what others have published was read, as far as it is shown.
        url: The URL of the shared state.
        last_error: Why the last attempt to publish or refresh failed; None if it succeeded.
    """

    name: str
    kind: str
    entries: int
    unpublished: int
    age: float
    url: str
    last_error: str | None = None


class HasSharedInfo(Protocol):
    """A shared object."""

    def _info_(self) -> SharedInfo:
        """Tell what is known about it."""
        ...

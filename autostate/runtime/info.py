"""Information about a state object."""

from __future__ import annotations

from dataclasses import dataclass


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

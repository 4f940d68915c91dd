"""The figures of all saves of a manager, as `autostate.statistics` gives them.

A dataclass takes a millisecond to define: it is loaded when somebody asks for the figures.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """The figures of all saves of a manager so far.

    Attributes:
        flushes: Commits that became durable.
        writes: Records that were written for them, compaction not counted.
        bytes: Bytes in these records.
        entries: Entries written in them.
        last_duration: Seconds that the last of them took.
        staleness: For how many seconds something has been unsaved; 0 when nothing is. The changes
            of a save under way count as unsaved until they are durable.
        unsaved_bytes: An estimate of the unsaved bytes.
        failures: Attempts to save that failed.
        failing: How many of them since the last that succeeded.
        last_error: Why the last attempt failed; None when it succeeded.
        waiting: For how many seconds a save has waited for the store to answer; 0 when none does.
        unsavable: The paths of entries that cannot be saved, and of values inside an entry, of
            which five are named: a path that ends with `…` is for the others. All else is saved.
            A path stays until `flush()` or `durable()` has tried the entry again.
        compactions: Journals replaced by a snapshot.
        fenced: Whether a later process has taken over, so that nothing is saved any more.
    """

    flushes: int = 0
    writes: int = 0
    bytes: int = 0
    entries: int = 0
    last_duration: float = 0.0
    staleness: float = 0.0
    unsaved_bytes: int = 0
    failures: int = 0
    failing: int = 0
    last_error: str | None = None
    waiting: float = 0.0
    unsavable: tuple[str, ...] = ()
    compactions: int = 0
    fenced: bool = False

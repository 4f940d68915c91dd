"""What the tests of growth share: a URL for each number, and runs of a program."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from typing import Any

import autostate
from autostate import hub

Saves = list[tuple[int, int]]
"""Entries and bytes of each save."""


def url(number: int) -> str:
    """Give the text of a key or an item."""
    return f"https://example.com/{number}"


@contextlib.contextmanager
def saving_by_itself() -> Iterator[queue.SimpleQueue[int]]:
    """Save after each write in the body; give a queue of the entries of each save."""
    announced: queue.SimpleQueue[int] = queue.SimpleQueue()

    def announce(_: object, **counts: Any) -> None:
        announced.put(counts["entries"])

    eager = autostate.open("sqlite:///eager.db", debounce=0.0, max_delay=0.0)
    with eager, hub.flushed.connected_to(announce):
        yield announced


class Runs:
    """One run of a program after another; each saves only when that is asked for."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self.again()

    def again(self) -> None:
        """End the run, and begin the next one."""
        self.end()
        self._open.enter_context(
            autostate.open("sqlite:///growth.db", debounce=3600.0, max_delay=3600.0)
        )

    def end(self) -> None:
        """End the run."""
        self._open.close()

"""What the tests of growth share: saves that are counted, and runs of a program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import autostate
from autostate import hub

Saves = list[tuple[int, int]]
"""Entries and bytes of each save."""


@contextlib.contextmanager
def counted_saves() -> Iterator[Saves]:
    """Count every save."""
    counted: Saves = []

    def count(_: object, **counts: Any) -> None:
        counted.append((counts["entries"], counts["bytes"]))

    with hub.flushed.connected_to(count):
        yield counted


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

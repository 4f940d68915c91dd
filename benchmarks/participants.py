"""Those who save beside the limit and keep the state in memory: autostate, and some peers.

Each applies changes with the loops of `entries.py`, and is as durable as it can be made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import autostate
from benchmarks.entries import MEMBERS, OBJECTS, Shape, Visit, construct
from benchmarks.limit import encode
from benchmarks.measure import CALM

TIMEOUT: Final = 600.0
"""Seconds for a save that takes long."""


class Participant(Protocol):
    """Somebody who applies changes to a state and saves them.

    Attributes:
        idle: Seconds of the last save in which it waited on purpose.
    """

    idle: float

    def fill(self, values: dict[str, Any]) -> None:
        """Put many values in at once."""

    def assign(self, values: dict[str, Any]) -> None:
        """Assign values one by one."""

    def alter(self, urls: list[str], status: int) -> None:
        """Change something inside of values."""

    def remove(self, urls: list[str]) -> None:
        """Remove entries."""

    def save(self) -> None:
        """Make durable what changed."""

    def close(self) -> None:
        """Release files."""


class InMemory:
    """A participant with a container in memory to which the changes are applied."""

    idle = 0.0
    state: Any

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder, self.shape = folder, shape

    def fill(self, values: dict[str, Any]) -> None:
        """Put many values in at once."""
        self.shape.fill(self.state, values)

    def assign(self, values: dict[str, Any]) -> None:
        """Assign values one by one."""
        self.shape.assign(self.state, values)

    def alter(self, urls: list[str], status: int) -> None:
        """Change something inside of values."""
        self.shape.alter(self.state, urls, status)

    def remove(self, urls: list[str]) -> None:
        """Remove entries."""
        self.shape.remove(self.state, urls)

    def close(self) -> None:
        """Release nothing."""


def made(shape: Shape) -> tuple[Any, Shape]:
    """Make a state object, or a plain dict for objects of a `@persisted` class.

    Returns:
        The state, and the shape whose loops suit it.
    """
    if shape is MEMBERS:
        return autostate.PersistedSet[str]("urls"), shape
    if shape is OBJECTS:
        cls = autostate.persisted(name="visit-{number}")(Visit)
        return {}, replace(shape, fill=partial(construct, cls=cls))
    return autostate.PersistedDict[str, Any]("pages"), shape


class Flushed(InMemory):
    """autostate, saved by `flush()`, which also compares what could have been changed unseen."""

    settings: Mapping[str, Any] = CALM

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        autostate.configure(f"sqlite:///{folder / 'autostate.db'}", **self.settings)
        self.state, self.shape = made(shape)

    def save(self) -> None:
        """Save."""
        autostate.flush(timeout=TIMEOUT)


class Automatic(Flushed):
    """autostate, saved by its flush thread when writing pauses. The pause does not count."""

    settings = CALM | {"debounce": 0.1, "duty_cycle": 1.0}

    def __init__(self, folder: Path, shape: Shape) -> None:
        if shape is OBJECTS:  # nothing tells that an attribute was assigned
            self.settings = {**self.settings, "max_delay": 1.0}
        super().__init__(folder, shape)
        autostate.flush()
        self._saved = threading.Event()
        self._durations: list[float] = []
        autostate.hub.flushed.connect(self._flushed)

    def _flushed(self, sender: object, *, duration: float, **rest: Any) -> None:
        self._durations.append(duration)
        self._saved.set()

    def save(self) -> None:
        """Wait for the flush thread."""
        began = time.perf_counter()
        while not self._saved.wait(TIMEOUT) or autostate.statistics().staleness:
            self._saved.clear()  # it has saved a part, while changes were applied
        self.idle = time.perf_counter() - began - sum(self._durations)
        self._durations.clear()
        self._saved.clear()


class WholeValue(InMemory):
    """A plain dict that is encoded whole by msgspec, written to a new file, synced and renamed."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        self.state = shape.empty()

    def save(self) -> None:
        """Save everything."""
        new = self.folder / "whole.new"
        with new.open("wb") as file:
            file.write(encode(self.state))
            file.flush()
            os.fdatasync(file.fileno())
        new.replace(self.folder / "whole")
        directory = os.open(self.folder, os.O_RDONLY)
        os.fsync(directory)  # else the name may be lost
        os.close(directory)


class UseState(InMemory):
    """`Actor.use_state` with the SDK's local storage. It saves everything, and syncs nothing."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        super().__init__(folder, shape)
        os.environ["APIFY_LOCAL_STORAGE_DIR"] = os.environ["CRAWLEE_STORAGE_DIR"] = str(folder)
        from apify import Actor

        logging.disable()
        self._actor = Actor(exit_process=False)
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._actor.__aenter__())
        self.state = self._loop.run_until_complete(Actor.use_state({}))

    def save(self) -> None:
        """Save everything."""
        self._loop.run_until_complete(self._persist())

    async def _persist(self) -> None:
        store = await self._actor.open_key_value_store()
        await store.persist_autosaved_values()

    def close(self) -> None:
        """End the Actor."""
        self.state.clear()
        self._loop.run_until_complete(self._actor.__aexit__(None, None, None))
        self._loop.close()

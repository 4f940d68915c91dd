"""For how long an event loop is held up by saving, beside the same work with plain dicts.

    python -m benchmarks.stalls own|plain SIZE FOLDER
    python -m benchmarks.stalls use_state SIZE FOLDER

A task sleeps for half a millisecond again and again. How much later it wakes is the stall. The
program beside it changes the state in short steps. With plain dicts, a thread encodes the same
content with msgspec, appends it to a file and syncs that.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.entries import CHANGED, entries
from benchmarks.measure import Plan, Row, in_process

TITLE: Final = "Stalls of an event loop"
USUAL: Final = 10.0
"""Milliseconds that 99.9 % of the ticks may be late."""
WORST: Final = 25.0
"""Milliseconds that any of them may be late."""
TICK: Final = 0.0005
STEP: Final = 100
"""Entries that the program changes between two awaits."""
SAVES: Final = 5
POINTS: Final = 300
"""Parts of a phase of which a plot shows the worst tick each."""
PATIENCE: Final = 60.0
"""Seconds to wait for the flush thread, and for each million entries of the state."""


def rows(plan: Plan) -> Iterator[Row]:
    """Measure each phase, ourselves and with plain dicts, in processes of their own."""
    found = {}
    for kind in ("plain", "own"):
        with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
            found[kind] = in_process("stalls", kind, plan.large, folder)
    other = {}
    if not plan.brief:
        with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
            other = in_process("stalls", "use_state", plan.medium, folder)
    for phase, own in found["own"].items():
        plain = found["plain"][phase]
        for name, goal in (("usual", USUAL), ("worst", WORST)):
            peers = {"plain dicts": plain[name], "idle loop": found["plain"]["idle"][name]}
            if phase in other:
                peers[f"use_state of {plan.medium:,}"] = other[phase][name]
            what = f"{phase}, {'99.9 % of the ticks' if name == 'usual' else 'the worst'}"
            data = {"phase": phase, "own": own["ticks"], "plain": plain["ticks"]}
            yield Row(what, own[name], goal, "ms", peers, data={} if name == "worst" else data)


class Ticks:
    """Notes how late each tick of an event loop was, by phase."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, Any]] = {}

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[None]:
        """Tick while the body runs."""
        late: list[tuple[float, float]] = []
        task = asyncio.create_task(_tick(late))
        await asyncio.sleep(0.05)
        late.clear()
        try:
            yield
            await asyncio.sleep(0.01)
        finally:
            task.cancel()
        self.phases[name] = _summary(late)


async def _tick(late: list[tuple[float, float]]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        late.append((now, (now - last - TICK) * 1000))
        last = now


def _summary(late: list[tuple[float, float]]) -> dict[str, Any]:
    """Give the milliseconds that matter, and for a plot the worst of each part of the phase."""
    delays = sorted(delay for _, delay in late)
    began, ended = late[0][0], late[-1][0]
    worst: dict[int, float] = {}
    for now, delay in late:
        part = int((now - began) / max(ended - began, 1e-9) * POINTS)
        worst[part] = max(worst.get(part, 0.0), delay)
    scale = (ended - began) / POINTS
    return {
        "usual": delays[int(len(delays) * 0.999)],
        "worst": delays[-1],
        "ticks": [(part * scale, delay) for part, delay in worst.items()],
    }


class Own:
    """A persisted dict."""

    def __init__(self, size: int, folder: Path) -> None:
        import autostate

        self._autostate = autostate
        self._url = folder / "stalls.db"
        self._manager = autostate.configure(self._url)
        self.pages: Any = autostate.PersistedDict("pages")
        self._size = size

    async def fill(self) -> None:
        """Put everything in."""
        self.pages.update(entries(self._size))

    async def save(self, urls: list[str] | None = None) -> None:
        """Save by `durable()`."""
        await self._autostate.durable(timeout=600)

    async def automatic(self, urls: list[str]) -> None:
        """Wait until nothing is unsaved."""
        await self._until(lambda: not self._autostate.statistics().staleness)

    async def compact(self) -> None:
        """Wait for a compaction, which is due when everything has been written once more."""
        await self._until(lambda: self._autostate.statistics().compactions > 0)

    def end(self) -> None:
        """Save, and forget the state."""
        self._manager.close()
        self.pages = None

    async def rehydrate(self) -> None:
        """Create the state object in a thread, in a store that was just opened."""

        def create() -> object:
            with self._autostate.open(self._url):
                return len(self._autostate.PersistedDict("pages"))

        await asyncio.to_thread(create)

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait until something is done; give up after a while."""
        end = time.monotonic() + PATIENCE * max(1.0, self._size / 1e6)
        while not done():  # statistics have no event
            if time.monotonic() > end:
                raise TimeoutError
            await asyncio.sleep(0.01)


class Plain:
    """A plain dict, and a thread that encodes and appends."""

    def __init__(self, size: int, folder: Path) -> None:
        self.pages: Any = {}
        self._size = size
        self._path = folder / "plain"

    async def fill(self) -> None:
        """Put everything in."""
        self.pages.update(entries(self._size))

    async def save(self, urls: list[str] | None = None) -> None:
        """Save what changed, or everything."""
        changed = {url: self.pages[url] for url in urls} if urls else self.pages
        await asyncio.to_thread(self._append, changed)

    async def automatic(self, urls: list[str]) -> None:
        """Save what changed."""
        await self.save(urls)

    async def compact(self) -> None:
        """Save everything."""
        await self.save()

    def end(self) -> None:
        """Encode the state, and forget it."""
        self._data = msgspec.json.encode(self.pages)
        self.pages = None

    async def rehydrate(self) -> None:
        """Decode everything in a thread."""
        await asyncio.to_thread(msgspec.json.decode, self._data)

    def _append(self, content: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fdatasync(file.fileno())


async def main(kind: str, size: int, folder: Path) -> dict[str, Any]:
    """Go through all phases."""
    ticks = Ticks()
    if kind == "use_state":
        await _use_state(ticks, size, folder)
        return ticks.phases
    state = (Own if kind == "own" else Plain)(size, folder)
    await state.fill()
    urls, rng = [*state.pages], random.Random(2)
    if kind == "plain":
        async with ticks.phase("idle"):
            await asyncio.sleep(2)
    async with ticks.phase("first save"):
        await state.save()
    for phase, save in (("automatic saves", state.automatic), ("durable()", state.save)):
        async with ticks.phase(phase):
            for _ in range(SAVES):
                chosen = rng.sample(urls, max(1, int(size * CHANGED)))
                await _change(state.pages, chosen)
                await save(chosen)
    async with ticks.phase("compaction"):
        await _change(state.pages, urls)
        await state.save(urls)
        await state.compact()
    state.end()
    async with ticks.phase("rehydration in a thread"):
        await state.rehydrate()
    return ticks.phases


async def _change(pages: Any, urls: list[str]) -> None:
    """Change entries in short steps, as a program does that awaits something in between."""
    for start in range(0, len(urls), STEP):
        for url in urls[start : start + STEP]:
            pages[url]["depth"] += 1
        await asyncio.sleep(0)


async def _use_state(ticks: Ticks, size: int, folder: Path) -> None:
    """Save the state of an Actor on the SDK's local storage."""
    os.environ["APIFY_LOCAL_STORAGE_DIR"] = os.environ["CRAWLEE_STORAGE_DIR"] = str(folder)
    import logging

    from apify import Actor

    logging.disable()
    async with Actor(exit_process=False):
        state: Any = await Actor.use_state({})
        state.update(entries(size))
        store = await Actor.open_key_value_store()
        async with ticks.phase("first save"):
            await store.persist_autosaved_values()
        state.clear()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))))

"""For how long an event loop is held up by saving, beside the same work with plain dicts.

    python -m benchmarks.stalls own|plain SIZE FOLDER
    python -m benchmarks.stalls use_state SIZE FOLDER

A task sleeps for half a millisecond again and again. How much later it wakes is the stall. The
program beside it changes the state in short steps. With plain dicts, a thread encodes the same
content with msgspec, appends it to a file and syncs that.

Not everything that delays a tick is the work of the participant:

- Where other processes are at work, a thread waits for a core: on a machine with two cores that is
  most of a stall. Linux counts these waits for each thread; the longest one of any thread during a
  tick, also of the one that holds the interpreter's lock, is taken off. The note has the figure
  with all waits.
- The program makes a dict and a list of a million entries, and the next collection of young objects
  traverses both, for 40 ms. A collection before the first phase does that.
- It chooses the entries that it will change, which takes 7 ms for 10,000, before the first phase.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

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
            note = f"{own[f'{name}, with waits']:.3g} ms with waits for a core"
            data = {} if name == "worst" else data
            yield Row(what, own[name], goal, "ms", peers, note=note, data=data)


class Waits:
    """For how long the threads of this process have waited for a core; on Linux only."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._threads = 0

    def longest(self) -> float:
        """Give the milliseconds that the thread has waited that waited longest since last time."""
        if self._threads != threading.active_count():
            self._threads = threading.active_count()
            self._open()
        now = {thread: self._waited(thread) for thread in [*self._files]}
        longest = max((now[thread] - self._before.get(thread, 0) for thread in now), default=0)
        self._before = now
        return longest / 1e6

    def _open(self) -> None:
        folder = Path("/proc/self/task")
        threads = {each.name for each in folder.iterdir()} if folder.exists() else set()
        for thread in self._files.keys() - threads:
            os.close(self._files.pop(thread))
        for thread in threads - self._files.keys():
            self._files[thread] = os.open(folder / thread / "schedstat", os.O_RDONLY)

    def _waited(self, thread: str) -> int:
        try:
            return int(os.pread(self._files[thread], 100, 0).split()[1])
        except ProcessLookupError:  # the thread has ended
            return self._before.get(thread, 0)


class Ticks:
    """Notes how late each tick of an event loop was, by phase."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, Any]] = {}

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[None]:
        """Tick while the body runs."""
        late: list[Late] = []
        task = asyncio.create_task(_tick(late))
        await asyncio.sleep(0.05)
        late.clear()
        try:
            yield
            await asyncio.sleep(0.01)
        finally:
            task.cancel()
        self.phases[name] = _summary(late)


class Late(NamedTuple):
    """One tick.

    Attributes:
        at: When it came, in seconds.
        delay: How late it was, in milliseconds.
        own: The same without the time in which a thread waited for a core.
    """

    at: float
    delay: float
    own: float


async def _tick(late: list[Late]) -> None:
    waits = Waits()
    waits.longest()
    last = time.perf_counter()
    while True:
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        delay = (now - last - TICK) * 1000
        late.append(Late(now, delay, max(delay - waits.longest(), 0.0)))
        last = time.perf_counter()


def _summary(late: list[Late]) -> dict[str, Any]:
    """Give the milliseconds that matter, and for a plot the worst of each part of the phase."""
    delays, own = sorted(tick.delay for tick in late), sorted(tick.own for tick in late)
    began, ended = late[0].at, late[-1].at
    worst: dict[int, float] = {}
    for tick in late:
        part = int((tick.at - began) / max(ended - began, 1e-9) * POINTS)
        worst[part] = max(worst.get(part, 0.0), tick.own)
    scale = (ended - began) / POINTS
    usual = int(len(late) * 0.999)
    return {
        "usual": own[usual],
        "worst": own[-1],
        "usual, with waits": delays[usual],
        "worst, with waits": delays[-1],
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
    samples = [rng.sample(urls, max(1, int(size * CHANGED))) for _ in range(2 * SAVES)]
    gc.collect()
    if kind == "plain":
        async with ticks.phase("idle"):
            await asyncio.sleep(2)
    async with ticks.phase("first save"):
        await state.save()
    for phase, save in (("automatic saves", state.automatic), ("durable()", state.save)):
        async with ticks.phase(phase):
            for _ in range(SAVES):
                chosen = samples.pop()
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

"""What saving a large dict costs: URL → four small fields, one in a hundred changed."""

from __future__ import annotations

import asyncio
import os
import random
import shelve
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import autostate
from benchmarks.entries import CHANGED, entries
from benchmarks.measure import Row, Stalls, in_process, ratios, rounds, seconds

SHELVE = 20_000
"""Entries of the shelf: without a C library shelve rewrites its whole index at every sync."""


def rows(folder: Path, *, size: int, count: int) -> Iterator[Row]:
    """Measure saves by the flush thread and by `durable()`, idling, and the event loop meanwhile.

    Args:
        folder: Where files may be left.
        size: Entries of the dict.
        count: How many rounds.
    """
    found = asyncio.run(_saves(folder, size, count))
    limit = statistics.median(found.times["limit of flush thread"])
    use_state = in_process("benchmarks.use_state", str(size), folder)
    peers = {
        "use_state": use_state["seconds"] / limit,
        f"shelve of {min(size, SHELVE):,}": _shelve(folder, min(size, SHELVE)),
    }
    note = f"the limit is {limit * 1000:.1f} ms"
    yield Row(f"save 1 % of {size:,}", found.ratio("flush thread"), 1.5, peers=peers, note=note)
    note = "compares what could be changed unseen"
    yield Row(f"durable() after 1 % of {size:,}", found.ratio("durable"), None, note=note)
    yield Row("save with nothing changed", found.idle_writes, 0, "writes", peers={"use_state": 1})
    stall = {"use_state": use_state["stall"] * 1000}
    yield Row(f"longest stall, first save of {size:,}", found.first_stall * 1000, 10, "ms", stall)
    for name, what in (("flush thread", "saving 1 %"), ("durable", "durable(), 1 %")):
        longest = max(found.stalls[name]) * 1000
        usual = f"median of the rounds {statistics.median(found.stalls[name]) * 1000:.1f} ms"
        yield Row(f"longest stall, {what} of {size:,}", longest, 10, "ms", stall, usual)


class _Found:
    """What was measured, in seconds."""

    def __init__(self) -> None:
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.stalls: defaultdict[str, list[float]] = defaultdict(list)
        self.first_stall = 0.0
        self.idle_writes = 0

    def ratio(self, name: str) -> float:
        """How long a save took, in times of the limit measured just before it."""
        return ratios(self.times, f"limit of {name}")[name]


class _Flushes:
    """Waits for the flush thread to save by itself."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds: asyncio.Queue[float] = asyncio.Queue()
        autostate.hub.flushed.connect(self._flushed)

    def _flushed(self, sender: object, *, duration: float, **rest: Any) -> None:
        self._loop.call_soon_threadsafe(self._seconds.put_nowait, duration)

    def forget(self) -> None:
        """Forget the saves so far: `durable()` made them."""
        while not self._seconds.empty():
            self._seconds.get_nowait()

    async def next(self) -> float:
        """Wait for a save, and give its seconds."""
        return await self._seconds.get()

    def close(self) -> None:
        """Wait no more."""
        autostate.hub.flushed.disconnect(self._flushed)


async def _saves(folder: Path, size: int, count: int) -> _Found:
    """Save everything once, then a little of it several times, in a running event loop."""
    found, plain, rng = _Found(), entries(size), random.Random(2)
    urls = list(plain)
    async with autostate.open(f"sqlite:///{folder / 'saving.db'}") as manager:
        pages = autostate.PersistedDict[str, dict[str, Any]]("pages")
        pages.update(entries(size))
        async with Stalls() as stalls:
            await autostate.durable(timeout=300)
        found.first_stall = stalls.longest
        flushes = _Flushes()
        for _ in range(count):
            for name, save in (("flush thread", flushes.next), ("durable", _durable)):
                chosen = rng.sample(urls, max(1, int(size * CHANGED)))
                _change(plain, chosen)
                found.times[f"limit of {name}"].append(_limit(folder / "limit", plain, chosen))
                flushes.forget()
                _change(pages, chosen)
                async with Stalls() as stalls:
                    found.times[name].append(await save())
                found.stalls[name].append(stalls.longest)
        flushes.close()
        before = manager.statistics().writes
        for _ in range(10):
            autostate.hub.persist_state.send(is_migrating=False)
            await autostate.durable()
        found.idle_writes = manager.statistics().writes - before
    return found


async def _durable() -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await autostate.durable()
    return loop.time() - began


def _change(pages: Any, chosen: list[str]) -> None:
    """Change entries in place, as a program does."""
    for url in chosen:
        pages[url]["depth"] += 1


def _limit(path: Path, pages: dict[str, Any], chosen: list[str]) -> float:
    """Give the seconds of the least that anybody must do: encode what changed, append, sync."""

    def least() -> None:
        with path.open("ab") as file:
            file.write(msgspec.json.encode({url: pages[url] for url in chosen}))
            file.flush()
            os.fsync(file.fileno())

    return seconds(least)


def _shelve(folder: Path, size: int) -> float:
    """Give what a shelf takes for the same, in times of the limit for that size."""
    plain = entries(size)
    chosen = random.Random(3).sample(list(plain), max(1, int(size * CHANGED)))
    with shelve.open(str(folder / "shelf"), "c") as shelf:
        shelf.update(plain)
        shelf.sync()

        def save() -> None:
            for url in chosen:
                shelf[url] = plain[url] | {"depth": 0}
            shelf.sync()

        times = rounds(
            {"limit": lambda: _limit(folder / "limit", plain, chosen), "shelve": save}, 3
        )
    return ratios(times, "limit")["shelve"]

"""What it costs to begin: the import, and to rehydrate a large dict; and the memory it takes."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import autostate
from benchmarks.entries import entries
from benchmarks.measure import Row, ratios, seconds
from benchmarks.scale import MOMENTS, memory

MANY = 1_000_000
"""Entries for which the goal of memory is set."""

IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def rows(folder: Path, *, size: int, count: int) -> Iterator[Row]:
    """Measure import, rehydration and memory.

    Args:
        folder: Where files may be left.
        size: Entries of the dict.
        count: How many rounds.
    """
    times = _imports(count)
    own, apify = (statistics.median(times[name]) for name in ("autostate", "apify"))
    note = f"{own * 1000:.0f} ms, apify {apify * 1000:.0f} ms"
    share = ratios(times, "apify")["autostate"]
    yield Row("import autostate", share, 0.1, "× import apify", note=note)
    yield from _rehydrated(folder, size, count)
    kept = memory(size, folder)
    for moment in ("saved", "flushes", "rehydrated", "peak"):
        note = f"the plain one takes {kept['plain']:,.0f} MB" if moment == "saved" else ""
        goal = None if moment == "peak" or size < MANY else 1.5  # the least that it takes counts
        yield Row(f"memory of {size:,}, {MOMENTS[moment]}", kept[moment], goal, note=note)


def _imports(count: int) -> dict[str, list[float]]:
    """Import in fresh processes, in turn."""
    times: dict[str, list[float]] = {"autostate": [], "apify": []}
    for _ in range(count):
        for name, taken in times.items():
            command = [sys.executable, "-c", IMPORT.format(name)]
            taken.append(float(subprocess.check_output(command)))
    return times


def _rehydrated(folder: Path, size: int, count: int) -> Iterator[Row]:
    """Rehydrate a dict, and close it, beside the least that anybody must do: decode it."""
    url, expected = f"sqlite:///{folder / 'rehydrate.db'}", entries(size)
    with autostate.open(url):
        autostate.PersistedDict("pages", entries(size))  # nobody else holds what is in it
        autostate.flush(timeout=300)
    encoded = msgspec.json.encode(expected)
    with autostate.open(url):
        assert autostate.PersistedDict("pages") == expected
    del expected
    times: dict[str, list[float]] = {"decode": [], "rehydrate": [], "close": []}
    for _ in range(count):
        gc.collect()
        times["decode"].append(seconds(lambda: msgspec.json.decode(encoded)))
        gc.collect()
        manager = autostate.open(url)
        with manager:
            began = time.perf_counter()
            pages = autostate.PersistedDict[str, Any]("pages")
            times["rehydrate"].append(time.perf_counter() - began)
            assert len(pages) == size
            times["close"].append(seconds(manager.close))
    found = ratios(times, "decode")
    note = f"decoding takes {statistics.median(times['decode']):.2f} s"
    yield Row(f"rehydrate {size:,}", found["rehydrate"], 2, note=note)
    yield Row(f"close {size:,}", found["close"], None, note="in times of decoding")

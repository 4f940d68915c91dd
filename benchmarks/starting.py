"""What it costs to begin: the import, and to rehydrate a large dict; and the memory it takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import autostate
from benchmarks.entries import entries
from benchmarks.measure import Row, in_process, ratios, rounds

IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def rows(folder: Path, *, size: int, count: int) -> Iterator[Row]:
    """Measure import, rehydration and memory.

    Args:
        folder: Where files may be left.
        size: Entries of the dict.
        count: How many rounds.
    """
    times = _imports(max(count, 5))
    own, apify = (statistics.median(times[name]) for name in ("autostate", "apify"))
    note = f"{own * 1000:.0f} ms, apify {apify * 1000:.0f} ms"
    share = ratios(times, "apify")["autostate"]
    yield Row("import autostate", share, 0.1, "× import apify", note=note)
    yield _rehydrated(folder, size, count)
    plain = in_process("benchmarks.memory", str(size))
    kept = in_process("benchmarks.memory", str(size), f"sqlite:///{folder / 'memory.db'}")
    note = f"{kept['bytes'] / 1e6:,.0f} MB"
    yield Row(f"memory of {size:,}", kept["bytes"] / plain["bytes"], 1.5, note=note)


def _imports(count: int) -> dict[str, list[float]]:
    """Import in fresh processes, in turn."""
    times: dict[str, list[float]] = {"autostate": [], "apify": []}
    for _ in range(count):
        for name, taken in times.items():
            command = [sys.executable, "-c", IMPORT.format(name)]
            taken.append(float(subprocess.check_output(command)))
    return times


def _rehydrated(folder: Path, size: int, count: int) -> Row:
    """Rehydrate a dict, beside the least that anybody must do: decode it."""
    url, expected = f"sqlite:///{folder / 'rehydrate.db'}", entries(size)
    with autostate.open(url):
        autostate.PersistedDict("pages", entries(size))  # nobody else holds what is in it
        autostate.flush(timeout=300)
    encoded = msgspec.json.encode(expected)

    def rehydrate() -> None:
        with autostate.open(url):
            pages = autostate.PersistedDict[str, Any]("pages")
            assert len(pages) == size

    with autostate.open(url):
        assert autostate.PersistedDict("pages") == expected
    del expected
    jobs = {"decode": lambda: msgspec.json.decode(encoded), "own": rehydrate}
    times = rounds(jobs, count)
    note = f"decoding takes {statistics.median(times['decode']):.2f} s"
    return Row(f"rehydrate {size:,}", ratios(times, "decode")["own"], 2, note=note)

"""How it is measured, and what a figure looks like.

Everything that is compared runs in one process in alternating rounds, so that a machine that is
slow for a while is slow for all of them; what is reported is the median of the rounds' ratios.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

Job = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        figure: The figure that is judged.
        goal: The largest figure that meets the goal; None: there is no goal.
        unit: What the figure counts.
        peers: The same for others, by name.
        note: What else is worth knowing.
    """

    what: str
    figure: float
    goal: float | None
    unit: str = "×"
    peers: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> str:
        """Whether the goal is met, in a word."""
        if self.goal is None:
            return ""
        return "met" if self.figure <= self.goal else "MISSED"


def seconds(job: Job) -> float:
    """Run a job once, and give its time."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def rounds(jobs: Mapping[str, Job], count: int) -> dict[str, list[float]]:
    """Run all jobs in turn, so many times, and give the seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(count):
        gc.collect()
        names = list(jobs)
        for name in names if number % 2 else reversed(names):
            times[name].append(seconds(jobs[name]))
    return times


def ratios(times: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """Give the median, over the rounds, of each job's time in times of the base's."""
    return {
        name: statistics.median(a / b for a, b in zip(taken, times[base], strict=True))
        for name, taken in times.items()
        if name != base
    }


def in_process(module: str, *arguments: str | Path) -> dict[str, float]:
    """Run a module in a process of its own, and give what it prints last."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


TICK = 0.0005


class Stalls:
    """The longest time for which an event loop could do nothing else. A context manager."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.05)
        self.longest = 0.0
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        self._last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - self._last - TICK)
            self._last = now

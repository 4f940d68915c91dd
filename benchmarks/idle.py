"""What a program costs that does nothing: wake-ups of the library's threads, and writes.

    python -m benchmarks.idle KIND SECONDS

A wake-up is a voluntary context switch of a thread other than the main one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.measure import Plan, Row, in_process

TITLE: Final = "An idle program"
GOAL: Final = 60
"""Wake-ups a minute: none more often than once a second."""


@dataclass
class Shop:
    """A dataclass."""

    number: int
    seen: list[str] = field(default_factory=list)


def _small() -> object:
    return autostate.PersistedDict("progress", page=1, seen=[])


def _held() -> object:
    kept = [[number] for number in range(100)]
    return kept, autostate.PersistedDict("held", {str(one[0]): one for one in kept})


def _objects() -> object:
    cls = autostate.persisted(name="shop-{number}")(Shop)
    return [cls(number) for number in range(100)]


KINDS: Final[dict[str, Callable[[], object]]] = {
    "a small dict": _small,
    "100 lists that the program also holds": _held,
    "100 objects of a class": _objects,
}


def rows(plan: Plan) -> Iterator[Row]:
    """Watch programs side by side, each in a process of its own."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda kind: in_process("idle", kind, plan.idle), KINDS)
        for kind, figures in zip(KINDS, found, strict=True):
            yield Row(f"{kind}: wake-ups", figures["wakes"], GOAL, "a minute")
            yield Row(f"{kind}: writes", figures["writes"], 0, "a minute")
            yield Row(f"{kind}: processor time", figures["cpu"], None, "ms a minute")


def _switches() -> int:
    """Count the voluntary context switches of all threads but the main one."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != os.getpid():
            lines = (task / "status").read_text().splitlines()
            found += next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return found


def main(kind: str, seconds: float) -> dict[str, float]:
    """Make a state, save it, and do nothing."""
    with tempfile.TemporaryDirectory() as folder, autostate.open(Path(folder, "idle.db")):
        kept: Any = KINDS[kind]()
        autostate.flush()
        time.sleep(min(seconds, 2.5))  # what the last write has begun ends
        before = _switches(), autostate.statistics().writes, time.process_time()
        threading.Event().wait(seconds)
        after = _switches(), autostate.statistics().writes, time.process_time()
        wakes, writes, cpu = ((b - a) / seconds * 60 for a, b in zip(before, after, strict=True))
        del kept
    return {"wakes": wakes, "writes": writes, "cpu": cpu * 1000}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]))))

"""A process in which one participant applies changes and saves them, as it is told.

    python -m benchmarks.worker PARTICIPANT FOLDER SHAPE

It reads lines from standard input, `OPERATION NUMBER`, and answers each with JSON:

    fill 100000     put so many values in at once, and save
    replace 1000    assign new values to so many entries, one by one, and save
    held 1000       the same, with values that the program goes on holding
    alter 1000      change something inside of so many values, and save
    add 1000        add so many entries one by one, and save
    remove 1000     remove so many entries, and save
    nothing 0       save

Which entries these are is the same for all participants. The answer has the seconds of applying and
saving, and those of saving alone. What is assigned is made before, and not counted. Then the worker
waits until its process is idle: what a participant does in the background disturbs nobody.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autostate
from benchmarks.entries import SHAPES, Shape, url
from benchmarks.memory import wait_until_idle
from benchmarks.participants import TIMEOUT, Flushed, Participant
from benchmarks.peers import PEERS


class Worker:
    """Gives a participant the changes of one program.

    Attributes:
        participant: Who applies and saves them.
    """

    def __init__(self, participant: Participant, shape: Shape) -> None:
        self.participant = participant
        self._shape = shape
        self._rng = random.Random(6)
        self._urls: list[str] = []
        self._new = 0
        self._status = 200
        self._kept: list[Any] = []

    def do(self, operation: str, number: int) -> dict[str, float]:
        """Apply changes, save them, and give the seconds."""
        self._status += 1
        apply: Callable[[], None] = getattr(self, f"_{operation}")(number)
        if number * 20 >= len(self._urls):  # so many new values may make Python collect garbage
            gc.collect()
        began = time.perf_counter()
        apply()
        applied = time.perf_counter()
        self.participant.save()
        ended = time.perf_counter()
        idle = self.participant.idle
        if self._kept:
            self._kept.clear()
            if isinstance(self.participant, Flushed):  # sees that nobody else holds them any more
                autostate.flush(timeout=TIMEOUT)
        wait_until_idle()
        return {"seconds": ended - began - idle, "saving": ended - applied - idle}

    def _values(self, urls: list[str], first: int = 0) -> dict[str, Any]:
        make, status = self._shape.make, self._status
        return {url: make(number, status) for number, url in enumerate(urls, first)}

    def _fill(self, number: int) -> Callable[[], None]:
        self._urls, self._new = [url(each) for each in range(number)], number
        values = self._values(self._urls)

        def apply() -> None:
            self.participant.fill(values)
            values.clear()  # nobody else holds them

        return apply

    def _replace(self, number: int) -> Callable[[], None]:
        values = self._values(self._rng.sample(self._urls, number))
        return lambda: self.participant.assign(values)

    def _held(self, number: int) -> Callable[[], None]:
        values = self._values(self._rng.sample(self._urls, number))
        self._kept = list(values.values())
        return lambda: self.participant.assign(values)

    def _alter(self, number: int) -> Callable[[], None]:
        chosen, status = self._rng.sample(self._urls, number), self._status
        return lambda: self.participant.alter(chosen, status)

    def _add(self, number: int) -> Callable[[], None]:
        urls = [url(self._new + each) for each in range(number)]
        values = self._values(urls, self._new)
        self._urls += urls
        self._new += number
        return lambda: self.participant.assign(values)

    def _remove(self, number: int) -> Callable[[], None]:
        chosen = self._rng.sample(self._urls, number)
        gone = set(chosen)
        self._urls = [each for each in self._urls if each not in gone]
        return lambda: self.participant.remove(chosen)

    def _nothing(self, number: int) -> Callable[[], None]:
        return lambda: None


def main(name: str, folder: str, shape: str) -> None:
    """Read what to do, and do it."""
    worker = Worker(PEERS[name].make(Path(folder), SHAPES[shape]), SHAPES[shape])
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        operation, number = line.split()
        print(json.dumps(worker.do(operation, int(number))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

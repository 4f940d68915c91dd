"""Many processes that count and collect together, while they are killed and stopped."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.peers.forked import ProgramServer

PROGRAM: Final = """
import autostate
import os, sys
from autostate import PersistedDict
from autostate.errors import FlushError, StoreUnavailableError
from autostate.shared import fold, home
from autostate.shared.counter import SharedCounter
from autostate.shared.set import SharedSet
from autostate.stores.wrapping import StoreAround

kind, name, count, members, batch = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
calls, open_store = 0, home.open_store


class Counted(StoreAround):
    def __getattribute__(self, name):
        global calls
        calls += name in {"read", "list", "scan", "read_many", "write"}
        return super().__getattribute__(name)


def tell(text):
    os.pwrite(told, f"{text:<60}".encode(), 0)


def patiently(call, *arguments):
    while True:  # a stopped process may hold the lock of a file, or be about to fold
        try:
            return call(*arguments)
        except (FlushError, StoreUnavailableError) as error:
            print(error, file=sys.stderr)


fold.LARGE = min(fold.LARGE, 2 * count)  # bytes, so that folds are many
told = os.open(f"told-{name}", os.O_WRONLY | os.O_CREAT)
home.open_store = lambda url, **how: Counted(open_store(url, **how))
hits, seen = patiently(SharedCounter, "hits"), patiently(SharedSet, "seen")
if kind == "worker":
    autostate.configure(f"sqlite:///{name}.db")
    progress = PersistedDict("progress", done=0)
    number = int(name)

    def work(done, until):
        with autostate.atomic():
            for _ in range(done, until):
                hits["all"] += 1
            hits[name] += until - done
            first, last = (number * members + each * members // count for each in (done, until))
            seen.update(range(first, last))
            progress["done"] = until

    while (done := progress["done"]) < count:
        until = min(done + batch, count)
        patiently(work, done, until)
        patiently(autostate.flush)
        tell(f"{until} {until} {calls}")
else:
    for done in range(0, count, batch):
        until = min(done + batch, count)
        tell(f"{done} {until} {calls}")
        for _ in range(done, until):
            hits[name] += 1
        patiently(autostate.flush)
        tell(f"{until} {until} {calls}")
"""

STUCK: Final = 2.0
"""Seconds without any progress, after which stopped processes are let go on: one of them may hold
the lock of a file."""


class Member:
    """A process of the crowd, and those that go on in its place.

    Args:
        crowd: The crowd.
        name: Its name.
        kind: A worker, which has a state of its own and goes on; or a visitor, which has none.
    """

    def __init__(self, crowd: Crowd, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.calls = 0
        self.is_stopped = False
        self.runs_until = 0.0  # how far all have come when it is let go on
        self._crowd = crowd
        self.start()

    def start(self) -> None:
        """Begin, or go on."""
        crowd = self._crowd
        batch = crowd.rng.randrange(1, max(2, crowd.count // 40))
        arguments = (self.kind, self.name, crowd.count, crowd.members, batch)
        self.process: Any = crowd.server.popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)], env=crowd.env, cwd=crowd.folder
        )

    def told(self) -> tuple[int, int]:
        """How many of its increments were acknowledged, and how many it has begun."""
        return self._told()[:2]

    def _told(self) -> tuple[int, int, int]:
        path = self._crowd.folder / f"told-{self.name}"
        text = path.read_text() if path.exists() else ""
        sure, begun, calls = map(int, text.split() or (0, 0, 0))
        return sure, begun, calls

    def end(self) -> int:
        """Wait until it has ended; return its status."""
        status: int = self.process.wait(timeout=300.0)
        output = self.process.stdout
        if output is not None:
            self._crowd.output += output.read()
            output.close()
        self.calls += self._told()[2]
        return status

    def send(self, number: int) -> None:
        """Send a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


class Crowd:
    """Processes that share a state; see `run`.

    Args:
        server: Starts them.
        folder: Where they run.
        env: Their environment, which names the shared state.
        rng: Random numbers.
        size: How many workers there are.
        count: How often each of them counts.
        members: How many members each of them collects.
    """

    def __init__(
        self,
        server: ProgramServer,
        folder: Path,
        env: Mapping[str, str],
        rng: random.Random,
        *,
        size: int,
        count: int,
        members: int,
    ) -> None:
        self.server = server
        self.folder = folder
        self.env = env
        self.rng = rng
        self.count = count
        self.members = members
        self.output = ""
        self.kills = self.stops = self.calls = 0
        self.workers: list[Member] = [Member(self, str(each), "worker") for each in range(size)]
        self.visitors: list[Member] = []
        self._running: list[Member] = [*self.workers]
        self._total = size * count
        self._moved = 0.0, time.monotonic()
        for _ in range(max(1, size // 10)):
            self._visit()

    def close(self) -> None:
        """Kill those that still run."""
        for each in self._running:
            each.send(signal.SIGKILL)
            each.end()

    def _visit(self) -> None:
        made = Member(self, f"visitor-{len(self.visitors)}", "visitor")
        self.visitors.append(made)
        self._running.append(made)

    def run(self, kills: int, stops: int) -> None:
        """Run all to their ends; kill and stop some on the way, evenly spread over the work."""
        kills_at = sorted(self.rng.random() for _ in range(kills))
        stops_at = sorted(self.rng.random() * 0.9 for _ in range(stops))
        while self._running:
            time.sleep(self.rng.uniform(0.0, 0.02))
            for each in [*self._running]:
                if not each.is_stopped and each.process.poll() is not None:
                    self._running.remove(each)
                    assert each.end() == 0, self.output
            done = sum(each.told()[0] for each in self.workers) / self._total
            if kills_at and kills_at[0] <= done and self._running:
                kills_at.pop(0)
                self._kill(self.rng.choice(self._running))
            if self._moved[0] < done:
                self._moved = done, time.monotonic()
            is_stuck = time.monotonic() - self._moved[1] > STUCK
            moving = [each for each in self._running if not each.is_stopped]
            if stops_at and stops_at[0] <= done and len(moving) > 1:
                stops_at.pop(0)
                self._stop(self.rng.choice(moving), done)
            for each in self._running:
                if each.is_stopped and (done >= each.runs_until or not moving or is_stuck):
                    each.is_stopped = False
                    each.send(signal.SIGCONT)
        self.calls += sum(each.calls for each in (*self.workers, *self.visitors))

    def _kill(self, victim: Member) -> None:
        victim.send(signal.SIGKILL)
        status = victim.end()
        self.kills += status == -signal.SIGKILL
        victim.is_stopped = False
        if status == 0 or victim.kind == "visitor":
            self._running.remove(victim)
            if status:
                self._visit()
        else:
            assert status == -signal.SIGKILL, self.output
            victim.start()

    def _stop(self, victim: Member, done: float) -> None:
        """Stop a process for a moment, or while the others fold several times."""
        victim.send(signal.SIGSTOP)
        victim.is_stopped = True
        victim.runs_until = done + self.rng.choice([0.01, 0.1, 0.5])
        self.stops += 1

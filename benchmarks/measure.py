"""How it is measured, and what a figure looks like.

What is compared is done in alternating rounds, so that a machine that is slow for a while is slow
for all; a figure is the median of the rounds.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import IO, Any, Final, Self

SHORT: Final = 8
"""So many times as many rounds of jobs that take less than a millisecond."""

MANY: Final = 8
"""From so many rounds on their spread is given by quartiles."""

Job = Callable[[], object]
Figures = dict[str, float]

CALM: Final[dict[str, Any]] = {
    "debounce": 3600.0,
    "max_delay": 3600.0,
    "max_dirty_bytes": 1 << 40,
    "flush_timeout": 600.0,
}
"""Settings with which nothing is saved unless it is asked for."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        name: What it is called.
        sizes: Entries of the states that are saved.
        large: Entries of the state whose memory, stalls and rehydration are measured.
        medium: Entries of a state that is saved in many forms.
        few: Entries of a state that slow peers save, too.
        objects: Objects of a `@persisted` class.
        held: Containers that the program also holds.
        writes: Reads and writes of a round: so few that they seldom have to share a processor.
        rounds: How many rounds of short jobs.
        long_rounds: How many rounds of jobs that take seconds.
        idle: Seconds for which an idle program is watched.
        topics: What is measured; empty: everything.
        brief: Whether only some kinds of changes are saved, by `flush()` alone.
    """

    name: str
    sizes: Sequence[int]
    large: int
    medium: int
    few: int
    objects: int
    held: int
    writes: int
    rounds: int
    long_rounds: int
    idle: float
    topics: Sequence[str] = ()
    brief: bool = False

    @property
    def recorded(self) -> bool:
        """Whether the page shows what was measured."""
        return self.name != "tiny"


TINY: Final = Plan(
    name="tiny",
    sizes=(300,),
    large=2_000,
    medium=300,
    few=0,
    objects=50,
    held=50,
    writes=1_000,
    rounds=1,
    long_rounds=1,
    idle=0.5,
)
USUAL: Final = Plan(
    name="usual",
    sizes=(10_000, 100_000, 1_000_000),
    large=1_000_000,
    medium=100_000,
    few=10_000,
    objects=10_000,
    held=20_000,
    writes=10_000,
    rounds=3,
    long_rounds=2,
    idle=10,
)
FULL: Final = replace(
    USUAL,
    name="full",
    sizes=(10_000_000,),
    large=10_000_000,
    objects=100_000,
    topics=("saving", "stalls", "collecting", "rehydration", "memory"),
    brief=True,
)
PLANS: Final = {plan.name: plan for plan in (TINY, USUAL, FULL)}


@dataclass(frozen=True, eq=False)
class Row:
    """One line of a table.

    Attributes:
        what: What was measured.
        figure: The figure that is judged.
        goal: The largest figure that meets the goal; None: there is no goal.
        unit: What the figure counts.
        peers: The same for others, by name.
        own: Further figures of autostate, by name, which are judged as well.
        rival: The peer that is to be no better.
        note: What else is worth knowing.
        group: The heading of the table in which it stands, if a topic has several.
        data: What plots are made of.
        spread: Within which the figures of the rounds lie, if there are several (`spread`).
        rounds: What each round took: of the yardstick, of autostate, and of peers.
        of: What the rounds count: seconds or bytes.
    """

    what: str
    figure: float
    goal: float | None
    unit: str = "×"
    peers: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)
    rival: str = ""
    note: str = ""
    group: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    spread: tuple[float, float] | None = None
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    of: str = "s"

    @property
    def title(self) -> str:
        """The row with the heading of its table."""
        return ", ".join(filter(None, (self.group, self.what)))

    @property
    def met(self) -> str:
        """Whether the goal is met, in a few words."""
        if self.goal is None:
            return ""
        worst = max(self.figure, *self.own.values()) if self.own else self.figure
        missed = ["missed"] if worst > self.goal else []
        if worst > self.peers.get(self.rival, worst):
            missed.append(f"behind {self.rival}")
        return ", ".join(missed) or "met"


def seconds(job: Job) -> float:
    """Run a job once, and give its time."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def specialised(job: Any) -> Job:
    """Give a function with bytecode of its own: the interpreter adapts it to the types it meets.

    In most programs a line of code meets containers of one type only.
    """
    return FunctionType(
        *(job.__code__.replace(), job.__globals__, job.__name__, job.__defaults__, job.__closure__)
    )


def rounds(jobs: Mapping[str, Job], count: int) -> dict[str, list[float]]:
    """Run all jobs in turn, so many times, and give the seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(count):
        gc.collect()
        for name in turn(jobs, number):
            times[name].append(seconds(jobs[name]))
    return times


def turn(names: Iterable[str], number: int) -> list[str]:
    """Give the names in the order of one round: every other round begins with the last."""
    return [*names][:: -1 if number % 2 else 1]


def ratios(times: Mapping[str, Sequence[float]], base: str) -> dict[str, list[float]]:
    """Give, for each round, each one's time in times of the base's."""
    return {
        name: [a / b for a, b in zip(taken, times[base], strict=True)]
        for name, taken in times.items()
        if name != base
    }


def medians(found: Mapping[str, Sequence[float]]) -> Figures:
    """Give the median of the rounds of each."""
    return {name: statistics.median(taken) for name, taken in found.items()}


def spread(found: Sequence[float], by: float = 1.0) -> tuple[float, float] | None:
    """Give the quartiles of many rounds, or the least and the most of few; nothing of one.

    Args:
        found: The figures of the rounds.
        by: What they are divided by.
    """
    if len(found) < 2:
        return None
    ends = min(found), max(found)
    if len(found) >= MANY:
        lower, _, upper = statistics.quantiles(found, n=4)
        ends = lower, upper
    return ends[0] / by, ends[1] / by


def in_process(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module in a process of its own, and give what it prints last."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def in_turn(
    modules: Mapping[str, Sequence[object]], count: int, figure: str
) -> dict[str, list[float]]:
    """Run modules with their arguments in alternating rounds; collect one figure of each."""
    found: dict[str, list[float]] = {name: [] for name in modules}
    for number in range(count):
        for name in turn(modules, number):
            module, *arguments = modules[name]
            found[name].append(in_process(str(module), *arguments)[figure])
    return found


class Session:
    """A worker process (`worker.py`) with one participant. A context manager."""

    def __init__(self, participant: str, shape: str) -> None:
        self._names = (participant, shape)
        self._folder = tempfile.TemporaryDirectory(prefix="autostate-bench-")

    def __enter__(self) -> Self:
        participant, shape = self._names
        command = [sys.executable, "-m", "benchmarks.worker", participant, self._folder.name, shape]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def ready(self) -> None:
        """Wait until it has started: several may start at the same time."""
        self._answer()

    def do(self, operation: str, number: int) -> Figures:
        """Let the participant apply and save changes, and give the seconds."""
        given = self._process.stdin
        assert given is not None
        given.write(f"{operation} {number}\n")
        given.flush()
        return self._answer()

    def _answer(self) -> Figures:
        told: IO[str] | None = self._process.stdout
        assert told is not None
        line = told.readline()
        if not line:
            raise RuntimeError(f"the worker of {self._names} ended: {self._process.wait()}")
        found: Figures = json.loads(line)
        return found

    def __exit__(self, *error: object) -> None:
        self._process.kill()  # what it would do at its end is of no interest
        self._process.communicate()
        self._folder.cleanup()


def shown(figure: float | None) -> str:
    """Give three digits of a figure."""
    if figure is None:
        return ""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"

"""What operations cost in counts, which are the same on every machine: nothing here is a time.

    python -m benchmarks.costs            prints the counts beside what is expected
    python -m benchmarks.costs --write    makes them what tests/test_costs.py expects

Counted are the calls of the library's Python functions in all threads, the entries and bytes that
are saved, and the calls of the store. How much is done at once must not depend on the time that it
takes, so the clock that the library asks for that stands still meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import autostate
from autostate.stores.memory import MemoryStore
from benchmarks import held
from benchmarks.entries import MEMBERS, OBJECTS, SHAPES, Shape, entries, url
from benchmarks.measure import CALM
from benchmarks.participants import made

INSIDE: Final = str(Path(autostate.__file__).parent) + os.sep
EXPECTED: Final = Path(__file__).parent / "costs.json"
SIZE: Final = 2_000
SHARE: Final = 10
"""The tenth part of the entries changes."""
OBJECT_SHARE: Final = 10
"""There are a tenth as many objects and containers that the program also holds."""
REPEATS: Final = 3
"""How often each operation is counted. The least counts: a thread may wake up in between."""
MARGIN: Final = 1.1
SLACK: Final = {"calls": 0.15, "entries": 0.05, "bytes": 2.0, "store": 1.0}
"""What a count may be more in any case: a few calls are those of a thread that wakes up."""


@dataclass(frozen=True)
class Counts:
    """What an operation cost.

    Attributes:
        calls: Calls of the library's Python functions, for each entry.
        entries: Entries that were saved, for each entry.
        bytes: Bytes that were saved, for each entry.
        store: Calls of the store in all.
    """

    calls: float
    entries: float
    bytes: float
    store: float


class Counted(MemoryStore):
    """A store in memory that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Count, and read."""
        self.calls += 1
        return super().read(key, timeout=timeout)

    def write(self, *arguments: Any, **options: Any) -> None:
        """Count, and write."""
        self.calls += 1
        super().write(*arguments, **options)

    def list(self, prefix: str, *, timeout: float | None = None) -> list[str]:
        """Count, and list."""
        self.calls += 1
        return super().list(prefix, timeout=timeout)

    def close(self) -> None:
        """Stay open, for the next manager."""


class Calls:
    """Counts calls of the library's functions, in this thread and all that begin meanwhile."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._clock = time.perf_counter
        time.perf_counter = lambda: 0.0
        threading.setprofile(self._seen)
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        time.perf_counter = self._clock

    def _seen(self, frame: FrameType, event: str, _: object) -> None:
        # Python 3.11 calls comprehensions, too; later ones do not.
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(INSIDE) and code.co_name not in INLINED:
            self.count += 1


INLINED: Final = {"<listcomp>", "<setcomp>", "<dictcomp>"}


class Counter:
    """Counts operations on the state objects of one store."""

    def __init__(self, calls: Calls, size: int) -> None:
        self.size = size
        self.rng = random.Random(8)
        self.found: dict[str, Counts] = {}
        self.store = Counted()
        self._calls = calls

    def count(self, what: str, entries: int, operation: Callable[[], object]) -> None:
        """Count an operation and the save after it; keep the least of each count."""
        before = self._now()
        operation()
        autostate.flush()
        after = self._now()
        calls, saved, size, store = (b - a for a, b in zip(before, after, strict=True))
        counts = Counts(calls / entries, saved / entries, size / entries, store)
        known = asdict(self.found.get(what, counts))
        least = {name: min(each, known[name]) for name, each in asdict(counts).items()}
        self.found[what] = Counts(**least)

    def _now(self) -> tuple[int, int, int, int]:
        done = autostate.statistics()
        return self._calls.count, done.entries, done.bytes, self.store.calls


def counted(size: int = SIZE) -> dict[str, Counts]:
    """Count all operations.

    Args:
        size: Entries of the states.
    """
    found: dict[str, Counts] = {}
    for shape in SHAPES.values():
        few = size // OBJECT_SHARE if shape is OBJECTS else size
        found |= _counts(few, _shape, shape)
    for kind in held.KINDS:
        found |= _counts(size // OBJECT_SHARE, _held, kind)
    return found | _counts(size, _rehydrated)


def _counts(size: int, count: Callable[..., None], *arguments: object) -> dict[str, Counts]:
    with Calls() as calls:
        counter = Counter(calls, size)
        count(counter, *arguments)
    return counter.found


def _shape(counter: Counter, shape: Shape) -> None:
    """Fill a state, and change a part of it in each way."""
    size, some, what = counter.size, counter.size // SHARE, shape.what
    urls = [url(number) for number in range(size + some)]
    urls, more = urls[:size], urls[size:]
    with autostate.open(counter.store, **CALM):
        state, loops = made(shape)
        counter.count(
            f"{what}, first save", size, partial(_fill, loops, state, _values(shape, urls))
        )
        for turn in range(REPEATS):
            chosen, status = counter.rng.sample(urls, some), 300 + turn
            counter.count(f"{what}, nothing changed", size, _nothing)
            if shape is not MEMBERS:
                alter = partial(loops.alter, state, chosen, status)
                counter.count(f"{what}, changed inside", some, alter)
            if shape is not OBJECTS:
                add = partial(loops.assign, state, _values(shape, more))
                counter.count(f"{what}, added", some, add)
                counter.count(f"{what}, removed", some, partial(loops.remove, state, more))
            if shape not in {MEMBERS, OBJECTS}:
                replace = partial(loops.assign, state, _values(shape, chosen, status))
                counter.count(f"{what}, replaced", some, replace)


def _values(shape: Shape, urls: Sequence[str], status: int = 200) -> dict[str, Any]:
    return {each: shape.make(number, status) for number, each in enumerate(urls)}


def _fill(loops: Shape, state: Any, values: dict[str, Any]) -> None:
    loops.fill(state, values)
    values.clear()  # nobody else holds them


def _nothing() -> None:
    """Change nothing."""


def _held(counter: Counter, kind: str) -> None:
    """Save containers that are held here, too; then change one."""
    make, change = held.KINDS[kind]
    kept, what = [make(number) for number in range(counter.size)], f"{kind} that the program holds"
    with autostate.open(counter.store, **CALM):
        state = autostate.PersistedDict[int, Any]("shops")
        fill = partial(state.update, enumerate(kept))
        counter.count(f"{what}, first save", counter.size, fill)
        for turn in range(REPEATS):
            counter.count(f"{what}, nothing changed", counter.size, _nothing)
            one = partial(change, kept[turn], turn + 1)
            counter.count(f"{what}, one changed", counter.size, one)


def _rehydrated(counter: Counter) -> None:
    """Rehydrate a dict of dicts."""
    with autostate.open(counter.store, **CALM):
        autostate.PersistedDict("pages", entries(counter.size))
    for _ in range(REPEATS):
        with autostate.open(counter.store, **CALM):
            counter.count("dict of dicts, rehydrated", counter.size, _create)


def _create() -> None:
    autostate.PersistedDict("pages")


def grown(found: Mapping[str, Counts]) -> list[str]:
    """Compare counts with those expected; give a line for each that has grown."""
    expected: dict[str, dict[str, float]] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    lines = [f"{what}: is not counted any more" for what in expected if what not in found]
    for what, counts in found.items():
        known = expected.get(what)
        if known is None:
            lines.append(f"{what}: nothing is expected yet")
            continue
        for name, count in asdict(counts).items():
            if count > known[name] * MARGIN + SLACK[name]:
                each = "" if name == "store" else " for each entry"
                lines.append(f"{what}: {name} grew from {known[name]:g} to {count:g}{each}")
    return lines


def main() -> None:
    """Print the counts; with `--write`, expect them from now on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--size", type=int, default=SIZE)
    options = parser.parse_args()
    found = counted(options.size)
    for what, counts in found.items():
        print(f"{what:60} " + "  ".join(f"{each:10,.3f}" for each in asdict(counts).values()))
    if options.write:
        rounded = {
            what: {name: round(each, 3) for name, each in asdict(counts).items()}
            for what, counts in found.items()
        }
        EXPECTED.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    else:
        print("\n".join(grown(found)) or "nothing has grown")


if __name__ == "__main__":
    main()

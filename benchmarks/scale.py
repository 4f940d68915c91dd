"""What a flush costs against the size of the state, and against the share of it that changed.

make scale                              ten thousand to a million entries: some minutes
make scale ARGS="--size 10000 --state list"

A flush is taken apart here: *prepare* looks in slices at what was written, on the flush thread's
thread; *cut* is what the event loop waits for; *encode* is done in slices again; *write* makes it
durable in SQLite. Beside them stand the bytes and entries that were saved, and how long msgspec
takes to encode the whole state once, in the same process.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

import autostate
from benchmarks.measure import CALM, seconds
from benchmarks.shapes import SHAPES, Shape

SIZES = (10_000, 100_000, 1_000_000)
SHARES = (0.0, 0.001, 0.01, 0.1, 1.0)
"""Shares of the entries that change before a flush; 0 stands for a single entry."""
ROUNDS = 3


@dataclass(frozen=True)
class Flush:
    """One flush.

    Attributes:
        state: What was saved.
        size: Entries of the state.
        changed: What changed since the flush before, in words or as a number.
        prepare: Seconds that it took to look at what was written.
        cut: Seconds for which it held up everybody.
        encode: Seconds that it took to encode what had changed.
        write: Seconds that it took to make it durable.
        full: Seconds that msgspec takes to encode the whole state.
        entries: Entries that were encoded.
        bytes: Bytes that were written.
    """

    state: str
    size: int
    changed: str
    prepare: float
    cut: float
    encode: float
    write: float
    full: float
    entries: int
    bytes: int

    @property
    def total(self) -> float:
        """Seconds of the whole flush."""
        return self.prepare + self.cut + self.encode + self.write


def flushes(
    shape: type[Shape],
    size: int,
    folder: Path,
    *,
    shares: Iterable[float] = SHARES,
    rounds: int = ROUNDS,
) -> Iterator[Flush]:
    """Save a state of some size, then what changes of it.

    Args:
        shape: The state.
        size: Its entries.
        folder: Where files may be left.
        shares: Shares of the entries that change.
        rounds: How often each is done; the flush in the middle is given.
    """
    url = f"sqlite:///{folder / f'{shape.__name__}-{size}.db'}"
    with autostate.open(url, **CALM) as manager:
        state = shape(size)
        full = statistics.median(
            seconds(lambda: msgspec.json.encode(state.content())) for _ in range(ROUNDS)
        )
        yield flush(manager, state, "first save", full)
        for share in shares:
            number = max(1, int(size * share))
            found = []
            for _ in range(1 if share == 1 else rounds):
                state.change(number)
                found.append(flush(manager, state, "all" if share == 1 else f"{number:,}", full))
            yield sorted(found, key=lambda one: one.total)[len(found) // 2]
        yield flush(manager, state, "nothing, compared", full, full_compare=True)


def flush(
    manager: autostate.StateManager,
    state: Shape,
    changed: str,
    full: float = 0.0,
    *,
    full_compare: bool = False,
) -> Flush:
    """Do what the flush thread does, step by step.

    Args:
        manager: The manager of the state.
        state: The state.
        changed: What changed since the last flush.
        full: Seconds of a full encode.
        full_compare: Compare also what could have been changed unseen, as an explicit `flush()`
        does.
    """
    incarnation = manager._incarnation
    assert incarnation is not None
    tracker, journal = incarnation.tracker, incarnation._journal
    gc.collect()
    with incarnation.flush_thread.exclusive():
        times = [time.perf_counter()]
        tracker.prepare(lambda: None, full_compare=full_compare)
        times.append(time.perf_counter())
        capture = tracker.cut(full_compare=full_compare)
        assert capture is not None
        times.append(time.perf_counter())
        changes = capture.encode()
        times.append(time.perf_counter())
        info = journal.commit(changes)
        capture.saved()
        times.append(time.perf_counter())
    if capture.errors:
        raise capture.errors[0]
    prepare, cut, encode, write = (b - a for a, b in itertools.pairwise(times))
    return Flush(
        state=state.what,
        size=state.size,
        changed=changed,
        prepare=prepare,
        cut=cut,
        encode=encode,
        write=write,
        full=full,
        entries=capture.entries,
        bytes=info.bytes,
    )


COLUMNS = (
    *("state", "entries", "changed"),
    *("total", "prepare", "cut", "encode", "write"),
    *("encoded", "bytes", "all encoded once, ms", "× that"),
)


def show(found: Sequence[Flush]) -> None:
    """Print the table."""
    table = Table(title="Flushes: milliseconds, entries and bytes")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"state", "changed"} else "right")
    for one in found:
        spent = (one.total, one.prepare, one.cut, one.encode, one.write)
        times = [f"{value * 1000:,.2f}" for value in spent]
        counts = [f"{one.entries:,}", f"{one.bytes:,}"]
        ratio = [f"{one.full * 1000:,.2f}", f"{one.total / one.full:.3g}"]
        table.add_row(one.state, f"{one.size:,}", one.changed, *times, *counts, *ratio)
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make scale", description=__doc__)
    parser.add_argument("--size", type=int, action="append", help="entries; may be repeated")
    parser.add_argument("--state", default="", help="only states with this in their names")
    options = parser.parse_args()
    shapes = [shape for shape in SHAPES if options.state in shape.what]
    found = []
    with tempfile.TemporaryDirectory(prefix="autostate-scale-") as folder:
        for size in options.size or SIZES:
            for shape in shapes:
                for one in flushes(shape, size, Path(folder)):
                    print(f"{one.state} {size:,} {one.changed}: {one.total * 1e3:,.1f} ms")
                    found.append(one)
    show(found)


if __name__ == "__main__":
    main()

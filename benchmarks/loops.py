"""What a resumable loop costs for each item, while saving goes on as usual.

By hand: the number of the item is written to a PersistedDict.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.measure import Job, Plan, Row, medians, rounds, spread

TITLE: Final = "Resumable loops"


def rows(plan: Plan) -> Iterator[Row]:
    """Measure loops with empty bodies over a list, a generator and a file."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _rows(Path(folder), plan.medium, plan.long_rounds)


def _rows(folder: Path, size: int, count: int) -> Iterator[Row]:
    path = folder / "lines.txt"
    path.write_text("".join(f"line {number}\n" for number in range(size)))
    numbers = list(range(size))
    with autostate.open(f"sqlite:///{folder / 'loops.db'}"), path.open() as file:

        def lines() -> Iterable[str]:
            file.seek(0)
            return file

        yield _row("list", lambda: numbers, size, count)
        yield _row("generator", lambda: (number for number in numbers), size, count)
        yield _row("file", lines, size, count)


def _row(kind: str, make: Callable[[], Iterable[Any]], size: int, count: int) -> Row:
    jobs = {"own": _resumed(kind, make), "plain loop": _plain(make), "by hand": _by_hand(make)}
    found = {
        name: [each / size * 1e6 for each in times] for name, times in rounds(jobs, count).items()
    }
    own = found.pop("own")
    return Row(
        f"an item of a {kind}",
        statistics.median(own),
        None,
        unit="µs",
        peers=medians(found),
        spread=spread(own),
    )


def _resumed(kind: str, make: Callable[[], Iterable[Any]]) -> Job:
    def job() -> None:
        for _ in autostate.resume(kind, make(), restart=True, progress=False):
            pass

    return job


def _plain(make: Callable[[], Iterable[Any]]) -> Job:
    def job() -> None:
        for _ in make():
            pass

    return job


def _by_hand(make: Callable[[], Iterable[Any]]) -> Job:
    position = autostate.PersistedDict("by hand", done=0)

    def job() -> None:
        position["done"] = 0
        for _ in make():
            position["done"] += 1

    return job

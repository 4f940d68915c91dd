"""A full garbage collection over a large state, in times of one over the same plain values.

    python -m benchmarks.collecting plain|saved SHAPE SIZE ROUNDS

Each figure is of a process of its own, in which nothing is garbage: one collection comes before.
What counts is processor time of the thread that collects.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.entries import SHAPES, url
from benchmarks.measure import CALM, Plan, Row, in_turn, spread
from benchmarks.participants import made

TITLE: Final = "Garbage collection"
GOAL: Final = 1.3
COLLECTIONS: Final = 5
"""In each process; the median counts."""


def rows(plan: Plan) -> Iterator[Row]:
    """Measure a large dict of dicts, and smaller states of other shapes."""
    yield _row(plan, "dicts", plan.large)
    if not plan.brief:
        yield _row(plan, "lists", plan.medium)
    yield _row(plan, "objects", plan.objects)


def _row(plan: Plan, shape: str, size: int) -> Row:
    modules = {kind: ("collecting", kind, shape, size) for kind in ("plain", "saved")}
    found = in_turn(modules, plan.long_rounds, "seconds")
    plain = statistics.median(found["plain"])
    return Row(
        f"full collection, {size:,}: {SHAPES[shape].what}",
        statistics.median(found["saved"]) / plain,
        GOAL,
        spread=spread(found["saved"], plain),
        rounds={"plain values": found["plain"], "autostate": found["saved"]},
    )


def main(kind: str, name: str, size: int) -> dict[str, float]:
    """Make a state, collect a few times, and give the median of the seconds."""
    shape = SHAPES[name]
    with (
        tempfile.TemporaryDirectory() as folder,
        autostate.open(Path(folder, "collected.db"), **CALM),
    ):
        state: Any = shape.empty()
        if kind == "saved":
            state, shape = made(shape)
        # No defaults: their names are kept beside the content.
        shape.fill(state, {url(number): shape.make(number, 200) for number in range(size)})
        autostate.flush()
        gc.collect()
        times = [_collected() for _ in range(COLLECTIONS)]
        assert len(state) == size
    return {"seconds": statistics.median(times)}


def _collected() -> float:
    began = time.thread_time()
    gc.collect()
    return time.thread_time() - began


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))

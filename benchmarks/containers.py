"""Saving other containers, of two sizes: what a change costs should not depend on the size.

What is measured is a save by `flush()` of a thousand changes, in microseconds for each. A note says
how many entries and bytes were written.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import autostate
from benchmarks.measure import CALM, Plan, Row, seconds, spread
from benchmarks.memory import wait_until_idle
from benchmarks.shapes import SHAPES, NestedDicts, Shape

TITLE: Final = "Other containers"
MANY: Final = 1_000


def rows(plan: Plan) -> Iterator[Row]:
    """Measure each shape."""
    for shape in SHAPES:
        if shape is NestedDicts:  # see `saving.py`
            continue
        for size in (plan.medium // 10, plan.medium):
            with tempfile.TemporaryDirectory() as folder:
                yield from _rows(shape, size, Path(folder), plan.rounds)


def _rows(shape: type[Shape], size: int, folder: Path, count: int) -> Iterator[Row]:
    with autostate.open(folder / "state.db", **CALM) as manager:
        state = shape(size)
        autostate.flush()
        number, times, before = min(MANY, size), [], manager.statistics()
        for _ in range(count):
            wait_until_idle()
            times.append(seconds(partial(_change, state, number)))
        now = manager.statistics()
    what = f"{state.what}: {number:,} of {size:,}"
    written = (now.entries - before.entries) / count, (now.bytes - before.bytes) / count
    note = "{:,.0f} entries, {:,.0f} bytes".format(*written)
    each = [taken / number * 1e6 for taken in times]
    yield Row(what, statistics.median(each), None, "µs", note=note, spread=spread(each))


def _change(state: Shape, number: int) -> None:
    state.change(number)
    autostate.flush()

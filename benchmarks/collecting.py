"""A full garbage collection over a large state, in times of one over plain dicts.

python -m benchmarks.collecting plain|saved SIZE ROUNDS
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.entries import entries
from benchmarks.measure import CALM, Plan, Row, in_turn, seconds

TITLE: Final = "Garbage collection"
GOAL: Final = 1.3


def rows(plan: Plan) -> Iterator[Row]:
    """Measure in processes of their own."""
    size, count = plan.large, plan.long_rounds
    modules = {kind: ("collecting", kind, size, count) for kind in ("plain", "saved")}
    found = in_turn(modules, count, "seconds")
    plain, saved = (statistics.median(found[kind]) for kind in modules)
    note = f"{saved * 1e3:.0f} ms, over plain dicts {plain * 1e3:.0f} ms"
    yield Row(f"full collection over a dict of {size:,} dicts", saved / plain, GOAL, note=note)


def main(kind: str, size: int, count: int) -> dict[str, float]:
    """Collect a few times, and give the median of the seconds."""
    if kind == "plain":
        kept = dict(entries(size))
        times = [seconds(gc.collect) for _ in range(count)]
        assert len(kept) == size
        return {"seconds": statistics.median(times)}
    with (
        tempfile.TemporaryDirectory() as folder,
        autostate.open(Path(folder, "collected.db"), **CALM),
    ):
        pages = autostate.PersistedDict[str, Any]("pages")
        pages.update(entries(size))  # no defaults, whose names are kept beside the content
        autostate.flush()
        times = [seconds(gc.collect) for _ in range(count)]
        assert len(pages) == size
    return {"seconds": statistics.median(times)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))

"""How long it takes to begin: the import, and the state of a small program.

    python -m benchmarks.starting FOLDER

The import is measured in fresh processes, in times of `import apify`. The small state has three
keys: what counts is the time from the import to the state object that can be used.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.measure import Plan, Row, in_turn, spread, turn

TITLE: Final = "Starting"
IMPORT: Final = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def rows(plan: Plan) -> Iterator[Row]:
    """Measure import and start."""
    times: dict[str, list[float]] = {"autostate": [], "apify": []}
    for number in range(plan.rounds):
        for name in turn(times, number):
            command = [sys.executable, "-c", IMPORT.format(name)]
            times[name].append(float(subprocess.check_output(command)))
    own, apify = (statistics.median(times[name]) for name in times)
    yield Row(
        "import autostate",
        own / apify,
        0.1,
        "× import apify",
        spread=spread(times["autostate"], apify),
        rounds={"import apify": times["apify"], "autostate": times["autostate"]},
    )
    with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
        modules = {"first": ("starting", folder)}
        first = in_turn(modules, 1, "seconds")["first"]
        resumed = in_turn(modules, plan.rounds, "seconds")["first"]
    for what, goal, taken in (("first start", None, first), ("resumed", 20, resumed)):
        found = [each * 1e3 for each in taken]
        figure = statistics.median(found)
        yield Row(f"three keys, {what}", figure, goal, "ms", spread=spread(found))


def main(folder: str) -> dict[str, float]:
    """Create a small state object, or resume it, and give the seconds."""
    import autostate

    began = time.perf_counter()
    autostate.configure(Path(folder, "small.db"))
    state = autostate.PersistedDict("progress", page=1, errors=0, seen=[])
    found = {"seconds": time.perf_counter() - began}
    assert len(state) == 3
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))

"""The memory of a large state, in times of a plain dict with the same content.

    python -m benchmarks.memory SIZE                      a plain dict
    python -m benchmarks.memory SIZE FOLDER save          a persisted one: made, saved, saved again
    python -m benchmarks.memory SIZE FOLDER rehydrate     the same in its next life

Each figure is of a process of its own, and is what the process has more than before it made the
state. So what the library itself takes is not in it.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.entries import CHANGED, entries
from benchmarks.measure import CALM, Plan, Row, in_process

TITLE: Final = "Memory"
GOALS: Final = {
    "state": ("before anything was saved", 1.3),
    "saved": ("after the first save", 1.3),
    "peak": ("the most, during the first save", 1.5),
    "flushes": ("after saves of 1 %, and a compaction", 1.3),
    "rehydrated": ("after rehydration", 1.3),
}
SAVES: Final = 70
"""Saves of a little: more than the commits that a journal keeps."""


def rows(plan: Plan) -> Iterator[Row]:
    """Measure at several moments."""
    size = plan.large
    plain = in_process("memory", size)["state"]
    with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
        found = in_process("memory", size, folder, "save")
        found |= in_process("memory", size, folder, "rehydrate")
    for moment, (what, goal) in GOALS.items():
        yield Row(
            f"dict of {size:,} dicts, {what}",
            found[moment] / plain,
            goal,
            rounds={"plain dict": [plain], "autostate": [found[moment]]},
            of="B",
        )


def resident() -> int:
    """Give the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Give the most bytes of this process that were ever in memory."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


def plain(size: int) -> dict[str, int]:
    """Make a plain dict."""
    before = resident()
    kept = dict(entries(size))
    return {"state": resident() - before, "entries": len(kept)}


def saved(size: int, folder: str) -> dict[str, int]:
    """Make a persisted dict, and save it: all at first, then a little many times."""
    import autostate

    with autostate.open(Path(folder, "state.db"), **CALM):
        pages, rng = autostate.PersistedDict[str, Any]("pages"), random.Random(5)
        gc.collect()
        before = resident()
        pages.update(entries(size))
        found = {"state": resident() - before}
        autostate.flush()
        found |= {"saved": resident() - before, "peak": peak() - before}
        urls = list(pages)
        for _ in range(SAVES):
            for one in rng.sample(urls, max(1, int(size * CHANGED))):
                pages[one]["depth"] += 1
            autostate.flush()
        wait_until_idle()
        del urls
        return found | {"flushes": resident() - before}


def rehydrated(size: int, folder: str) -> dict[str, int]:
    """Rehydrate a persisted dict."""
    import autostate

    with autostate.open(Path(folder, "state.db"), **CALM):
        before = resident()
        pages = autostate.PersistedDict[str, Any]("pages")
        assert len(pages) == size
        return {"rehydrated": resident() - before}


def wait_until_idle(calm: float = 0.02, patience: int = 1000) -> None:
    """Wait until this process has nothing to do, such as a compaction.

    Args:
        calm: Seconds of which it has to be idle for nearly all.
        patience: How often that is looked at.
    """
    for _ in range(patience):
        before = time.process_time()
        time.sleep(calm)
        if time.process_time() - before < calm / 10:
            return


def main(size: int, folder: str = "", what: str = "") -> dict[str, int]:
    """Measure, in bytes."""
    if not folder:
        return plain(size)
    return saved(size, folder) if what == "save" else rehydrated(size, folder)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), *sys.argv[2:])))

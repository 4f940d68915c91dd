"""How much memory a dict takes, plain or persisted, in a process of its own.

python -m benchmarks.memory SIZE                  a plain dict
python -m benchmarks.memory SIZE URL save         a persisted one: made, saved, saved again
python -m benchmarks.memory SIZE URL rehydrate    the same in its next life
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.entries import CHANGED, entries

SAVES = 70
"""Saves of a little: more than the commits that a journal keeps."""


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
    return {"objects": resident() - before, "entries": len(kept)}


def saved(size: int, url: str) -> dict[str, int]:
    """Make a persisted dict, and save it: all at first, then a little many times."""
    import autostate

    with autostate.open(url, debounce=3600.0, max_delay=3600.0, max_dirty_bytes=1 << 40) as manager:
        pages, rng = autostate.PersistedDict[str, Any]("pages"), random.Random(5)
        gc.collect()
        before = resident()
        pages.update(entries(size))
        found = {"objects": resident() - before}
        autostate.flush(timeout=300)
        found |= {"saved": resident() - before, "peak": peak() - before}
        urls = list(pages)
        for _ in range(SAVES):
            for one in rng.sample(urls, max(1, int(size * CHANGED))):
                pages[one]["depth"] += 1
            autostate.flush(timeout=300)
        _wait_for_compaction(manager)
        del urls
        return found | {"flushes": resident() - before}


def _wait_for_compaction(manager: Any) -> None:
    """Wait until the flush thread has compacted the journal, if that is due."""
    looked = threading.Event()
    while manager._incarnation._journal.needs_compaction:
        looked.wait(0.1)
    with manager.exclusive():  # it has come to its end
        pass


def rehydrated(size: int, url: str) -> dict[str, int]:
    """Rehydrate a persisted dict."""
    import autostate

    with autostate.open(url):
        before = resident()
        pages = autostate.PersistedDict[str, Any]("pages")
        assert len(pages) == size
        return {"rehydrated": resident() - before}


def main(size: int, url: str = "", what: str = "") -> dict[str, int]:
    """Measure, in bytes."""
    if not url:
        return plain(size)
    return saved(size, url) if what == "save" else rehydrated(size, url)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), *sys.argv[2:])))

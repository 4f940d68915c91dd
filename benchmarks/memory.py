"""How much memory a dict takes, plain or persisted, in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.entries import entries


def resident() -> int:
    """Give the bytes of this process that are in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(size: int, url: str | None) -> dict[str, float]:
    """Make the dict, save it if it is a persisted one, and give the bytes that it takes."""
    import autostate

    before = resident()
    if url is None:
        kept: Any = dict(entries(size))
    else:
        autostate.configure(url)
        kept = autostate.PersistedDict("pages")
        kept.update(entries(size))
        autostate.flush(timeout=300)
    return {"bytes": resident() - before, "entries": len(kept)}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)))

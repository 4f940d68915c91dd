"""Runs the Actor as the demo's supervisor wants it: with a word about every save.

    python -m examples.crawl.watched          run main.py
    python -m examples.crawl.watched FILE     write to FILE what the store holds, as plain builtins

The Actor itself knows nothing of this.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import autostate
from autostate.settings import Settings, default_url

KINDS: dict[str, type] = {
    "pages": autostate.PersistedDict,
    "links": autostate.PersistedDict,
    "words": autostate.PersistedCounter,
    "errors": autostate.PersistedDict,
    "timings": autostate.PersistedList,
    "cookies": autostate.PersistedDict,
    "settings": autostate.PersistedDict,
    "queue": autostate.PersistedSet,
}


def watch() -> None:
    """Print a line for every save; where a minute matters, save by the demo's shorter one."""
    url = default_url()
    if url.startswith("apify:"):
        usual, minutes = Settings.for_store(url), float(os.environ["CRAWL_MINUTE"]) / 60
        autostate.configure(debounce=usual.debounce * minutes, max_delay=usual.max_delay * minutes)
    autostate.hub.flushed.connect(report)


def report(sender: object, **flushed: Any) -> None:
    """Print what was written, in one call, as the Actor's log is written at the same time."""
    line = json.dumps({name: flushed[name] for name in ("writes", "bytes")})
    os.write(sys.stdout.fileno(), f"@{line}\n".encode())


def dump(path: Path) -> None:
    """Write the durable state, which pickles as plain builtins."""
    state = {name: kind(name) for name, kind in KINDS.items()}
    path.write_bytes(pickle.dumps(state))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        dump(Path(sys.argv[1]))
    else:
        watch()
        from examples.crawl.main import main

        asyncio.run(main())

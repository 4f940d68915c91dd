"""Two programs that share state, of which one keeps a state of its own in the same store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import autostate
from autostate import SharedCounter, SharedDict, SharedSet
from tests import programs

ROUNDS: Final = 40
PROGRAM: Final = """
import sys
import autostate
from autostate import PersistedDict, SharedCounter, SharedDict, SharedSet

shared, own, name, rounds = sys.argv[1:]
autostate.configure(own, shared=shared)
progress = PersistedDict("progress", page=0)
hits, seen = SharedCounter("hits"), SharedSet("seen")
best = SharedDict("best", merge={"price": min})
for page in range(int(rounds)):
    with autostate.atomic():
        progress["page"] += 1
        hits["pages"] += 1
    hits.update({"bytes": 10})
    seen.add(f"{name} {page}")
    seen.discard(f"{name} {page - 1}")
    best["price"], best["last"] = 100 - page, [name, page]
    if page % 10 == 9:
        autostate.flush()
"""


def hits_now() -> SharedCounter[str]:
    """Give the counter "hits" as the store has it now."""
    made = SharedCounter[str]("hits")
    made.refresh()
    return made


def share(url: str) -> None:
    """Let both programs run at once, and count what they have shared."""
    programs.run("import autostate")  # the server of programs begins with its first one
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(programs.run_python, "-c", PROGRAM, url, own, name, str(ROUNDS))
            for name, own in (("one", url), ("two", "memory:"))
        ]
    for run in runs:
        assert (run.result().returncode, run.result().stderr) == (0, "")
    autostate.configure("memory:", shared=url)
    assert SharedCounter[str]("hits") == {"pages": 2 * ROUNDS, "bytes": 20 * ROUNDS}
    assert SharedSet[str]("seen") == {f"one {ROUNDS - 1}", f"two {ROUNDS - 1}"}
    best = SharedDict[str, object]("best", merge={"price": min})
    assert best["price"] == 101 - ROUNDS
    assert best["last"] in (["one", ROUNDS - 1], ["two", ROUNDS - 1])
    with autostate.open(url, readonly=True):
        assert autostate.PersistedDict("progress") == {"page": ROUNDS}

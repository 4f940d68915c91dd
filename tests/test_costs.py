"""What operations cost in counts does not grow: calls, entries, bytes, calls of the store.

`make costs` counts a larger state, against the same expectations: they are for each entry.
`python -m benchmarks.costs --write` makes what is counted now the expectations of later runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import costs
from benchmarks.costs import Counts

ROOT = Path(__file__).parent.parent
SIZE = os.environ.get("COSTS") or str(costs.SIZE)


def test_no_operation_costs_more_than_it_did() -> None:
    """Counted in a process of its own, whose threads are all counted, and which nothing traces."""
    command = [sys.executable, "-m", "benchmarks.costs", "--size", SIZE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "nothing has grown", done.stdout


def test_a_count_that_has_grown_is_named(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it was, and what it is."""
    monkeypatch.setattr(costs, "EXPECTED", isolated / "costs.json")
    known = {"calls": 4.0, "entries": 1.0, "bytes": 100.0, "store": 2.0}
    costs.EXPECTED.write_text(json.dumps({"a save": known, "another": known}))
    assert costs.grown({"a save": Counts(4.1, 1, 101, 3), "another": Counts(0, 0, 0, 0)}) == []
    assert costs.grown({"a save": Counts(5.5, 1, 150, 2), "new": Counts(1, 1, 1, 1)}) == [
        "another: is not counted any more",
        "a save: calls grew from 4 to 5.5 for each entry",
        "a save: bytes grew from 100 to 150 for each entry",
        "new: nothing is expected yet",
    ]

"""`make bench` works; what it finds is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = [
    "write, small dict",
    "read, small dict",
    "save 1 %",
    "stall",
    "rehydrate",
    "import",
    "memory",
]


def test_quick_benchmark_measures_every_row() -> None:
    """The benchmark runs on small sizes and prints a table with all figures."""
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("autostate on Python") :]
    assert [row for row in ROWS if row not in table] == []

"""`make bench` and `make scale` work. How long something took is not judged here; counts are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale import flushes
from benchmarks.shapes import SHAPES, Shape

ROOT = Path(__file__).parent.parent
ROWS = [
    "write, small dict",
    "read, small dict",
    "attribute write, Crawl",
    "attribute read, SlottedCrawl",
    "a look at an object",
    "an item of a resumable loop",
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


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_flush_of_one_entry_costs_the_same_for_any_size(
    shape: type[Shape], isolated: Path
) -> None:
    """One changed entry: as many bytes, and as many entries looked at, ten times as large."""
    small, large = (
        {one.changed: one for one in flushes(shape, size, isolated, shares=(0.0,), rounds=1)}
        for size in (400, 4_000)
    )
    assert small["first save"].bytes * 5 < large["first save"].bytes
    # The numbers of entries have a digit more; and 1,000 bytes are less than ten entries.
    assert large["1"].bytes <= small["1"].bytes + 100 < 1_000
    assert large["1"].entries <= small["1"].entries <= 64
    assert large["nothing, compared"].bytes == 0


def test_the_scale_is_printed(isolated: Path) -> None:
    """The command prints both tables for the sizes that it is given."""
    command = [sys.executable, "-m", "benchmarks.scale", "--size", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [shape.what for shape in SHAPES if shape.what not in done.stdout] == []
    assert "Memory of a dict of dicts" in done.stdout

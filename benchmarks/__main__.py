"""Figures beside their goals.

make bench                    all, a million entries: some minutes
make bench ARGS=--quick       small sizes, to see that it works; the figures mean little
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import access, loops, objects, saving, starting
from benchmarks.measure import Row


def rows(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Measure everything."""
    size, large, count = (5_000, 2_000, 1) if quick else (1_000_000, 100_000, 7)
    yield from access.rows(folder, large=large, count=1 if quick else 31)
    yield from objects.rows(folder, size=500 if quick else 2_000, count=count)
    yield from loops.rows(folder, size=size // 4, count=count)
    yield from saving.rows(folder, size=size, count=count)
    yield from starting.rows(folder, size=size, count=count)


def show(found: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(title=f"autostate on Python {platform.python_version()}")
    for column in ("what", "goal", "figure", "", "peers", "note"):
        table.add_column(column)
    for row in found:
        peers = ", ".join(f"{name} {figure:.3g}" for name, figure in row.peers.items())
        goal = "" if row.goal is None else f"≤ {row.goal:g}"
        figure = f"{row.figure:.3g} {row.unit}"
        table.add_row(escape(row.what), goal, figure, row.met, peers, row.note)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
        found = []
        for row in rows(Path(folder), quick=options.quick):
            print(f"{row.what}: {row.figure:.3g} {row.unit}", flush=True)
            found.append(row)
    show(found)


if __name__ == "__main__":
    main()

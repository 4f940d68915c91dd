"""Figures beside their goals: `make bench` and `make bench-full`.

make bench                                  everything; writes docs/performance.md
make bench-full                             the same, up to ten million entries, in more rounds
make bench ARGS="--only rehydration"        one topic: prints its rows, and writes nothing
make bench ARGS="--plan tiny"               small sizes, to see that it works; writes nothing
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import (
    access,
    collecting,
    containers,
    document,
    held,
    idle,
    loops,
    memory,
    objects,
    rehydration,
    saving,
    stalls,
    starting,
)
from benchmarks.document import Topic
from benchmarks.machine import observed
from benchmarks.measure import PLANS, Row, shown

TOPICS: Final[dict[str, ModuleType]] = {
    "saving": saving,
    "containers": containers,
    "held": held,
    "access": access,
    "objects": objects,
    "loops": loops,
    "stalls": stalls,
    "collecting": collecting,
    "rehydration": rehydration,
    "starting": starting,
    "memory": memory,
    "idle": idle,
}


def show(rows: Sequence[Row]) -> None:
    """Print a table."""
    table = Table(title=f"autostate on Python {platform.python_version()}")
    for column in ("what", "goal", "figure", "", "peers", "note"):
        table.add_column(column)
    for row in rows:
        others = {**row.own, **row.peers}
        peers = ", ".join(f"{name} {shown(figure)}" for name, figure in others.items())
        goal = "" if row.goal is None else f"≤ {row.goal:g}"
        what = ", ".join(filter(None, (row.group, row.what)))
        figure = f"{shown(row.figure)} {row.unit}"
        table.add_row(escape(what), goal, figure, row.met, peers, row.note)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main() -> None:
    """Measure, print, and write the page if all was measured."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--plan", choices=PLANS, default="usual", help="how much is measured")
    parser.add_argument("--only", action="append", choices=TOPICS, help="a topic; may be repeated")
    options = parser.parse_args()
    plan, topics = PLANS[options.plan], list[Topic]()
    for name in options.only or TOPICS:
        found = []
        with observed() as load:
            for row in TOPICS[name].rows(plan):
                what = ", ".join(filter(None, (row.group, row.what)))
                print(f"{name}: {what}: {shown(row.figure)} {row.unit} {row.met}", flush=True)
                found.append(row)
        topics.append((TOPICS[name], found, load))
    show([row for _, rows, _ in topics for row in rows])
    for module, _, load in topics:
        print(f"{module.TITLE}: {load}")
    if not options.only and plan.name != "tiny":
        document.written(plan, topics)
        print(f"written: {document.PAGE}")


if __name__ == "__main__":
    main()

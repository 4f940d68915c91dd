"""Figures beside their goals: `make bench` and `make bench-full`.

make bench                                  everything; writes docs/performance.md
make bench-full                             states of ten million entries: adds a part to the page
make bench ARGS="--only rehydration"        one topic: prints its rows, and writes nothing
make bench ARGS="--plan tiny"               small sizes, to see that it works; writes nothing
make bench ARGS="--plan full --size 300000 --into /tmp/page"    writes all into another folder
make bench ARGS="--page"                    writes the page again, of what runs have recorded
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
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
from benchmarks.machine import ROOT, described, observed
from benchmarks.measure import PLANS, Plan, Row, shown
from benchmarks.peers import PEERS
from benchmarks.results import FOLDER, Result, Section, record, recorded, renewed

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
        figure = f"{shown(row.figure)} {row.unit}"
        table.add_row(escape(row.title), goal, figure, row.met, peers, row.note)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def measured(plan: Plan, names: Iterable[str]) -> Result:
    """Measure topics, and say what comes out.

    Args:
        plan: How much is measured.
        names: The topics.
    """
    sections = []
    for name in names:
        module, found = TOPICS[name], list[Row]()
        with observed() as load:
            for row in module.rows(plan):
                print(f"{name}: {row.title}: {shown(row.figure)} {row.unit} {row.met}", flush=True)
                found.append(row)
        about = (module.__doc__ or "").split("    python -m")[0].split("\n\npython -m")[0]
        sections.append(Section(module.TITLE, " ".join(about.split()), str(load), found))
    durable = {name: peer.durable for name, peer in PEERS.items()}
    return Result(plan.name, described(), durable, sections)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--plan", choices=PLANS, default="usual", help="how much is measured")
    parser.add_argument("--only", action="append", choices=TOPICS, help="a topic; may be repeated")
    parser.add_argument("--size", type=int, help="entries of large states")
    parser.add_argument("--into", type=Path, help="a folder for results and page")
    parser.add_argument(
        "--renew", action="store_true", help="with --only: replace these sections of the page"
    )
    parser.add_argument("--page", action="store_true", help="measure nothing; write the page")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the page if all was measured."""
    given = options()
    plan = PLANS[given.plan]
    changed = given.size or given.only or not plan.recorded
    if given.size:
        plan = replace(plan, sizes=(given.size,), large=given.size)
    if not given.page:
        result = measured(plan, given.only or plan.topics or TOPICS)
        show(result.rows)
        for section in result.sections:
            print(f"{section.title}: {section.load}")
        if given.renew:
            [former] = [each for each in recorded(FOLDER) if each.plan == result.plan]
            result = renewed(former, result)
        elif changed and not given.into:  # not what the page is made of
            return
        record(result, given.into / "results" if given.into else FOLDER)
    results = recorded(given.into / "results" if given.into else FOLDER)
    if not results:
        sys.exit("nothing has been recorded yet: measure at first")
    print(f"written: {document.write(results, given.into or ROOT)}")


if __name__ == "__main__":
    main()

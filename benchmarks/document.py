"""The performance page: what was measured and how, all figures, and what is better at what.

Every number on the page is a figure of the run that writes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Final

from benchmarks import machine, plots
from benchmarks.limit import __doc__ as limit
from benchmarks.machine import ROOT, Load
from benchmarks.measure import Plan, Row, shown
from benchmarks.peers import PEERS

PAGE: Final = ROOT / "docs" / "performance.md"
README: Final = ROOT / "README.md"
BEGIN: Final = "<!-- written by make bench -->\n"
END: Final = "<!-- until here -->\n"

Topic = tuple[ModuleType, Sequence[Row], Load]

SHORT: Final = {
    "Saving": ("first save", "1 % values replaced", "1 % changed inside of values"),
    "Stalls of an event loop": ("automatic saves, the worst",),
    "Rehydration": ("dict of dicts of scalars",),
    "Memory": ("after the first save", "after rehydration"),
    "Starting": ("import autostate", "three keys, resumed"),
    "An idle program": ("a small dict: wake-ups",),
}
"""Rows that also stand in the README, of the largest state each."""

ADVICE: Final = {
    "rocksdict": "It does not load the state. Take it if the state does not fit into memory, or if "
    "a program looks at a few entries of many and has to start at once. A value has to be read, "
    "changed and written again; nothing is saved by itself, and what belongs together is a batch.",
    "lmdb": "As for `rocksdict`. Readers in other processes see each commit at once, without a "
    "copy. The largest size of the file has to be given beforehand.",
    "ZODB, BTree": "It loads what is used. Take it for graphs of objects that are larger than "
    "memory, with transactions that other clients see. Values have to be Persistent, or be "
    "assigned again.",
    "ZODB, PersistentMapping": "One record for all entries: take a BTree unless they are few.",
    "diskcache": "Take it for a cache that several processes share, with limits and expiry.",
    "sqlitedict": "Take it for a few large values by key, where any tool has to read the file.",
    "shelve": "It needs nothing but the standard library.",
    "msgspec, whole": "Take it, in a dozen lines of your own, if the state is small, or if nearly "
    "all of it changes between two saves, and all values are plain JSON.",
    "use_state": "It needs nothing but the SDK. It writes everything each time, while the event "
    "loop waits.",
}


def written(plan: Plan, topics: Sequence[Topic]) -> None:
    """Write the page, its plots, and the figures of the README."""
    rows = [row for _, found, _ in topics for row in found]
    short = "\n".join(_short(topics)) + "\n"
    images = plots.drawn(rows, ROOT / "docs" / "performance")
    PAGE.write_text("\n".join(_page(plan, topics, short, images)), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    if begin:
        after = rest.partition(END)[2]
        README.write_text(f"{before}{BEGIN}{short}{END}{after}", encoding="utf-8")


def _page(
    plan: Plan, topics: Sequence[Topic], short: str, images: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Give the lines of the page."""
    yield "# Performance\n"
    target = "make bench-full" if plan.name == "full" else "make bench"
    yield f"Written by `{target}`; nothing on this page is written by hand.\n"
    yield "## In short\n"
    yield f"{BEGIN}{short}{END}"
    yield "## How it is measured\n"
    yield "The machine:\n"
    yield from (f"- {line}" for line in machine.described())
    paragraphs = (limit or "").strip().split("\n\n")
    yield "\n" + "\n\n".join(" ".join(each.split()) for each in paragraphs) + "\n"
    yield (
        "Figures in × are times of a yardstick that each section names: 1 is as fast, 2 takes "
        "twice as long. Those who are compared take turns, in an order that changes from round to "
        "round; a figure is the median of the rounds. The garbage collector works as usual. Before "
        "each save the process is idle: compaction is not part of a save.\n"
    )
    yield "What makes a save durable:\n"
    yield "| | |\n|---|---|"
    yield from (f"| {name} | {peer.durable} |" for name, peer in PEERS.items())
    for module, rows, load in topics:
        yield f"\n## {module.TITLE}\n"
        yield " ".join((module.__doc__ or "").split("\n\n")[0].split()) + f" {load}\n"
        yield from _tables(rows)
    yield "\n## Plots\n"
    yield from (f"![{title}](performance/{name})\n" for title, name in images)
    yield "## What is better at what\n"
    yield from _compared([row for _, rows, _ in topics for row in rows])


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    """Give the tables of a section, one for each group of rows."""
    for group, some in itertools.groupby(rows, lambda row: row.group):
        if group:
            yield f"\n### {group}\n"
        yield from _table([*some])


def _table(rows: Sequence[Row]) -> Iterator[str]:
    own = [*dict.fromkeys(name for row in rows for name in row.own)]
    peers = [*dict.fromkeys(name for row in rows for name in row.peers)]
    notes = any(row.note for row in rows)
    columns = ["", "autostate", *own, "goal", "", *peers, *(["note"] if notes else [])]
    yield f"| {' | '.join(columns)} |"
    yield f"|---|{'--:|' * (len(columns) - 1 - notes)}{'---|' * notes}"
    for row in rows:
        goal = "" if row.goal is None else f"≤ {row.goal:g}"
        cells = [row.what, f"**{shown(row.figure)} {row.unit}**"]
        cells += [shown(row.own.get(name)) for name in own]
        cells += [goal, row.met, *(shown(row.peers.get(name)) for name in peers)]
        yield f"| {' | '.join([*cells, *([row.note] if notes else [])])} |"


def _short(topics: Sequence[Topic]) -> Iterator[str]:
    """Give the table of the README."""
    yield "| | autostate | goal | | rocksdict | use_state |\n|---|--:|--:|---|--:|--:|"
    for module, rows, _ in topics:
        for wanted in SHORT.get(module.TITLE, ()):
            some = [row for row in rows if row.what.endswith(wanted)]
            dicts = [row for row in some if not row.group or row.group.endswith("dict of dicts")]
            for row in dicts[-1:]:
                what = ", ".join(filter(None, (row.group, row.what)))
                goal = "" if row.goal is None else f"≤ {row.goal:g}"
                peers = [shown(row.peers.get(name)) for name in ("rocksdict", "use_state")]
                figure = f"{shown(row.figure)} {row.unit}"
                cells = [f"{module.TITLE}: {what}", figure, goal, row.met, *peers]
                yield f"| {' | '.join(cells)} |"


def _compared(rows: Sequence[Row]) -> Iterator[str]:
    """Say of each peer where it is ahead of autostate, and by how much."""
    for name in PEERS:
        beside = [row for row in rows if row.group and name in row.peers]
        if name not in ADVICE or not beside:
            continue
        factors = {row: row.figure / row.peers[name] for row in beside}
        ahead = [row for row, factor in factors.items() if factor > 1]
        yield f"**{name}**. {ADVICE[name]} {_where(ahead, beside, factors)}\n"


def _where(ahead: Sequence[Row], beside: Sequence[Row], factors: Mapping[Row, float]) -> str:
    most = max(beside, key=lambda row: factors[row])
    least = min(beside, key=lambda row: factors[row])
    said = [f"Of the {len(beside)} kinds of saves above it is ahead of `flush()` in {len(ahead)}"]
    if ahead:
        said.append(f"most where {most.group}, {most.what}: {shown(factors[most])} times as fast")
    if len(ahead) < len(beside):
        said.append(
            f"and most behind where {least.group}, {least.what}: "
            f"it takes {shown(1 / factors[least])} times as long"
        )
    return ", ".join(said) + "."

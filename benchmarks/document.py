"""The performance page: what was measured and how, all figures, and what is better at what.

It is made of what runs have recorded: every number on the page is a figure of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.limit import __doc__ as limit
from benchmarks.machine import ROOT
from benchmarks.measure import Row, shown
from benchmarks.peers import PEERS, RIVAL
from benchmarks.plots import draw, plots
from benchmarks.results import Result, Section
from benchmarks.summary import summary
from benchmarks.tables import tables

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- written by make bench -->\n"
END: Final = "<!-- until here -->\n"
LARGE: Final = "full"
"""The plan whose figures have a part of their own."""

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


def write(results: Sequence[Result], folder: Path) -> Path:
    """Write the page, its plots, and the figures of the README, if there is one.

    Args:
        results: What was recorded; the plan of large states may be among them.
        folder: The folder that holds `README.md`, and `docs` with the page.
    """
    docs = folder / "docs"
    docs.mkdir(parents=True, exist_ok=True)
    draw(plots(_rows(results)), docs / "performance")
    page = docs / "performance.md"
    page.write_text(text(results), encoding="utf-8")
    readme = folder / "README.md"
    if readme.exists():
        old = readme.read_text(encoding="utf-8")
        before, begin, rest = old.partition(BEGIN)
        if begin:
            after = rest.partition(END)[2]
            new = f"{before}{BEGIN}{_short(results)}{END}{after}"
            readme.write_text(new, encoding="utf-8")
    return page


def text(results: Sequence[Result]) -> str:
    """Give the text of the page."""
    return "\n".join(_page(results))


def _short(results: Sequence[Result]) -> str:
    return "\n".join(summary(_usual(results).rows)) + "\n"


def _usual(results: Sequence[Result]) -> Result:
    """Give the result of all topics."""
    return next((result for result in results if result.plan != LARGE), results[0])


def _rows(results: Sequence[Result]) -> list[Row]:
    ordered = sorted(results, key=lambda result: result.plan == LARGE)
    return [row for result in ordered for row in result.rows]


def _page(results: Sequence[Result]) -> Iterator[str]:
    """Give the lines of the page."""
    usual = _usual(results)
    yield "# Performance\n"
    yield "Nothing on this page is written by hand: `make bench` measures and writes it.\n"
    yield "## In short\n"
    yield f"{BEGIN}{_short(results)}{END}"
    yield from _measured(usual)
    for section in usual.sections:
        yield from _section(section, 2)
    for result in results:
        if result.plan != LARGE or result is usual:
            continue
        yield "## Larger states\n"
        yield "Written by `make bench-full`, as above. The machine:\n"
        yield from (f"- {line}" for line in result.machine)
        yield ""
        for section in result.sections:
            yield from _section(section, 3)
    yield "## Plots\n"
    yield from (f"![{plot.title}](performance/{plot.name})\n" for plot in plots(_rows(results)))
    yield "## What is better at what\n"
    yield from _compared(usual.rows)


def _measured(result: Result) -> Iterator[str]:
    """Say how it was measured."""
    yield "## How it is measured\n"
    yield "The machine:\n"
    yield from (f"- {line}" for line in result.machine)
    paragraphs = (limit or "").strip().split("\n\n")
    yield "\n" + "\n\n".join(" ".join(each.split()) for each in paragraphs) + "\n"
    yield (
        "Figures in × are times of a yardstick that each section names: 1 is as fast, 2 takes "
        "twice as long. Those who are compared take turns, in an order that changes from round to "
        "round; a figure is the median of the rounds. The column *rounds*, or the range in "
        "brackets, is their spread: from the least to the most, or the quartiles of eight rounds "
        "and more. The garbage collector works as usual. Before each save the process is idle: "
        "compaction is not part of a save.\n"
    )
    judged = [row for row in result.rows if row.goal is not None]
    missed = [row for row in judged if row.met.startswith("missed")]
    yield (
        "A goal is followed by ✓ if autostate meets it, also with automatic saves, and by ✗ if "
        "not. A peer's figure is **bold** if the peer is ahead of autostate. A further goal of "
        f"saves is to be as fast as {RIVAL}. Missed are {len(missed)} of {len(judged)} goals. All "
        "rounds of all participants are in "
        "[`benchmarks/results`](../benchmarks/results).\n"
    )
    yield "What makes a save durable:\n"
    yield "| | |\n|---|---|"
    yield from (f"| {name} | {said} |" for name, said in result.durable.items())
    yield ""


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {section.title}\n"
    yield f"{section.about} {section.load}\n"
    yield from tables(section.rows, level + 1)


def _compared(rows: Sequence[Row]) -> Iterator[str]:
    """Say of each peer where it is ahead of autostate, and by how much."""
    for name in PEERS:
        beside = [row for row in rows if "case" in row.data and name in row.peers]
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

"""Tables of rows in Markdown. Each has one unit, which its caption names."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from benchmarks.measure import Row, shown, spread

TOGETHER: Final = 4
"""So many peers stand beside autostate; where there are more, those after the first two follow in
a table of their own."""
UNITS: Final = {
    "s": (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)),
    "B": (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0)),
}
"""What rounds count, from large to small."""
CAPTIONS: Final = {
    "×": "Times of the yardstick (×)",
    "× import apify": "Times of `import apify` (×)",
    "a minute": "Times a minute",
}
"""What stands above tables of figures; else the unit."""
LEAST: Final = 0.1
"""The smallest figure of a table in a suitable unit."""


def tables(rows: Sequence[Row], level: int) -> Iterator[str]:
    """Give the lines of the tables of a section, under a heading for each group of rows.

    Args:
        rows: The rows of the section.
        level: The level of the headings.
    """
    for group, some in itertools.groupby(rows, lambda row: row.group):
        if group:
            yield f"{'#' * level} {group}\n"
        members = [*some]
        judged = [row for row in members if not _absolute(row)]
        for unit in dict.fromkeys(row.unit for row in judged):
            yield from _figures([row for row in judged if row.unit == unit])
        for of in dict.fromkeys(row.of for row in members if row.rounds):
            yield from _rounds([row for row in members if row.rounds and row.of == of], of)


def goal(row: Row) -> str:
    """Give the goal, and whether it is met."""
    if row.goal is None:
        return ""
    worst = max(row.figure, *row.own.values()) if row.own else row.figure
    return f"≤ {row.goal:g} {'✓' if worst <= row.goal else '✗'}"


def line(cells: Sequence[str]) -> str:
    """Give one line of a table."""
    return f"| {' | '.join(cells)} |"


def head(columns: Sequence[str], left: int = 1, note: bool = False) -> Iterator[str]:
    """Give the two lines of the head of a table.

    Args:
        columns: Their names.
        left: How many of the first hold words.
        note: Whether the last holds words, too.
    """
    yield line(columns)
    yield f"|{'---|' * left}{'--:|' * (len(columns) - left - note)}{'---|' * note}"


def _absolute(row: Row) -> bool:
    """Whether a row is compared with nothing: it stands beside the rounds of others alone."""
    return row.goal is None and not row.peers and bool(row.rounds) and row.unit != "×"


def _figures(rows: Sequence[Row]) -> Iterator[str]:
    """Give the table of figures of one unit, and another one for many peers."""
    peers = _names(row.peers for row in rows)
    near, far = (peers[:2], peers[2:]) if len(peers) > TOGETHER else (peers, [])
    own, notes = _names(row.own for row in rows), any(row.note for row in rows)
    spreads, goals = any(row.spread for row in rows), any(row.goal is not None for row in rows)
    unit = rows[0].unit
    yield f"{CAPTIONS.get(unit, f'In {unit}')}:\n"
    columns = ["", "autostate", *(["rounds"] if spreads else []), *own]
    columns += [*(["goal"] if goals else []), *near, *(["note"] if notes else [])]
    yield from head(columns, note=notes)
    for row in rows:
        cells = [row.what, shown(row.figure), *([_range(row.spread)] if spreads else [])]
        cells += [shown(row.own.get(name)) for name in own]
        cells += [goal(row)] if goals else []
        cells += [_peer(row, name) for name in near]
        yield line([*cells, *([row.note] if notes else [])])
    yield ""
    if far:
        yield "Others, in the same unit:\n"
        yield from head(["", "autostate", *far])
        for row in rows:
            yield line([row.what, shown(row.figure), *(_peer(row, name) for name in far)])
        yield ""


def _rounds(rows: Sequence[Row], of: str) -> Iterator[str]:
    """Give the table of what the rounds of yardstick and autostate took."""
    peers = {name for row in rows for name in row.peers}
    names = [name for name in _names(row.rounds for row in rows) if name not in peers]
    medians = [statistics.median(each) for row in rows for each in row.rounds.values()]
    suitable = [(unit, size) for unit, size in UNITS[of] if min(medians) >= LEAST * size]
    unit, size = suitable[0] if suitable else UNITS[of][-1]
    yield f"In {unit}:\n"
    yield from head(["", *names])
    for row in rows:
        taken = (row.rounds.get(name) for name in names)
        yield line([row.what, *(_taken(each, size) for each in taken)])
    yield ""


def _taken(rounds: Sequence[float] | None, size: float) -> str:
    if not rounds:
        return ""
    found = shown(statistics.median(rounds) / size)
    between = spread(rounds, size)
    return f"{found} ({_range(between)})" if between else found


def _peer(row: Row, name: str) -> str:
    """Give the figure of a peer, in bold if it is better than that of autostate."""
    figure = row.peers.get(name)
    return f"**{shown(figure)}**" if figure is not None and figure < row.figure else shown(figure)


def _range(ends: Sequence[float] | None) -> str:
    return "" if ends is None else "–".join(map(shown, ends))


def _names(found: Iterable[Iterable[str]]) -> list[str]:
    """Give each name once, in order."""
    return [*dict.fromkeys(itertools.chain.from_iterable(found))]

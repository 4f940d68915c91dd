"""What a reader who chooses a library has to know: a few sentences and one small table.

The same stand on the performance page and in the README. All numbers are figures of the run.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.measure import Row, shown
from benchmarks.peers import LIMIT, OWN, PEERS, RIVAL
from benchmarks.tables import head, line

COLUMNS: Final = {
    "autostate": OWN,
    "the least": LIMIT,
    RIVAL: RIVAL,
    "lmdb": "lmdb",
    "msgspec, whole": "msgspec, whole",
    "use_state": "use_state",
}
SHOWN: Final = (
    "first save",
    "0.1 % changed inside of values",
    "1 % changed inside of values",
    "10 % changed inside of values",
    "100 % changed inside of values",
)
COSTS: Final = {
    "reading takes {} times as long as from a plain dict": "read, small dict",
    "writing {} times": "write, small dict",
    "a state takes {} times the memory of a plain dict": "after the first save",
    "automatic saves hold up an event loop for at most {} ms": "automatic saves, the worst",
}
"""What else autostate costs, and the row that says how much."""


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """Give the sentences and the table, as lines.

    Args:
        rows: All rows of `make bench`.
    """
    saves = [row for row in rows if "case" in row.data and row.peers]
    if saves:
        yield f"**What it costs.** {_costs(saves)}{_other_costs(rows)}\n"
        yield f"**What it is better at.** {_ahead(saves)}\n"
        yield f"**When to take something else.** {_behind(saves)}\n"
        yield from _table(saves)


def _costs(saves: Sequence[Row]) -> str:
    figures = sorted(row.figure for row in saves)
    return (
        f"A save takes {shown(figures[0])} to {shown(figures[-1])} times as long as the least that "
        "anybody has to do who keeps a state in memory: apply changes to a plain dict, encode them "
        f"with msgspec, append that to a file and sync it; half of the {len(figures)} kinds of "
        f"saves take less than {shown(statistics.median(figures))} times as long."
    )


def _other_costs(rows: Sequence[Row]) -> str:
    """Say what else autostate costs; nothing if that was not measured."""
    found = {}
    for words, what in COSTS.items():
        for row in rows:
            if row.what.endswith(what):
                found[words] = row.figure
    said = [words.format(shown(figure)) for words, figure in found.items()]
    if not said:
        return ""
    text = ", ".join(said)
    return f" {text[0].upper()}{text[1:]}; and the whole state has to fit into memory."


def _ahead(saves: Sequence[Row]) -> str:
    said = [
        f"`{name}` ({ahead} of {len(beside)})"
        for name, beside in _beside(saves).items()
        if (ahead := _slower(name, beside)) * 2 > len(beside)
    ]
    text = (
        "It is better where a program changes containers and objects in memory, at any depth, and "
        "wants that saved: it finds by itself what changed, and writes nothing else"
    )
    others = f"; its saves are mostly faster than those of {', '.join(said)}" if said else ""
    return f"{text}{others}."


def _behind(saves: Sequence[Row]) -> str:
    said = []
    for name, beside in _beside(saves).items():
        if _slower(name, beside) * 2 <= len(beside):
            factor = statistics.median(row.figure / row.peers[name] for row in beside)
            ahead = len(beside) - _slower(name, beside)
            said.append(
                f"`{name}` in {ahead} of {len(beside)} (median: {shown(factor)} times as fast)"
            )
    faster = f"Faster are {', '.join(said)}. " if said else ""
    return (
        f"{faster}Take rocksdict or lmdb if the state does not fit into memory, if a program has "
        "to start at once or looks at few entries of many, or if it knows what it changes and "
        "saves so often that the time of a save counts most; msgspec and a file of your own if the "
        "state is small plain JSON, or nearly all of it changes between two saves; ZODB for graphs "
        "of objects larger than memory."
    )


def _beside(saves: Sequence[Row]) -> dict[str, list[Row]]:
    """Give the saves that each peer took part in."""
    found = {name: [row for row in saves if name in row.peers] for name in PEERS}
    return {name: beside for name, beside in found.items() if beside}


def _slower(name: str, beside: Sequence[Row]) -> int:
    """Count the saves in which a peer is slower than autostate."""
    return sum(row.peers[name] > row.figure for row in beside)


def _table(saves: Sequence[Row]) -> Iterator[str]:
    """Give the table of a small and a large state, in milliseconds."""
    dicts = [row for row in saves if row.data["case"]["shape"] == "dicts"]
    sizes = sorted({row.data["case"]["size"] for row in dicts})
    yield "Milliseconds of changing a dict of dicts and saving that (medians):\n"
    yield from head(["", *COLUMNS])
    for size in dict.fromkeys([*sizes[:1], *sizes[-1:]]):
        for row in dicts:
            if row.data["case"]["size"] == size and row.what in SHOWN:
                taken = [row.rounds.get(name) for name in COLUMNS.values()]
                cells = [shown(statistics.median(each) * 1e3) if each else "" for each in taken]
                yield line([f"{size:,} entries: {row.what}", *cells])

"""The output of the commands: tables on a terminal, lines with tabs in a pipe.

On a terminal `rich` makes tables and values; without it they are plain.
"""

from __future__ import annotations

import importlib.util
import pprint
import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from autostate.cli import console
from autostate.cli.errors import CommandError
from autostate.cli.escapes import printable
from autostate.cli.values import Fields, Opaque
from autostate.journal.verifying import size_of
from autostate.runtime.stored_state import StoredState

COLUMNS = ("name", "kind", "entries", "bytes")
_FOR_RICH: Final = 5_000
"""The most values that `rich` prints: it takes far longer than pprint."""
SHOWN = 100
"""The most entries of a container, and the most levels, that are shown on a terminal."""


def object_rows(state: StoredState) -> list[dict[str, Any]]:
    """Give name, kind, number of entries and bytes of each state object."""
    roots = state.roots
    outer = {*roots.values()}
    measured = {at: size_of(node) for at, node in state.nodes.items()}
    rows = []
    for name, at in roots.items():
        node = state.nodes[at]
        kind = node.kind
        if kind == "object":
            kind = f"instance of {str(node.metadata['class']).rpartition(':')[2]}"
        seen, left, size = set[int](), [at], 0
        while left:
            each = left.pop()
            is_inside = each == at or each not in outer
            if is_inside and each not in seen and each in measured:
                seen.add(each)
                size += measured[each][0]
                left += measured[each][1]
        rows.append({"name": name, "kind": kind, "entries": len(node.content), "bytes": size})
    return rows


def about(state: StoredState) -> dict[str, Any]:
    """Tell when a state was saved and who owns it."""
    owner = state.owner
    return {
        "store": state.url,
        "last_saved": state.saved_at,
        "owner": None if owner is None else str(owner),
        "owner_pid": None if owner is None else owner.pid,
        "alive": state.alive,
    }


def heading(state: StoredState) -> str:
    """Tell when a state was saved and who owns it, in a line for a person."""
    return f"{state.url}\nlast saved: {_when(state.saved_at)}; owner: {owner_of(state)}"


def past_heading(state: StoredState, at: str) -> str:
    """Tell which commit a state is of."""
    return f"{state.url}\nas of {at}; saved: {_when(state.saved_at)}"


def owner_of(state: StoredState) -> str:
    """Say who owns a state, and whether the owner lives."""
    if state.owner is None:
        return "none"
    lives = {True: "alive", False: "not alive", None: "alive, or not for longer than its lease"}
    return f"{state.owner}, {lives[state.alive]}"


def _when(moment: float | None) -> str:
    if moment is None:
        return "never"
    ago = max(0.0, time.time() - moment)
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S} ({ago:,.0f} s ago)"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows; numbers are aligned on the right."""
    if not sys.stdout.isatty():
        for row in rows:
            console.write_exactly("\t".join(printable(str(each)) for each in row))
        return
    numbers = [
        bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(head))
    ]
    texts = [
        [f"{each:,}" if isinstance(each, int) else printable(str(each)) for each in row]
        for row in rows
    ]
    if not _has_rich():
        _plain_table(head, texts, numbers)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, header_style="bold", pad_edge=False)
    for name, number in zip(head, numbers, strict=True):
        made.add_column(name, justify="right" if number else "left", overflow="fold")
    for line in texts:
        made.add_row(*map(Text, line))
    Console().print(made)


def _has_rich() -> bool:
    if "rich" in sys.modules:
        return sys.modules["rich"] is not None
    return importlib.util.find_spec("rich") is not None


def _plain_table(head: Sequence[str], rows: list[list[str]], numbers: list[bool]) -> None:
    """Print rows as they are: a line that is too long is continued by the terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [list(head), *rows]:
        cells = zip(row, widths, numbers, strict=True)
        line = "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells
        )
        console.write_exactly(line.rstrip())


def say(text: str) -> None:
    """Print for a person; print nothing into a pipe, which gets only rows."""
    if sys.stdout.isatty():
        console.write(text)


def pretty(value: Any, *, whole: bool) -> None:
    """Print a value as Python would write it; on a terminal cut a very long value short.

    Each level is indented further: dots stand for the rest of a very deeply nested value.
    """
    if isinstance(value, (str, Opaque)):
        console.write_exactly(repr(value))
        return
    terminal = sys.stdout.isatty()
    limit = SHOWN if terminal and not whole else None
    if not _has_rich() or (limit is None and _has_more_than(_FOR_RICH, value)):
        _plain_value(value, limit)
        return
    from rich.console import Console
    from rich.pretty import Pretty

    output = Console() if terminal else Console(width=100, no_color=True)
    output.print(Pretty(value, max_length=limit, max_depth=SHOWN), soft_wrap=True)


def _has_more_than(most: int, value: Any) -> bool:
    """Tell whether there are more values in a value."""
    left, seen, count = [value], set[int](), 0
    while left and count <= most:
        each = left.pop()
        count += 1
        if id(each) in seen:  # a container that holds itself
            continue
        seen.add(id(each))
        if isinstance(each, Fields):
            each = each.fields
        if isinstance(each, dict):
            left += islice(each.values(), most)
        elif isinstance(each, (list, tuple, deque, set, frozenset)):
            left += islice(each, most)
    return count > most


def _plain_value(value: Any, limit: int | None) -> None:
    width = shutil.get_terminal_size().columns if limit else 100
    try:
        lines = pprint.pformat(value, width=width, depth=SHOWN, sort_dicts=False).splitlines()
    except ValueError:
        raise CommandError("a number in it has too many digits to be shown: say --json") from None
    console.write_exactly("\n".join(lines[:limit]))
    if limit is not None and len(lines) > limit:
        console.write_exactly(f"… and {len(lines) - limit} more lines: --all shows them")

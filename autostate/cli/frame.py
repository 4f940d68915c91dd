"""The picture of a watched state: lines of a width, and no more than there is room for."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence
from typing import Final

from autostate.cli import tables
from autostate.cli.diff import line_of
from autostate.cli.escapes import printable
from autostate.cli.watching import Change, Row, Watched

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_LEAST_PLOT: Final = 8
_HEAD: Final = ("name", "kind", "entries", "+/s", "writes/s", "bytes")
_GAP: Final = "  "
_FEWEST: Final = 3
"""The last changes for which there is always room."""


def frame(watched: Watched, width: int, height: int, interval: float) -> list[str]:
    """Draw what is known about a state.

    Args:
        watched: What is known.
        width: The most columns of a line.
        height: The number of lines.
        interval: Seconds between two looks.
    """
    state = watched.state
    assert state is not None
    lines = [state.url, f"owner: {tables.owner_of(state)}", totals(watched), ""]
    room = max(1, height - len(lines) - _FEWEST - 5)
    rows = sorted(watched.rows.values(), key=lambda row: row.name)
    lines += _table(watched, rows[:room], width)
    if len(rows) > room:
        lines.append(f"… and {len(rows) - room} more")
    lines += ["", "last changes"]
    left = max(1, height - len(lines) - 2)
    lines += [_change(each, width) for each in [*watched.changes][-left:]][::-1] or ["none yet"]
    lines = lines[: height - 2]
    lines += [""] * (height - 1 - len(lines))
    lines.append(f"every {interval:.3g} s; q ends")
    return [cut(printable(line), width) for line in lines]


def totals(watched: Watched) -> str:
    """Tell how old the last save is, and what all objects have together."""
    names, stale = list(watched.rows), watched.staleness
    saved = "never saved" if stale is None else f"saved {ago(stale)} ago"
    entries = sum(row.entries for row in watched.rows.values())
    size = sum(row.size for row in watched.rows.values())
    told = (
        f"{saved}; {entries:,} entries, {sum(map(watched.growth, names)):+,.1f}/s; "
        f"{sum(map(watched.rate, names)):,.1f} writes/s; {size:,} bytes"
    )
    return told if watched.problem is None else f"CANNOT BE READ: {watched.problem}"


def ago(seconds: float) -> str:
    """Give a duration, as exactly as it matters."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _table(watched: Watched, rows: Sequence[Row], width: int) -> list[str]:
    cells = [
        (
            *(row.name, row.kind, f"{row.entries:,}"),
            *(f"{watched.growth(row.name):+,.1f}", f"{watched.rate(row.name):,.1f}"),
            f"{row.size:,}",
        )
        for row in rows
    ]
    widths = [max(map(width_of, column)) for column in zip(_HEAD, *cells, strict=True)]
    rest = sum(widths[1:]) + len(_GAP) * len(widths)
    widths[0] = max(4, min(widths[0], width - rest - _LEAST_PLOT))
    room = width - rest - widths[0]
    made = [_line(_HEAD, widths) + (f"{_GAP}writes" if room >= _LEAST_PLOT else "")]
    for row, each in zip(rows, cells, strict=True):
        drawn = plot([*watched.writes[row.name]][-room:]) if room >= _LEAST_PLOT else ""
        made.append(f"{_line(each, widths)}{_GAP}{drawn}".rstrip())
    return made


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [cut(cell, width) for cell, width in zip(cells, widths, strict=True)]
    spaces = [" " * (width - width_of(text)) for text, width in zip(texts, widths, strict=True)]
    padded = [
        text + space if at < 2 else space + text  # names and kinds on the left, numbers right
        for at, (text, space) in enumerate(zip(texts, spaces, strict=True))
    ]
    return _GAP.join(padded)


def plot(numbers: Sequence[float]) -> str:
    """Draw numbers as a line of blocks; nothing at all is a blank."""
    most = max(numbers, default=0) or 1
    last = len(_BLOCKS) - 1
    return "".join(" " if not each else _BLOCKS[round(each / most * last)] for each in numbers)


def _change(change: Change, width: int) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(change.time))
    if isinstance(change.what, str):
        return f"{at}  {change.what}"
    return f"{at}  {line_of(change.what, width - len(at) - 2)}"


def width_of(text: str) -> int:
    """Give the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def cut(text: str, width: int) -> str:
    """Cut a text to a number of columns."""
    if width_of(text) <= width:
        return text
    made, used = "", 0
    for each in text:
        used += width_of(each)
        if used > width - 1:
            break
        made += each
    return f"{made}…" if width > 0 else ""

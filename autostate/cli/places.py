"""The command `where`: the store that is used here, and all that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from autostate.cli import console, shared, tables
from autostate.cli.choosing import Choice, actors_storage, look_up, shared_here, stores_here
from autostate.cli.errors import CommandError
from autostate.errors import AutostateError
from autostate.runtime.stored_state import read_state

_COLUMNS: Final = ("program", "store", "objects", "bytes", "owner")


def where(*, url: str | None, program: str | None, as_json: bool) -> None:
    """Say which store is used here and why, and which ones there are."""
    chosen: Choice | None = None
    problem: str | None = None
    try:
        chosen = look_up(url, program)
    except CommandError as error:
        problem = str(error)
    also = [] if chosen is None else shared.urls(chosen.url)[1:]
    rows = _rows()
    if as_json:
        console.write_json(
            {
                "store": None if chosen is None else chosen.url,
                "because": None if chosen is None else chosen.why,
                "problem": problem,
                "shared": also,
                "stores": [dict(zip(_COLUMNS, row, strict=True)) for row in rows],
            }
        )
        return
    console.write(problem or "" if chosen is None else f"{chosen.url}\nbecause {chosen.why}")
    for each in also:
        console.write(f"shared with other programs: {each}")
    tables.table(_COLUMNS, rows)


def _rows() -> list[tuple[Any, ...]]:
    rows = [_row(each.stem, each, each) for each in stores_here()]
    if (storage := actors_storage()) is not None:
        rows.append(_row("an Actor", storage, "apify:"))
    if (common := shared_here()) is not None:
        rows.append(_row("(shared)", common, common))
    return rows


def _row(program: str, path: Path, url: str | Path) -> tuple[Any, ...]:
    """Tell of a store, also if it cannot be read."""
    files = path.glob("autostate-*") if path.is_dir() else [path]
    size = sum(each.stat().st_size for each in files)
    try:
        state = read_state(url)
    except AutostateError:
        return program, str(path), 0, size, "cannot be read: see verify"
    shares = [each for each in shared.found(state.url) if each.url == state.url]
    count = len(state.roots) + sum(len(each.objects) for each in shares)
    return program, str(path), count, size, tables.owner_of(state)

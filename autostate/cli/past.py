"""The commands on the history of a state: log and restore."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from autostate.cli import console, tables
from autostate.cli.choosing import choose, choose_to_write
from autostate.cli.errors import UsageError
from autostate.runtime.history import history, restore as restore_state
from autostate.runtime.past import no_history

_COLUMNS: Final = ("number", "time", "bytes", "objects")


def log(*, url: str | None, program: str | None, as_json: bool) -> None:
    """List the commits of the history.

    Raises:
        StoreError: There is no history.
    """
    chosen = choose(url, program).url
    rows: list[list[Any]] = [
        [each.number, each.time.isoformat(" ", "milliseconds"), each.size, [*each.objects]]
        for each in history(chosen)
    ]
    if as_json:
        console.write_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    elif rows:
        tables.table(_COLUMNS, [[*row[:-1], " ".join(row[-1])] for row in rows])
    if not rows:
        raise no_history(chosen)


def restore(*, at: str, url: str | None, program: str | None, yes: bool, as_json: bool) -> None:
    """Go back to a commit of the history, by a new commit."""
    chosen = choose_to_write(url, program)
    commit = point(at)
    console.ask(f"Make {chosen} what it was at {at}?", yes=yes)
    made = restore_state(chosen, at=commit)
    if as_json:
        console.write_json({"store": chosen, "commit": made})
    else:
        console.write(f"done, by the commit {made}")


def point(at: str) -> int | datetime:
    """Give a point of the history: the number of a commit, or a time.

    Raises:
        UsageError: The text is neither.
    """
    if at.isdecimal():
        return int(at)
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError(
            f"{at!r} is neither the number of a commit nor a time, such as 2026-03-01T12:00"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time

"""The command `watch`: a state, live."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import time
from datetime import datetime
from typing import Any, Final

from autostate.cli import console, escapes, plain, screen, tables
from autostate.cli.choosing import choose
from autostate.cli.errors import UsageError
from autostate.cli.frame import frame
from autostate.cli.watching import Watched
from autostate.settings import scheme

_INTERVAL: Final = 1.0
_METERED: Final = 10.0
"""The interval where each reading costs money."""
_PATIENCE: Final = 4.0
"""How many times as long as a look the pause after it is at least."""


def watch(
    *, interval: str | None, count: str | None, url: str | None, program: str | None, as_json: bool
) -> None:
    """Show a state, again and again, until q or Ctrl-C."""
    chosen = choose(url, program).url
    seconds = _seconds(interval, chosen)
    looks = _count(count)
    watched = Watched(chosen)
    with contextlib.suppress(KeyboardInterrupt):
        if screen.is_there() and not as_json:
            watched.look()
            with screen.whole():
                _draw(watched, seconds, looks)
        else:
            _print(watched, seconds, looks, as_json=as_json)


def _seconds(interval: str | None, url: str) -> float:
    if interval is None:
        return _METERED if scheme(url) in {"apify", "s3"} else _INTERVAL
    with contextlib.suppress(ValueError):
        if 0 < (found := float(interval)) < math.inf:
            return found
    raise UsageError(f"{interval!r} is no number of seconds: say --interval 5")


def _count(count: str | None) -> int | None:
    if count is None:
        return None
    if count.isdecimal() and int(count):
        return int(count)
    raise UsageError(f"{count!r} is no number of lines: say --count 5")


def _draw(watched: Watched, seconds: float, looks: int | None) -> None:
    for number in itertools.count(1):
        width, height = screen.size()
        screen.draw(frame(watched, width, height, seconds))
        if number == looks:
            return
        began = time.monotonic()
        watched.look()
        pause = max(seconds, (time.monotonic() - began) * _PATIENCE)
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0:
            if screen.key(left) in {"q", "Q", "\x03", "\x04"}:
                return


def _print(watched: Watched, seconds: float, looks: int | None, *, as_json: bool) -> None:
    """Print a line for each look."""
    for number in itertools.count(1):
        began = time.monotonic()
        watched.look()
        console.write(plain.in_a_line(_told(watched)) if as_json else _line(watched))
        sys.stdout.flush()
        if number == looks:
            return
        time.sleep(max(seconds, (time.monotonic() - began) * _PATIENCE))


def _told(watched: Watched) -> dict[str, Any]:
    state = watched.state
    assert state is not None
    objects = [
        row._asdict()
        | {"growth": watched.growth(row.name), "writes": watched.rate(row.name)}
        | {"bytes": row.size}
        for row in watched.rows.values()
    ]
    for each in objects:
        del each["size"]
    return {
        "time": time.time(),
        **tables.about(state),
        "staleness": watched.staleness,
        "problem": watched.problem,
        "objects": objects,
    }


def _line(watched: Watched) -> str:
    state = watched.state
    assert state is not None
    names, stale = list(watched.rows), watched.staleness
    cells = [
        datetime.now().astimezone().isoformat(" ", "seconds"),
        f"{sum(row.entries for row in watched.rows.values())} entries",
        f"{sum(map(watched.growth, names)):+.1f}/s",
        f"{sum(map(watched.rate, names)):.1f} writes/s",
        f"{sum(row.size for row in watched.rows.values())} bytes",
        "never saved" if stale is None else f"saved {stale:.1f} s ago",
        f"owner: {tables.owner_of(state)}",
    ]
    if watched.problem is not None:
        cells.append(f"cannot be read: {watched.problem}")
    return "\t".join(map(escapes.printable, cells))

"""What a save takes on each kind of store: time and trips.

python -m benchmarks.stores                           prints the tables
python -m benchmarks.stores --into docs/stores.md     writes them into a page, too
python -m benchmarks.stores --only valkey postgres    measures some of the kinds

It starts the servers itself. A proxy between client and server counts trips, and lets each take
20 ms. It is a thread of this process, and makes each trip some tenths of a millisecond longer.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from autostate.journal import Journal
from autostate.stores import open_store
from benchmarks.machine import described, observed
from benchmarks.measure import shown
from benchmarks.tables import head, line
from tests.servers.kinds import Remote, remote
from tests.servers.proxy import Proxy
from tests.servers.valkey import Valkey

BEGIN: Final = "<!-- written by python -m benchmarks.stores -->\n"
END: Final = "<!-- until here -->\n"
FAR: Final = 0.02
"""Seconds of a trip over a network."""
NEAR: Final = 300
DISTANT: Final = 50
"""How many commits are measured at each distance."""
RECOVERIES: Final = 5
LARGE: Final = 40_000
"""Bytes of a large commit."""
STATE: Final = 20
"""Commits of a megabyte, of which the recovered state consists."""
KINDS: Final[dict[str, str]] = {
    "sqlite": "SQLite",
    "folder": "a folder",
    "valkey": "Valkey, `appendfsync always`",
    "everysec": "Valkey, `appendfsync everysec`",
    "postgres": "PostgreSQL",
    "seaweed": "S3 (SeaweedFS)",
}


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        seconds: How long it took each time.
        trips: How many trips it mostly is.
    """

    seconds: Sequence[float]
    trips: int = 0

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        late = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        return f"{shown(statistics.median(ordered) * 1000)} / {shown(late * 1000)}"


class Costs(NamedTuple):
    """What a small commit takes, a large one, and a recovery."""

    small: Cost
    large: Cost
    recovery: Cost


@contextmanager
def started(kind: str, folder: Path) -> Iterator[Remote | None]:
    """Start a server; None: there is none."""
    if kind in ("sqlite", "folder"):
        yield None
        return
    always = kind != "everysec"
    made = remote(kind, folder) if always else Valkey(folder, appendfsync="everysec")
    made.start()
    try:
        yield made
    finally:
        made.remove()


def measure(call: Callable[[], object], count: int, proxy: Proxy | None) -> Cost:
    """Do something several times."""
    seconds, trips = [], []
    for _ in range(count):
        before = 0 if proxy is None else proxy.trips
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        trips.append(0 if proxy is None else proxy.trips - before)
    return Cost(seconds, statistics.mode(trips))


def costs(url: str, count: int, proxy: Proxy | None = None) -> Costs:
    """Measure with a state of its own."""
    numbers = itertools.count()
    with closing(open_store(url)) as store:
        journal = Journal(store)
        journal.recover()
        journal.commit([change(id=1, kind="dict", name="pages", assign={})])

        def commit(size: int) -> None:
            journal.commit([change(id=1, put={f"page-{next(numbers) % 50}": "x" * size})])

        small = measure(partial(commit, 100), count, proxy)
        large = measure(partial(commit, LARGE), count, proxy)
        for _ in range(STATE):
            commit(1 << 20)
    with closing(open_store(url)) as store:
        recovery = measure(lambda: Journal(store).recover(), RECOVERIES, proxy)
    return Costs(small, large, recovery)


def change(**fields: Any) -> bytes:
    """Encode a change."""
    return msgspec.json.encode(fields)


def row(kind: str) -> str:
    """Measure a kind of store; give a line of the table."""
    with tempfile.TemporaryDirectory() as folder, started(kind, Path(folder)) as server:
        if server is None:
            path = f"{folder}/states"
            url = f"sqlite:///{path}.db" if kind == "sqlite" else f"file://{path}?state=a"
            near = costs(url, NEAR)
            return line([KINDS[kind], *map(str, near[:2]), "", "", "", str(near.recovery), ""])
        near = costs(server.url("near"), NEAR)
        with server.proxy() as proxy:
            proxy.delay = FAR / 2
            far = costs(server.url("far", proxy), DISTANT, proxy)
    trips = " / ".join(str(each.trips) for each in far)
    cells = [*near[:2], *far[:2], trips, near.recovery, far.recovery]
    return line([KINDS[kind], *map(str, cells)])


def page(kinds: Sequence[str]) -> Iterator[str]:
    """Measure; give the lines of a part of a page."""
    with observed() as load:
        rows = [row(kind) for kind in kinds]
    yield from (f"- {each}" for each in described())
    yield f"- {load}"
    yield ""
    yield "Milliseconds, p50 / p99:"
    yield ""
    commits = ("small, 20 ms", "40 kB, 20 ms", "trips")
    yield from head(["", "small", "40 kB", *commits, "recovery", "recovery, 20 ms"])
    yield from rows


def main() -> None:
    """Measure, print, and write if wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="a page with the marks of a part")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=[*KINDS])
    given = parser.parse_args()
    found = "\n".join(page(given.only))
    print(found)
    if given.into:
        before, _, rest = given.into.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        given.into.write_text(f"{before}{BEGIN}\n{found}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

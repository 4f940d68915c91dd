"""What sharing costs, and how many runs can share, by store: the library's own code, simulated.

python -m benchmarks.sharing                          prints the tables
python -m benchmarks.sharing --into docs/scale.md     writes them into a page, too
python -m benchmarks.sharing --only apify s3          simulates some of the stores

Nothing sleeps: see `virtual_time.py`. `simulated_stores.py` has the limits, prices and latencies.
Two kinds of figures are printed:

- Of single calls: a run, beside any number of lineages, opens, publishes, refreshes and folds, and
  the requests of each are counted. Ten thousand runs that each read ten thousand lineages would not
  fit into one process; what they ask for follows from these counts.
- Of runs that work at the same time, all of them in this process, with all that they do to each
  other. There the count of requests is printed beside that which follows from the calls.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from autostate.errors import AutostateError
from autostate.shared.clock import HybridClock
from autostate.shared.fold import MANY, fold
from benchmarks.measure import shown
from benchmarks.sharing_runs import (
    PAGE,
    Fleet,
    Observed,
    Run,
    busiest,
    dollars_a_day,
    observe,
    period,
    publish_again,
    publish_others,
)
from benchmarks.simulated_stores import TERMS, Database, Service, service
from benchmarks.tables import head, line
from benchmarks.virtual_time import World

BEGIN: Final = "<!-- written by python -m benchmarks.sharing -->\n"
END: Final = "<!-- until here -->\n"
SIZES: Final = (10, 500, 10_000)
"""How many runs there are."""
TOGETHER: Final = (10, 50, 500, 1_000)
"""How many work at the same time in one process."""
REFRESHES: Final = {10: 10.0, 50: 3.0, 500: 1.5}
"""For so many times the pause between two refreshes they are observed."""
CROWDED: Final = (MANY - 4, MANY + 6)
"""Fewer and more runs than those from which on a fold may be due."""


class Call(NamedTuple):
    """What a call takes.

    Attributes:
        requests: By kind.
        seconds: How long it takes alone.
        busy: For how many seconds it occupies a database.
        size: Bytes that are sent or received.
    """

    requests: Counter[str]
    seconds: float
    busy: float
    size: int


class Calls(NamedTuple):
    """What the calls of a run take beside other runs.

    Attributes:
        opening: The first use of an object.
        publication: A publication.
        refresh: A refresh, when all runs have published since the last reading.
        fold: A fold.
        afterwards: A refresh after that.
        records: How many records there are before the fold.
        size: Bytes of them.
    """

    opening: Call
    publication: Call
    refresh: Call
    fold: Call
    afterwards: Call
    records: int
    size: int


def calls(kind: str, count: int) -> Calls:
    """Let one run call everything once, beside so many others that have published."""
    world = World()
    made = service(kind, world)
    made.is_free = True
    fleet = Fleet(world, made)
    with world.installed():
        publish_others(made, count - 1)
        made.is_free = False
        fleet.runs.append(me := Run(fleet, 0))
        opening = _measured(made, world, me.begin)
        me.do(world.now)
        publication = _measured(made, world, lambda: me.replica.flush(1e6))
        made.is_free = True
        publish_again(made)
        made.is_free = False
        refresh = _measured(made, world, me.replica.refresh)
        records, size = made.stored()
        shelf, clock = me.replica.shelf, HybridClock(world.time)
        folding = _measured(made, world, lambda: fold(shelf, me.replica.kind_of, clock))
        afterwards = _measured(made, world, me.replica.refresh)
    return Calls(opening, publication, refresh, folding, afterwards, records, size)


def _measured(made: Any, world: World, call: Callable[[], object]) -> Call:
    before, began, sent = Counter(made.requests), world.now, made.sent
    busy = made.busy if isinstance(made, Database) else 0.0
    call()
    later = made.busy if isinstance(made, Database) else 0.0
    found = Counter(made.requests)
    found.subtract(before)
    return Call(+found, world.now - began, later - busy, made.sent - sent)


class Demand(NamedTuple):
    """What runs ask of a store together.

    Attributes:
        requests: Requests a second, by kind.
        busy: The part of the time for which they occupy a database.
        dollars: Dollars a day.
    """

    requests: Counter[str]
    busy: float
    dollars: float


def demand(kind: str, count: int, points: Mapping[int, Calls], readers: float) -> Demand:
    """Give what follows from the calls of one run.

    Args:
        kind: The store.
        count: How many runs publish.
        points: What calls take beside some numbers of runs. Between these it changes evenly.
        readers: How many runs refresh.
    """
    above = min((n for n in points if n >= count), default=max(points))
    below = max((n for n in points if n <= count), default=min(points))
    share = 0.0 if above <= below else (count - below) / (above - below)
    requests = Counter[str]()
    busy = 0.0
    for each, weight in ((points[below], 1 - share), (points[above], share)):
        rates = (
            (each.publication, count / _period(kind)),
            (each.refresh, readers / TERMS[kind].refresh),
        )
        for call, rate in rates:
            busy += call.busy * rate * weight
            for name, number in call.requests.items():
                requests[name] += number * rate * weight  # type: ignore[assignment]
    return Demand(requests, busy, dollars_a_day(TERMS[kind].prices, requests))


def _period(kind: str) -> float:
    return period(Fleet(World(), service(kind, World())).debounce)


class Figures:
    """What was found of one store.

    Args:
        kind: The store.
        sizes: How many runs there are, in the calls of one.
        together: How many work at the same time.
    """

    def __init__(self, kind: str, sizes: Sequence[int], together: Sequence[int]) -> None:
        self.kind = kind
        self.title: str = TERMS[kind].title
        self.points: dict[int, Calls] = {
            count: calls(kind, count) for count in sorted({*sizes, *together, *CROWDED})
        }
        self.calls: dict[int, Calls] = {count: self.points[count] for count in sizes}
        self.observed: dict[int, Observed] = {}
        for count in together:
            seconds = REFRESHES.get(count, 1.5) * TERMS[kind].refresh
            self.observed[count] = observe(kind, count, seconds)

    def most(self, readers: float) -> tuple[int, str]:
        """Find from how many runs on the store cannot do what they ask for, and why.

        Args:
            readers: The part of the runs that refreshes.
        """
        made = service(self.kind, World())
        low, high, why = 1, 1 << 20, ""
        while high - low > max(1, low // 50):
            middle = (low + high) // 2
            asked = demand(self.kind, middle, self.points, readers * middle)
            part, limit = busiest(made, asked.requests, asked.busy)
            if part < 1:
                low = middle
            else:
                high, why = middle, limit
        return high, why


def terms(kinds: Sequence[str]) -> Iterator[str]:
    """Give a table of what is assumed of the stores."""
    yield "What is assumed. Published by the services: limits and prices. Assumed: all times."
    yield ""
    yield from head(
        ["", "ms a trip", "limit", "dollars for 1,000", "published after s", "refreshed every s"]
    )
    for kind in kinds:
        each = TERMS[kind]
        if isinstance(service(kind, World()), Database):
            limit = "; ".join(
                f"{shown(seconds * 1e6)} µs a {name}"
                for name, seconds in each.limits.items()
                if name != "byte"
            )
        else:
            limit = "; ".join(f"{rate:,.0f} {name}/s" for name, rate in each.limits.items())
        prices = (
            "; ".join(f"{name} {price:g}" for name, price in each.prices.items()) or "the server"
        )
        debounce = Fleet(World(), service(kind, World())).debounce
        yield line(
            [
                each.title,
                shown(each.latency * 1000),
                limit,
                prices,
                shown(debounce),
                shown(each.refresh),
            ]
        )


def of_calls(figures: Sequence[Figures]) -> Iterator[str]:
    """Give a table of what the calls of one run take, beside others."""
    yield "Calls of one run beside others: requests, dollars for 1,000 calls, seconds."
    yield ""
    names = ("opening", "publication", "refresh", "fold", "refresh after it")
    yield from head(["", "runs", *names, "records", "kB"])
    for each in figures:
        for count, found in each.calls.items():
            cells = [_cell(each.kind, call) for call in found[:5]]
            size = shown(found.size / 1000)
            yield line([each.title, f"{count:,}", *cells, f"{found.records:,}", size])


def _cell(kind: str, call: Call) -> str:
    price = sum(TERMS[kind].prices.get(name, 0.0) * n for name, n in call.requests.items())
    cost = f"${shown(price)}, " if TERMS[kind].prices else ""
    return f"{call.requests.total():,}; {cost}{shown(call.seconds)} s"


def together(figures: Sequence[Figures]) -> Iterator[str]:
    """Give a table of runs that work at the same time."""
    yield (
        "Runs that work at the same time; one of them refreshes. In parentheses what follows from "
        "the calls, if nothing is refused and nobody waits."
    )
    yield ""
    columns = (
        "publications/s",
        "requests/s",
        "dollars a day",
        "refused",
        "seen after s, p50 / p99",
    )
    yield from head(["", "runs", *columns, "records", "kB", "failed"])
    for each in figures:
        for count, found in each.observed.items():
            asked = demand(each.kind, count, each.points, 1)
            published = f"{shown(found.published)} ({shown(found.wanted)})"
            requests = f"{shown(sum(found.requests.values()))} ({shown(asked.requests.total())})"
            prices = TERMS[each.kind].prices
            dollars = f"{shown(found.dollars)} ({shown(asked.dollars)})" if prices else ""
            lag = "–" if found.lag is None else " / ".join(map(shown, found.lag))
            failed = ", ".join(f"{n} × {name}" for name, n in sorted(found.failed.items()))
            cells = [published, requests, dollars, f"{found.refused:.0%}", lag]
            kilobytes = shown(found.size / 1000)
            yield line(
                [each.title, f"{count:,}", *cells, f"{found.records:,}", kilobytes, failed or "–"]
            )


def limits(figures: Sequence[Figures]) -> Iterator[str]:
    """Give a table of the limits that are met first."""
    count = SIZES[-1]
    yield (
        "The limit that is met first, and from how many runs on, if none reads or each refreshes "
        f"at the given interval; and what {count:,} runs that do not read would ask for: times of "
        "that limit, dollars a day."
    )
    yield ""
    columns = ("none reads", "limit", "each refreshes", "limit", f"{count:,} runs", "dollars a day")
    yield from head(["", *columns])
    for each in figures:
        alone, why = each.most(0.0)
        reading, reason = each.most(1.0)
        asked = demand(each.kind, count, each.points, 0)
        made = service(each.kind, World())
        part = _part(made, asked)
        dollars = shown(asked.dollars) if TERMS[each.kind].prices else ""
        cells = [f"{alone:,}", why, f"{reading:,}", reason, f"{shown(part)} ×", dollars]
        yield line([each.title, *cells])


def _part(made: Service, asked: Demand) -> float:
    return busiest(made, asked.requests, asked.busy)[0]


def page(
    kinds: Sequence[str], sizes: Sequence[int] = SIZES, counts: Sequence[int] = TOGETHER
) -> Iterator[str]:
    """Simulate; give the lines of a part of a page."""
    yield (
        f"Each run does a page in {PAGE:.0f} s, counts it under two keys, and collects each tenth. "
        "It publishes at the default interval, as long as there is something new."
    )
    yield ""
    yield from terms(kinds)
    figures = [Figures(kind, sizes, counts) for kind in kinds]
    for table in (of_calls, together, limits):
        yield ""
        yield from table(figures)


def main() -> None:
    """Simulate, print, and write if wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="a page with the marks of a part")
    parser.add_argument("--only", nargs="+", choices=TERMS, default=[*TERMS])
    given = parser.parse_args()
    try:
        found = "\n".join(page(given.only))
    except AutostateError as error:
        parser.exit(1, f"the simulation has failed: {error}\n")
    print(found)
    if given.into:
        before, _, rest = given.into.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        given.into.write_text(f"{before}{BEGIN}\n{found}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

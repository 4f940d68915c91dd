"""Runs that count and collect together, in virtual time, by the library's own code.

Each run does a page every second: it counts it under two keys, and adds each tenth to a set. It
publishes as `shared/home.py` does, `debounce` after the first change and after a pause if that has
failed. One of them refreshes regularly, as a dashboard does.
"""

from __future__ import annotations

import os
import statistics
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from autostate.errors import AutostateError
from autostate.settings import Settings
from autostate.shared.clock import HybridClock
from autostate.shared.counter import SharedCounter
from autostate.shared.fold import fold
from autostate.shared.home import FIRST_PAUSE, LONGEST_PAUSE
from autostate.shared.kinds import COUNTER, SET, Kind
from autostate.shared.line import LINES, Line, LineKey, sealed
from autostate.shared.replica import Replica
from autostate.shared.set import SharedSet
from autostate.shared.shelf import Shelf
from autostate.shared.writer import Writer
from benchmarks.simulated_stores import Database, Service, service
from benchmarks.virtual_time import World

PAGE: Final = 1.0
"""Seconds from page to page."""
DAY: Final = 86_400
COLLECTED: Final = 10
"""Each page of so many is collected."""
PAGES: Final = 100
"""So many pages each of the other runs has done."""


class Run:
    """A run: one process with shared objects.

    Args:
        fleet: All runs.
        number: Its number.
    """

    def __init__(self, fleet: Fleet, number: int) -> None:
        world = fleet.world
        self.fleet = fleet
        self.number = number
        self.replica = Replica(fleet.service.store(), now=world.time)
        self.made: list[float] = []
        self._numbers: list[int] = []
        self._known: Counter[str] = Counter()

    def begin(self) -> None:
        """Open the objects, as soon as the store answers."""
        world = self.fleet.world
        while True:
            try:
                opened: Any = self.replica.open
                self.hits = opened("hits", COUNTER, lambda made: SharedCounter._made_(made, {}))
                self.seen = opened("seen", SET, lambda made: SharedSet._made_(made, {}))
            except AutostateError:
                self.fleet.failed["open"] += 1
                world.sleep(FIRST_PAUSE)
            else:
                return

    def work(self) -> None:
        """Do pages, publish and refresh for ever."""
        world, fleet = self.fleet.world, self.fleet
        self.begin()
        page = world.now + world.rng.uniform(0, PAGE)
        refresh = world.now + fleet.refresh if self.number == 0 else 1e18
        publish, pause = 1e18, 0.0
        while True:
            world.wait_until(min(page, publish, refresh))
            while page <= world.now:
                self.do(page)
                publish = min(publish, page + (pause or fleet.debounce))
                page += PAGE
            if publish <= world.now:
                pause = self._publish(pause)
                publish = world.now + pause if pause else 1e18
            if refresh <= world.now:
                self._refresh()
                refresh = max(refresh + fleet.refresh, world.now)

    def do(self, when: float) -> None:
        """Do a page."""
        self.hits["pages"] += 1
        self.hits[f"status {200 + len(self.made) % 4}"] += 1
        if not len(self.made) % COLLECTED:
            self.seen.add(f"https://shop.example.com/{self.number}/product/{len(self.made)}")
        self.made.append(when)
        self._numbers.append(self.replica.writer.number)

    def _publish(self, pause: float) -> float:
        """Publish; return for how long to wait if that has failed."""
        try:
            self.replica.flush(self.fleet.timeout)
        except AutostateError:
            self.fleet.failed["publish"] += 1
            return min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.fleet.published += 1
        return 0.0

    def _refresh(self) -> None:
        began = self.fleet.world.now
        try:
            self.replica.refresh()
        except AutostateError:
            self.fleet.failed["refresh"] += 1
            return
        self.fleet.refreshed.append(self.fleet.world.now - began)
        self._look()

    def _look(self) -> None:
        """Note how long each page took to arrive in this view."""
        reading: Any = self.replica._reading
        numbers = {who: number for who, (_, number) in reading.base.taken.items()}
        for key, line in reading.lines.items():
            numbers[key.writer] = max(line.number, numbers.get(key.writer, 0))
        now, runs = self.fleet.world.now, self.fleet.by_writer
        for who, number in numbers.items():
            if who != self.replica.writer.id and who in runs:
                arrived = bisect_right(runs[who]._numbers, number)
                if who in self._known:  # what is older was there before this run
                    self.fleet.lags += (now - t for t in runs[who].made[self._known[who] : arrived])
                self._known[who] = arrived


@dataclass
class Fleet:
    """All runs, and what is observed of them.

    Attributes:
        world: Where they run.
        service: On which store.
        debounce: Seconds from a change to its publication.
    """

    world: World
    service: Service
    runs: list[Run] = field(default_factory=list)
    published: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    refreshed: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        with patch.dict(os.environ, APIFY_IS_AT_HOME="1"):  # else the store is a local folder
            settings = Settings.for_store(self.service.terms.url)
        self.refresh = self.service.terms.refresh
        self.debounce, self.timeout = settings.debounce, settings.flush_timeout

    @property
    def by_writer(self) -> dict[str, Run]:
        """The runs by the names of their writers."""
        return {run.replica.writer.id: run for run in self.runs}

    def start(self, count: int, within: float) -> None:
        """Let runs begin, one after another."""
        for number in range(len(self.runs), len(self.runs) + count):
            self.runs.append(Run(self, number))
            self.world.start(self.runs[-1].work, self.world.now + number * within / count)

    def reset(self) -> None:
        """Forget what was observed."""
        self.published = 0
        for each in (self.failed, self.refreshed, self.lags, self.service.requests):
            each.clear()
        self.service.refused = self.service.sent = 0
        if isinstance(self.service, Database):
            self.service.busy = 0.0


class Observed(NamedTuple):
    """What was observed of runs.

    Attributes:
        runs: How many there were.
        seconds: For how long.
        published: Publications a second.
        wanted: As many there would be if nothing had to wait.
        requests: Requests a second, by kind.
        dollars: Dollars a day.
        refused: The part of the requests that were refused.
        busy: The part of its limit that the store has served, and which limit that is.
        lag: Seconds from a page to the view of another run, p50 and p99.
        records: How many there are.
        size: Bytes of them.
        failed: How many calls failed, by kind.
    """

    runs: int
    seconds: float
    published: float
    wanted: float
    requests: dict[str, float]
    dollars: float
    refused: float
    busy: tuple[float, str]
    lag: tuple[float, float] | None
    records: int
    size: int
    failed: dict[str, int]


def period(debounce: float) -> float:
    """Give the seconds from publication to publication: the next change is on the next page."""
    return (debounce // PAGE + 1) * PAGE


def dollars_a_day(prices: Mapping[str, float], requests: Mapping[str, float]) -> float:
    """Give the price of requests a second."""
    return sum(rate * prices.get(kind, 0.0) for kind, rate in requests.items()) * DAY / 1000


def busiest(made: Service, requests: Mapping[str, float], busy: float = 0.0) -> tuple[float, str]:
    """Give the part of its limit that requests a second use, of the limit of which it is most."""
    limits = made.terms.limits
    if isinstance(made, Database):
        return busy, "time of the server"
    used = dict.fromkeys((*limits, *requests), 0.0)
    for kind, rate in requests.items():
        used["records" if "records" in limits and kind != "list" else kind] += rate
    return max((rate / limits[kind], kind) for kind, rate in used.items() if kind in limits)


def observe(kind: str, count: int, seconds: float) -> Observed:
    """Let runs begin on a store that takes no time, and observe them afterwards."""
    world = World()
    made = service(kind, world)
    fleet = Fleet(world, made)
    made.is_free, warm_up = True, fleet.refresh
    publish_others(made, 1, folded=True)
    fleet.start(count, warm_up)
    world.run(warm_up)
    made.is_free = False
    fleet.reset()
    world.run(warm_up + seconds)
    requests = {name: number / seconds for name, number in made.requests.items()}
    lags = sorted(fleet.lags)
    lag = (statistics.median(lags), lags[len(lags) * 99 // 100]) if lags else None
    tried = made.requests.total() + (0 if kind == "s3" else made.refused)
    busy = made.busy / seconds if isinstance(made, Database) else 0.0
    return Observed(
        count,
        seconds,
        fleet.published / seconds,
        count / period(fleet.debounce),
        requests,
        dollars_a_day(made.terms.prices, requests),
        made.refused / max(1, tried),
        busiest(made, requests, busy),
        lag,
        *made.stored(),
        dict(fleet.failed),
    )


def publish_others(made: Service, count: int, *, folded: bool = False) -> None:
    """Store what others have published, by writers that have been there for a while.

    They have published in three generations, of which two are folded: so a fold knows by now that
    so many lineages are of writers that live.

    Args:
        made: The service.
        count: How many there are.
        folded: Leave the third generation out.
    """
    shelf = Shelf(made.store())
    clock, lock = HybridClock(), threading.RLock()
    writers = [Writer(shelf, _kind, clock, lock) for _ in range(count)]
    for generation in (1, 2) if folded else (1, 2, 3):
        records = {}
        for number, writer in enumerate(writers):
            writer.number += PAGES
            writer.pending = []
            counts = {"pages": PAGES, **{f"status {200 + n}": PAGES // 4 for n in range(4)}}
            writer.add("hits", COUNTER, counts)
            for page in range(0, PAGES, COLLECTED):
                member = f"https://shop.example.com/{number}/product/{generation * PAGES + page}"
                writer.add("seen", SET, {member: SET.entry(member, True, None, writer)})
            key = LineKey(generation, writer.id, 0, 0)
            records[key.text] = sealed(key, Line(writer.number, writer.pending[-1].objects))
        if records:
            shelf.store.write(records)
        if generation < 3:
            fold(shelf, _kind, clock)


def publish_again(made: Service) -> None:
    """Let all lineages be written again: who refreshes has to read them."""
    store = Shelf(made.store()).store
    store.write(store.scan([LINES]))


def _kind(_: str, kind_name: str) -> Kind:
    return SET if kind_name == "set" else COUNTER

"""The protocol of shared state, over a store on which everything can go wrong.

Several processes publish, read and fold. At every step of one of them another one may do something,
the process may be killed, the step may fail, with or without its effect, and a write may happen
much later. At the end all that is alive publishes, and the counts must be exact.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any, Final

import pytest

from autostate.errors import StoreUnavailableError
from autostate.shared import fold as folding, patience, replica as replicas
from autostate.shared.kinds import COUNTER, SET
from autostate.shared.replica import Replica, Shared
from autostate.shared.shelf import ClosedError
from tests.campaign import LONG, Tally, size
from tests.faulty import SHARING_STORES, FaultyStore, KilledError, Promises, Records, Step

NARROW: Final = 150
"""Bytes of the objects in a lineage where records are small: those of some keys."""
SEEDS: Final = size("SHARED", 0) // 50 or 8


class Process:
    """A process that counts and collects, and knows what was acknowledged to it."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.made = 0
        self.acknowledged = 0
        self.members: set[str] = set()
        self.sure: set[str] = set()
        self.gone: set[str] = set()
        self.is_busy = False
        self.is_dead = False
        self.world = world
        store = FaultyStore(world.records, world.stepper(self), **world.promises)
        self.replica = Replica(store, now=lambda: world.rng.uniform(-1e5, 1e5) + 1e9)
        if world.narrow:
            self.replica.shelf.room = NARROW
        self.objects: dict[str, Shared] = {}
        self.hits: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.views: Counter[str] = Counter()

    def begin(self) -> None:
        """Open two objects."""
        self.hits = self.replica.open("hits", COUNTER, lambda made: self._note(made, Counter()))
        self.seen = self.replica.open("seen", SET, lambda made: self._note(made, set()))

    def _note(self, made: Shared, container: Any) -> Any:
        self.objects[made.name] = made
        return container

    def act(self) -> None:
        """Do something."""
        rng = self.world.rng
        self.is_busy = True
        try:
            if not self.objects.keys() >= {"hits", "seen"}:
                self.begin()
                return
            action = rng.choice(
                [self.count, self.count, self.collect, self.publish, self.publish, self.read]
            )
            if rng.random() < 0.1:
                action = self.fold
            action()
        except (StoreUnavailableError, ClosedError):
            pass
        except KilledError:
            self.is_dead = True
        finally:
            self.is_busy = False

    def count(self) -> None:
        self.made += 1
        self.objects["hits"].write({self.name: 1, "all": 1})

    def collect(self) -> None:
        rng = self.world.rng
        if self.members and rng.random() < 0.4:
            member = rng.choice(sorted(self.members))
            self.members.discard(member)
            self.objects["seen"].write({member: False})
        else:
            count = 5 if self.world.narrow else 1
            members = {f"{self.name}-{rng.randrange(6 * count)}" for _ in range(count)}
            self.members |= members
            self.objects["seen"].write(dict.fromkeys(members, True))

    def publish(self) -> None:
        made, members = self.made, set(self.members)
        self.replica.writer.publish()
        assert self.made == made
        self.acknowledged = made
        self.sure = members

    def read(self) -> None:
        self.replica.refresh()
        self.check_view()

    def check_view(self) -> None:
        """Never less than what was seen before; all own changes at once."""
        assert self.hits[self.name] == self.made, (self.name, self.hits, self.made)
        assert {m for m in self.seen if m.startswith(f"{self.name}-")} == self.members
        for name, count in self.views.items():
            assert self.hits[name] >= count, (name, self.hits, self.views)
        self.views = Counter(self.hits)

    def fold(self) -> None:
        folding.fold(self.replica.shelf, self.replica.kind_of, self.replica._clock)


class Time:
    """A clock that moves while somebody sleeps; others do something meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now: float = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        if not self._world.is_calm and self._world.rng.random() < 0.1:
            self._world.nested_turn()

    def after(self, seconds: float) -> Time:
        """Make a deadline."""
        made = Time(self._world)
        made._now = self._now + seconds
        return made

    def left(self) -> float:
        left: float = self._now - self._world.time._now
        return max(0.0, left)


class World:
    """Processes, a store, and what goes wrong."""

    def __init__(self, promises: Promises, seed: int, *, narrow: bool = False) -> None:
        self.rng = random.Random(seed)
        self.promises = promises
        self.narrow = narrow
        self.records: Records = {}
        self.late: list[Step] = []
        self.time: Any = Time(self)
        self.is_calm = False
        self.depth = 0
        self.trouble = self.rng.choice([0.0, 0.02, 0.1])
        self.interleaving = self.rng.choice([0.0, 0.2, 0.5])
        self.processes = [Process(self, f"p{n}") for n in range(4)]
        self.born = 4

    def stepper(self, process: Process) -> Any:
        """Make the function through which the steps of a process pass."""

        def on_step(step: Step) -> None:
            rng = self.rng
            if self.is_calm:
                step.apply()
                return
            if rng.random() < self.interleaving * 0.1**self.depth:
                self.nested_turn()
            luck = rng.random()
            if luck < self.trouble / 30:
                raise KilledError
            if luck < self.trouble / 2:
                step.apply()
                if step.writes:
                    raise StoreUnavailableError("answer lost")
                return
            if luck < self.trouble:
                if step.writes and rng.random() < 0.7:
                    self.late.append(step)
                raise StoreUnavailableError("unreachable")
            step.apply()

        return on_step

    def nested_turn(self) -> None:
        """Let others do something in the middle of a step."""
        if self.depth < 3:
            self.depth += 1
            self.turn()
            self.depth -= 1

    def turn(self) -> None:
        """Let a process do something, or a late write arrive."""
        if self.late and self.rng.random() < 0.1:
            self.arrive()
        idle = [each for each in self.processes if not (each.is_busy or each.is_dead)]
        if idle:
            self.rng.choice(idle).act()
        if self.rng.random() < 0.03:
            self.processes.append(Process(self, f"p{self.born}"))
            self.born += 1

    def arrive(self) -> None:
        step = self.late.pop(self.rng.randrange(len(self.late)))
        with suppress(Exception):  # a store refuses it, and tells nobody
            step.apply()

    def end(self) -> None:
        """Let everything arrive, everybody publish, and check."""
        self.is_calm = True
        alive = [each for each in self.processes if not each.is_dead and len(each.objects) == 2]
        for each in alive:
            each.replica.flush(60.0)
            each.acknowledged, each.sure = each.made, set(each.members)
        while self.late:
            self.arrive()
        self.check()
        if alive:
            alive[0].fold()
            alive[0].fold()
        self.check()

    def check(self) -> None:
        """Count what is there, as a new process does."""
        reader = Process(self, "reader")
        reader.begin()
        for each in self.processes:
            assert each.acknowledged <= reader.hits[each.name] <= each.made, (
                each.name,
                each.is_dead,
                each.acknowledged,
                reader.hits[each.name],
                each.made,
            )
            if not each.is_dead:
                theirs = {m for m in reader.seen if m.startswith(f"{each.name}-")}
                assert theirs == each.sure, (each.name, theirs, each.sure)
        if self.narrow:  # a call may be published in two portions
            low, high = (
                sum(p.acknowledged for p in self.processes),
                sum(p.made for p in self.processes),
            )
            assert low <= reader.hits["all"] <= high
        else:
            assert reader.hits["all"] == sum(n for name, n in reader.hits.items() if name != "all")


@pytest.mark.campaign(name="shared")
@pytest.mark.parametrize("narrow", [False, True], ids=["", "narrow"])
@pytest.mark.parametrize("store", SHARING_STORES)
def test_all_that_was_acknowledged_is_there_once(
    store: str, narrow: bool, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """Whatever fails, at whichever step, and however late writes arrive; in small records, too."""
    for seed in range(SEEDS):
        try:
            world = World(SHARING_STORES[store], seed, narrow=narrow)
            monkeypatch.setattr(replicas, "time", world.time)
            monkeypatch.setattr(patience, "time", world.time)
            monkeypatch.setattr(replicas, "Deadline", world.time)
            for _ in range(150 if not LONG else 400):
                world.turn()
            world.end()
            tally.tried()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise

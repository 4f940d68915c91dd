from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from autostate.errors import StoreUnavailableError
from autostate.journal import Journal, Recovered
from autostate.stores import Store
from tests import faulty
from tests.faulty import STORES, FaultyStore, KilledError, Promises, Step

Changes = list[bytes]
State = dict[str, Any]


@pytest.fixture(params=list(STORES))
def promises(request: pytest.FixtureRequest) -> Promises:
    """What a store promises."""
    return STORES[request.param]


def change(**fields: Any) -> bytes:
    """Encode a change."""
    return msgspec.json.encode(fields)


def journal(store: Store, **arguments: Any) -> Journal:
    """Make a journal in which everything happens that otherwise needs megabytes."""
    tokens = (f"t{number}" for number in itertools.count(1))
    defaults: dict[str, Any] = {"inline_limit": 150, "part_limit": 700}
    defaults |= {"token": lambda: next(tokens), "clock": lambda: 1.5}
    return Journal(store, **defaults | arguments)


def content(recovered: Recovered) -> State:
    """The content of all roots by name."""
    return {node.name: node.content for node in recovered.nodes.values() if node.name}


def stored(records: faulty.Records, promises: Promises) -> State:
    """What a fresh process finds."""
    return content(journal(FaultyStore(records, **promises)).recover())


BEGIN: Changes = [
    change(id=1, kind="dict", name="pages", assign={}),
    change(id=2, kind="list", name="log", assign=[]),
]


@dataclass
class Program:
    """A program that changes its state and saves it: the model and the process in one.

    Attributes:
        states: The state after each commit; those before `acknowledged` may not be found any more.
    """

    journal: Journal
    states: list[State] = field(default_factory=lambda: [{}])
    acknowledged: int = 0
    retry: str = "same"

    def run(self, commits: int = 14) -> None:
        """Make commits, of which some are large and some delete; compact now and then."""
        self.save(BEGIN, {"pages": {}, "log": []})
        for number in range(1, commits):
            size = 400 if number % 5 == 3 else 1800 if number == 7 else 20
            self.step(number, "x" * size)
            if number % 6 == 0:
                self.compact()

    def step(self, number: int, value: str) -> None:
        """Put one page, drop an older one, and add to the log."""
        now = self.states[-1]
        pages = {key: old for key, old in now["pages"].items() if key != f"p{number - 4}"}
        changes = [
            change(id=1, drop=[f"p{number - 4}"], put={f"p{number}": value}),
            change(id=2, at=len(now["log"]), splice=[number]),
        ]
        self.save(changes, {"pages": pages | {f"p{number}": value}, "log": [*now["log"], number]})

    def save(self, changes: Changes, state: State) -> None:
        """Commit until it is acknowledged; as the flusher does, with the same or with more."""
        self.states.append(state)
        while True:
            try:
                self.journal.commit(changes)
                self.journal.check_owner()
            except StoreUnavailableError:
                if self.retry == "more":
                    changes = [*changes, change(id=2, at=len(state["log"]), splice=["more"])]
                    state = state | {"log": [*state["log"], "more"]}
                    self.states.append(state)
                continue
            break
        self.acknowledged = len(self.states) - 1

    def compact(self) -> None:
        """Compact; if it does not work, leave it."""
        with suppress(StoreUnavailableError):
            self.journal.compact(pause=lambda: None)


def count_steps(promises: Promises) -> int:
    """How many steps the whole program takes."""
    store = FaultyStore({}, **promises)
    program = Program(journal(store))
    program.journal.recover()
    program.run()
    return store.steps


def run_until_killed(store: FaultyStore) -> Program:
    """Run the program for as long as it lives."""
    program = Program(journal(store, token=lambda: "first"))
    try:
        program.journal.recover()
        program.run()
    except KilledError:
        pass
    return program


KILLS = [faulty.kill_before, faulty.kill_after]


@pytest.mark.parametrize("kill", KILLS)
def test_a_kill_at_any_step_loses_nothing_acknowledged(
    promises: Promises, kill: Callable[[int], Callable[[Step], None]]
) -> None:
    """Wherever a process dies, the next finds the last acknowledged state, or the one after."""
    for number in range(count_steps(promises)):
        records: faulty.Records = {}
        program = run_until_killed(FaultyStore(records, kill(number), **promises))
        assert stored(records, promises) in program.states[program.acknowledged :], number


@pytest.mark.parametrize("kill", KILLS)
def test_a_second_kill_during_the_recovery_loses_nothing(
    promises: Promises, kill: Callable[[int], Callable[[Step], None]]
) -> None:
    """A successor that dies too, anywhere in its own recovery, takeover or compaction."""
    for number in range(0, count_steps(promises), 3):
        records: faulty.Records = {}
        program = run_until_killed(FaultyStore(records, faulty.kill_before(number), **promises))
        for second in itertools.count():
            copy = dict(records)
            store = FaultyStore(copy, kill(second), **promises)
            later = successor(store, program)
            found = stored(copy, promises)
            assert found in later.states[later.acknowledged :], (number, second)
            if not store.dead:
                break


def successor(store: FaultyStore, before: Program) -> Program:
    """Go on where a killed program ended, for as long as it lives."""
    later = Program(journal(store, token=lambda: "second"), before.states[before.acknowledged :])
    try:
        found = content(later.journal.recover())
        later.states = [found]
        if not found:
            later.save(BEGIN, {"pages": {}, "log": []})
        later.step(90, "y")
        later.compact()
        later.step(91, "y" * 300)
    except KilledError:
        pass
    return later


@pytest.mark.parametrize("retry", ["same", "more"])
@pytest.mark.parametrize("fault", [faulty.unreachable, faulty.answer_lost])
def test_a_fault_at_any_step_is_survived(
    promises: Promises, retry: str, fault: Callable[[int], Callable[[Step], None]]
) -> None:
    """A step that fails, whether it happened or not, changes nothing about what is saved."""
    for number in range(2, count_steps(promises)):
        records: faulty.Records = {}
        program = Program(journal(FaultyStore(records, **promises)), retry=retry)
        program.journal.recover()
        program.journal._store.on_step = fault(number)  # type: ignore[attr-defined]
        program.run()
        assert stored(records, promises) == program.states[-1], number


@pytest.mark.parametrize("retry", ["same", "more"])
@pytest.mark.parametrize("atomic", [False, True])
def test_a_late_duplicate_overwrites_nothing(retry: str, atomic: bool) -> None:
    """A write that timed out and lands later, after any number of others, is without effect."""
    promises: Promises = {"atomic": atomic, "conditional": False}
    steps = count_steps(promises)
    for number, delay in itertools.product(range(2, steps), (1, 2, 3, 4, 6, 9, 14, 25)):
        records: faulty.Records = {}
        program = Program(journal(FaultyStore(records, **promises)), retry=retry)
        program.journal.recover()
        program.journal._store.on_step = faulty.late(number, delay)  # type: ignore[attr-defined]
        program.run()
        assert stored(records, promises) == program.states[-1], (number, delay)

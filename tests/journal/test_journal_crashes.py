"""A crash, fault or late request at any step of a program on a journal loses nothing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from autostate.journal import compaction
from autostate.journal.head import Head
from tests import faulty
from tests.campaign import LONG, Tally, sampled
from tests.faulty import FaultyStore, KilledError, Promises, Step
from tests.journal.changes import BEGIN, KEEP, Program, check_past, content, journal, past, stored


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold a few small commits already, as happens with a large snapshot."""
    monkeypatch.setattr(compaction, "FLOOR", 1)
    monkeypatch.setattr(compaction, "_CHEAP", 1)
    monkeypatch.setattr(compaction, "_FOLDED", 1)


@pytest.fixture(autouse=True, params=["no history", "history"])
def keeps(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the journals keep a history, of all commits."""
    on = request.param == "history"
    KEEP.extend([(0.0, 10**6)] if on else [])
    yield on
    KEEP.clear()


def check_history(
    records: faulty.Records, promises: Promises, program: Program, *before: Program
) -> None:
    """Every commit reads back as it was; see `check_past`."""
    check_past(past(records, promises), stored(records, promises), program, *before)


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


@pytest.mark.campaign(name="crashes")
@pytest.mark.parametrize("kill", KILLS)
def test_a_kill_at_any_step_loses_nothing_acknowledged(
    promises: Promises, folding: None, kill: Callable[[int], Callable[[Step], None]], tally: Tally
) -> None:
    """Wherever a process dies, the next finds the last acknowledged state, or the one after."""
    for number in range(count_steps(promises)):
        records: faulty.Records = {}
        program = run_until_killed(FaultyStore(records, kill(number), **promises))
        assert stored(records, promises) in program.states[program.acknowledged :], number
        check_history(records, promises, program)
        tally.tried()


@pytest.mark.campaign(name="crashes")
@pytest.mark.parametrize("kill", KILLS)
def test_a_second_kill_during_the_recovery_loses_nothing(
    promises: Promises,
    folding: None,
    kill: Callable[[int], Callable[[Step], None]],
    rng: random.Random,
    tally: Tally,
    *,
    keeps: bool,
) -> None:
    """A successor that dies too, anywhere in its own recovery, takeover or compaction."""
    stride = 3 if LONG else 27 if keeps else 9
    for number in range(rng.randrange(stride), count_steps(promises), stride):
        records: faulty.Records = {}
        program = run_until_killed(FaultyStore(records, faulty.kill_before(number), **promises))
        for second in itertools.count():
            copy = dict(records)
            store = FaultyStore(copy, kill(second), **promises)
            later = successor(store, program)
            found = stored(copy, promises)
            assert found in later.states[later.acknowledged :], (number, second)
            check_history(copy, promises, later, program)
            tally.tried()
            if not store.dead:
                break


def successor(store: FaultyStore, before: Program) -> Program:
    """Go on where a killed program ended, for as long as it lives."""
    later = Program(journal(store, token=lambda: "second"), before.states[before.acknowledged :])
    try:
        found = content(later.journal.recover())
        later.states = [found]
        log = later.journal._writer.head.log
        later.kept = before.kept if log is None else {**before.kept, log.number: found}
        if not found:
            later.save(BEGIN, {"pages": {}, "log": []})
        later.step(90, "y")
        later.compact()
        later.step(91, "y" * 300)
    except KilledError:
        pass
    return later


@pytest.mark.campaign(name="crashes")
@pytest.mark.parametrize("retry", ["same", "more"])
@pytest.mark.parametrize("fault", [faulty.unreachable, faulty.answer_lost])
def test_a_fault_at_any_step_is_survived(
    promises: Promises,
    folding: None,
    retry: str,
    fault: Callable[[int], Callable[[Step], None]],
    tally: Tally,
) -> None:
    """A step that fails, whether it happened or not, changes nothing about what is saved."""
    for number in range(2, count_steps(promises)):
        records: faulty.Records = {}
        program = Program(journal(FaultyStore(records, **promises)), retry=retry)
        program.journal.recover()
        program.journal._store.on_step = fault(number)  # type: ignore[attr-defined]
        program.run()
        assert stored(records, promises) == program.states[-1], number
        check_history(records, promises, program)
        tally.tried()


@pytest.mark.campaign(name="crashes")
@pytest.mark.parametrize("retry", ["same", "more"])
def test_a_late_duplicate_overwrites_nothing(
    promises: Promises, folding: None, retry: str, rng: random.Random, tally: Tally
) -> None:
    """A write that timed out and lands later, after any number of others, is without effect.

    Also if the process dies at that very moment, before it writes anything that would hide it. And
    its own write is not taken for that of another process which has taken over.
    """
    delays = (1, 2, 3, 4, 5, 6, 9, 14)
    places = itertools.product(range(2, count_steps(promises)), delays, (False, True))
    for number, delay, kill in sampled(rng, places, 30):
        records: faulty.Records = {}
        program = Program(journal(FaultyStore(records, **promises)), retry=retry)
        program.journal.recover()
        store = program.journal._store
        store.on_step = faulty.late(number, delay, kill=kill)  # type: ignore[attr-defined]
        with suppress(KilledError):
            program.run()
        found = stored(records, promises)
        assert found in program.states[program.acknowledged :], (number, delay, kill)
        check_history(records, promises, program)
        tally.tried()


def test_the_program_of_these_tests_meets_everything(
    folding: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kills above hit segments in parts, compactions of both kinds, several generations."""
    folds = []
    fold_from = compaction.fold_from

    def noted(head: Head) -> int | None:
        folds.append(fold_from(head))
        return folds[-1]

    monkeypatch.setattr(compaction, "fold_from", noted)
    records: faulty.Records = {}
    program = Program(journal(FaultyStore(records)))
    program.journal.recover()
    seen: set[str] = set()

    def on_step(step: Step) -> None:
        step.apply()
        seen.update(records)

    program.journal._store.on_step = on_step  # type: ignore[attr-defined]
    program.run()
    assert program.journal._writer.me.attempt >= 1
    assert {fold is None for fold in folds} == {True, False}
    assert any(key.endswith("-3") and "-seg-" in key for key in seen)
    assert len(seen) > len(records)

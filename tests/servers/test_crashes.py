"""A crash, fault or late request at any call of a real store loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial

import pytest

from autostate.errors import FencedError
from autostate.journal import compaction
from autostate.stores import open_store
from tests import faulty
from tests.campaign import Tally, size
from tests.faulty import KilledError, Step, untroubled
from tests.journal.changes import KEEP, Program, State, check_past, content, journal, past_in
from tests.servers.base import Server
from tests.servers.conftest import new_state
from tests.servers.stepping import SteppingStore

pytestmark = pytest.mark.campaign(name="stores")

TRIALS = size("STORES", 5)
"""How many places are tried of each kind."""
OnStep = Callable[[Step], None]


@pytest.fixture(autouse=True)
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold a few small commits already, as happens with a large snapshot."""
    monkeypatch.setattr(compaction, "FLOOR", 1)
    monkeypatch.setattr(compaction, "_CHEAP", 1)
    monkeypatch.setattr(compaction, "_FOLDED", 1)


@contextmanager
def opened(url: str, on_step: OnStep = untroubled) -> Iterator[SteppingStore]:
    """A store of a process of its own."""
    with closing(open_store(url)) as store:
        yield SteppingStore(store, on_step)


def stored(url: str) -> State:
    """What a fresh process finds."""
    with opened(url) as store:
        return content(journal(store).recover())


def run(url: str, on_step: OnStep = untroubled, *, retry: str = "same") -> tuple[Program, int]:
    """Run the program for as long as it lives; return it, and the number of its steps."""
    with opened(url, on_step) as store:
        program = Program(journal(store, token=lambda: "first"), retry=retry)
        with suppress(KilledError):
            program.journal.recover()
            program.run()
        return program, store.steps


@pytest.fixture(scope="session")
def steps(server: Server) -> int:
    """How many steps the program takes."""
    return run(server.url(new_state()))[1]


def places(rng: random.Random, steps: int) -> list[int]:
    """Some of the steps, or all."""
    return sorted(rng.sample(range(2, steps), min(TRIALS, steps - 2)))


@pytest.mark.parametrize("kill", [faulty.kill_before, faulty.kill_after])
def test_a_kill_at_any_call_loses_nothing_acknowledged(
    server: Server, steps: int, kill: Callable[[int], OnStep], rng: random.Random, tally: Tally
) -> None:
    """The next process finds the last acknowledged state, or the one after it; and goes on."""
    for number in places(rng, steps):
        url = server.url(new_state())
        program, _ = run(url, kill(number))
        found = stored(url)
        assert found in program.states[program.acknowledged :], number
        with opened(url) as store:
            later = Program(journal(store, token=lambda: "second"))
            later.states = [content(later.journal.recover())]
            if found:
                later.step(90, "y" * 300)
                later.compact()
                assert stored(url) == later.states[-1], number
        tally.tried()


@pytest.fixture
def history() -> Iterator[None]:
    """The journals keep a history, of all commits."""
    KEEP.append((0.0, 1000))
    yield
    KEEP.clear()


@pytest.mark.parametrize("trouble", [faulty.kill_before, faulty.kill_after, faulty.answer_lost])
def test_no_trouble_at_any_call_loses_a_commit_of_the_history(
    server: Server,
    history: None,
    trouble: Callable[[int], OnStep],
    rng: random.Random,
    tally: Tally,
) -> None:
    """Each that was acknowledged is listed and reads back, also after a later process."""
    _, steps = run(server.url(new_state()))
    for number in places(rng, steps)[::3]:
        url = server.url(new_state())
        program, _ = run(url, trouble(number))
        with opened(url) as store:
            check_past(past_in(store), stored(url), program)
            later = Program(journal(store, token=lambda: "second"))
            later.states = [content(later.journal.recover())]
            later.kept = program.kept
            if later.states[0]:
                later.step(90, "y" * 300)
                later.compact()
                check_past(past_in(store), stored(url), later, program)
        tally.tried()


@pytest.mark.parametrize("retry", ["same", "more"])
@pytest.mark.parametrize("fault", [faulty.unreachable, faulty.answer_lost])
def test_a_fault_at_any_call_is_survived(
    server: Server,
    steps: int,
    rng: random.Random,
    tally: Tally,
    *,
    retry: str,
    fault: Callable[[int], OnStep],
) -> None:
    """Whether the call happened or not; also where the next one fails as well."""
    for number in places(rng, steps):
        for double in (False, True):
            url = server.url(new_state())
            program, _ = run(url, faults(fault, number, double=double), retry=retry)
            assert stored(url) == program.states[-1], (number, double)
            tally.tried()


def faults(fault: Callable[[int], OnStep], number: int, *, double: bool) -> OnStep:
    """A fault at one step, or at two in a row."""
    one, other = fault(number), fault(number + 1)
    return lambda step: (other if double and step.number == number + 1 else one)(step)


@pytest.mark.parametrize("kill", [False, True])
def test_a_late_duplicate_overwrites_nothing(
    server: Server, steps: int, rng: random.Random, tally: Tally, *, kill: bool
) -> None:
    """A write that timed out takes effect after others, or not at all."""
    for number in places(rng, steps):
        url = server.url(new_state())
        on_step = faulty.late(number, rng.choice((1, 2, 3, 5, 9)), kill=kill)
        program, _ = run(url, on_step, retry=rng.choice(("same", "more")))
        assert stored(url) in program.states[program.acknowledged :], number
        tally.tried()


def test_a_paused_writer_is_refused(
    server: Server, steps: int, rng: random.Random, tally: Tally
) -> None:
    """It stood before a write while another process took over; that loses nothing."""
    for number in places(rng, steps):
        url = server.url(new_state())
        states: list[State] = []
        with suppress(FencedError):
            run(url, partial(overtaken, url, number, states))
        assert stored(url) in states or states in ([], [{}]), number
        tally.tried()


def overtaken(url: str, number: int, states: list[State], step: Step) -> None:
    """Let another process take over before a step; note what it has saved."""
    if step.number == number:
        states.append(taken_over(url))
    step.apply()


def taken_over(url: str) -> State:
    """Take the state over, and save something; return what is stored then."""
    with closing(open_store(url)) as store:
        later = Program(journal(store, token=lambda: "second"))
        found = content(later.journal.recover())
        if found:
            later.states = [found]
            later.step(90, "z" * 900)
        return later.states[-1]

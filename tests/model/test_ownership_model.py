from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

from autostate.journal import Journal
from tests.campaign import Tally
from tests.faulty import STORES, FaultyStore, Promises
from tests.journal.changes import change
from tests.model import variants
from tests.model.explore import Explorer, Result, applied
from tests.model.processes import Process, Runner, same_owners, straight

ASKED: Final = os.environ.get("CAMPAIGN_MODEL")
ALL: Final = ASKED == "all"
"""Whether everything is explored, as `make model` does; else what takes a few seconds."""

ONE, SOME, SURE = STORES  # one by one, all at once, conditional
UNSURE = (ONE, SOME)
SAVE = ("recover", "commit", "check")
TWICE = (*SAVE, "commit", "check")
COMPACT = (*SAVE, "compact")
LONG = (*COMPACT, "commit", "check")
EARLY = ("recover", "take over", "commit", "check")
LEASE = ("recover", "take over", "renew", "commit", "check", "compact", "renew", "check")
READ = ("recover",)


class Case(NamedTuple):
    """Some processes on one store.

    Attributes:
        store: What it promises.
        scripts: What each process does.
        faults: How many steps may fail.
        large: Whether the state lies in segments, else in the head.
        stored: Whether there is a state already.
        insists: How often each process displaces one that was faster.
        tries: How often each process tries again, beyond once for each fault: while a claim is
            above its own, an owner may do so for ever.
        moves: How often each process takes over anew above a claim that nothing follows: two could
            outclaim each other for ever.
    """

    store: str
    scripts: tuple[tuple[str, ...], ...]
    faults: int = 0
    large: bool = False
    stored: bool = False
    insists: int = 0
    tries: int = 0
    moves: int = 0

    def __str__(self) -> str:
        told = [", ".join(script) for script in self.scripts]
        scripts = f"{len(told)} x {told[0]}" if len({*told}) == 1 else " | ".join(told)
        marks = ["segments"] * self.large + ["stored"] * self.stored + ["insists"] * self.insists
        marks += ["moves"] * self.moves
        return f"{self.store:11} {self.faults} faults  {' '.join([*marks, '']):16} {scripts}"


def explore(case: Case) -> Result:
    """Go through all that may happen."""
    inline = 0 if case.large else 1000
    processes = [
        Process(
            name, script, inline, case.insists, tries=case.faults + case.tries, moves=case.moves
        )
        for name, script in zip("abc", case.scripts, strict=False)
    ]
    records = seeded(STORES[case.store], inline) if case.stored else {}
    return Explorer(STORES[case.store], processes, records, faults=case.faults).run()


def seeded(promises: Promises, inline: int) -> dict[str, bytes]:
    """What a process leaves that has ended."""
    store = FaultyStore({}, **promises)
    journal = Journal(store, token=lambda: "s", clock=lambda: 1.5, inline_limit=inline)
    with same_owners():
        journal.recover()
        journal.commit([change(id=1, kind="dict", name="pages", assign={"s0": 1})])
        journal.commit([change(id=1, put={"s1": 1})])
    return store.records


def few() -> list[Case]:
    """What takes a few seconds."""
    return [
        *(Case(store, (TWICE, SAVE), moves=1) for store in UNSURE[not ASKED :]),
        *(
            Case(store, (COMPACT, SAVE), large=True, stored=True, moves=1)
            for store in UNSURE[not ASKED :]
        ),
        *(Case(store, (TWICE, TWICE)) for store in STORES),
        *(
            Case(store, (LONG, LONG), large=True, stored=True)
            for store in (ONE, SOME, SURE)[not ASKED :]
        ),
        *(Case(store, (SAVE, SAVE), faults=1) for store in STORES),
        *(Case(store, (LEASE,), faults=2, large=True) for store in STORES),
        Case(SURE, (SAVE, SAVE, SAVE)),
    ]


def many() -> list[Case]:
    """What takes some minutes; the longest first."""
    cases = [Case(store, (EARLY, EARLY), 1, insists=1) for store in STORES]
    cases += [Case(store, (TWICE, TWICE), moves=2) for store in UNSURE]
    cases += [Case(store, (COMPACT, SAVE), large=True, stored=True, moves=2) for store in UNSURE]
    cases += [Case(store, (SAVE, SAVE), 1, moves=1) for store in UNSURE]
    begins = [
        {"large": large, "stored": stored} for large in (True, False) for stored in (True, False)
    ]
    for store in STORES:
        for begin in begins:
            cases += [Case(store, (SAVE, SAVE, SAVE), **begin)]
            cases += [Case(store, (EARLY, EARLY), 0, **begin, insists=1)]
            cases += [Case(store, (SAVE, SAVE), 2, **begin)]
        for stored in (True, False):
            cases += [Case(store, (EARLY, EARLY, EARLY), stored=stored)]
            cases += [Case(store, (LEASE, LEASE), 1, large=True, stored=stored)]
            cases += [Case(store, (LONG, LONG), 1, large=True, stored=stored)]
            cases += [Case(store, (COMPACT, READ), 2, large=True, stored=stored)]
            cases += [Case(store, (TWICE, TWICE), 1, large=False, stored=stored)]
        cases += [Case(store, (COMPACT, COMPACT, READ), large=True, stored=True)]
        for at in (0, 2):
            scripts: list[tuple[str, ...]] = [SAVE, SAVE, SAVE]
            scripts[at] = COMPACT
            cases += [Case(store, tuple(scripts), large=True, stored=True)]
    return cases


@pytest.mark.campaign(name="model")
@pytest.mark.parametrize("case", many() if ALL else few(), ids=str)
def test_nothing_is_lost_in_any_course_of_events(
    case: Case, record_property: Callable[[str, object], None], tally: Tally
) -> None:
    """Whatever order processes make their steps in, and wherever they die: see `explore`."""
    result = explore(case)
    record_property("explored", f"{case}: {told(result)}")
    tally.tried(result.states)
    assert not result.violation, "\n".join(result.trace)
    writers = sum("commit" in script for script in case.scripts)
    assert result.acknowledged == writers, "one after another, each was acknowledged"


def told(result: Result) -> str:
    """The figures."""
    return (
        f"{result.states:,} states, {result.transitions:,} transitions, {result.stores:,} contents "
        f"of the store, {result.violation or 'no violation'}"
    )


BROKEN: Final[dict[variants.Variant, tuple[Case, str]]] = {
    variants.checks_before_the_write: (Case(ONE, (SAVE, SAVE)), "acknowledged, and not found"),
    variants.first_head_is_the_claim: (Case(ONE, (SAVE, SAVE)), "acknowledged, and not found"),
    variants.base_is_not_read_again: (Case(ONE, (SAVE, SAVE)), "acknowledged, and not found"),
    variants.deletes_unchecked: (
        Case(ONE, (COMPACT, SAVE), large=True, stored=True),
        "a recovery fails",
    ),
    variants.reuses_the_head_key: (Case(ONE, (TWICE,), 1), "acknowledged, and not found"),
    # The second head of a process has another key than the first: from the third on they share it.
    variants.forgets_a_lost_answer: (
        Case(ONE, ((*TWICE, "commit", "check", "commit", "check"),), 1),
        "acknowledged, and not found",
    ),
    variants.owner_names_no_later_head: (
        Case(SURE, (LONG, SAVE), large=True, stored=True),
        "acknowledged, and not found",
    ),
    variants.nothing_is_expected: (Case(SURE, (SAVE, SAVE)), "a recovery fails"),
    variants.claims_are_not_counted: (Case(ONE, (SAVE, SAVE)), "that is alone cannot commit"),
    variants.head_before_its_segments: (Case(ONE, (SAVE,), large=True), "a recovery fails"),
    variants.readers_believe_their_first_look: (
        Case(ONE, (COMPACT, READ), large=True, stored=True),
        "b is told",
    ),
    variants.builds_on_its_last_claim: (
        Case(ONE, (TWICE, SAVE), moves=2),
        "acknowledged, and not found",
    ),
    variants.trusts_its_last_check: (Case(ONE, (TWICE, SAVE)), "acknowledged, and not found"),
    variants.rings_too_late: (Case(ONE, (TWICE, SAVE)), "acknowledged, and not found"),
    variants.repeats_a_ring: (Case(ONE, (TWICE, SAVE), 1), "acknowledged, and not found"),
    variants.trusts_a_ring_at_once: (
        Case(ONE, (TWICE, SAVE), tries=1),
        "acknowledged, and not found",
    ),
    variants.a_refusal_is_always_a_takeover: (Case(SURE, (SAVE,), 1), "nobody else has written"),
}


@pytest.mark.campaign(name="model")
@pytest.mark.parametrize("variant", BROKEN, ids=variants.name_of)
def test_a_broken_protocol_is_found(
    variant: variants.Variant,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Each rule of the protocol is needed: without it there is a course of events that loses."""
    case, problem = BROKEN[variant]
    variant(monkeypatch)
    result = explore(case)
    lines = [
        f"{variants.name_of(variant)}: after {result.states:,} states: {result.violation}",
        *result.trace,
    ]
    record_property("found", "\n    ".join(lines))
    assert problem in result.violation


@pytest.mark.parametrize("promises", STORES.values(), ids=STORES.keys())
def test_what_is_explored_is_what_processes_do(promises: Promises, rng: random.Random) -> None:
    """A process that is run in one go makes the steps that were explored one by one."""
    runner = Runner(promises)
    with same_owners():
        for _ in range(20):
            processes = [Process(name, LONG, rng.choice([0, 1000])) for name in "ab"]
            nodes = [runner.begin(process)[0] for process in processes]
            went: list[list[tuple[object, object]]] = [[], []]
            records = tuple(sorted(seeded(promises, rng.choice([0, 1000])).items()))
            while standing := [at for at in (0, 1) if nodes[at].step is not None]:
                at = rng.choice(standing)
                step = nodes[at].step
                assert step is not None
                records, answer = applied(records, step)
                went[at].append((step, answer))
                [nodes[at]] = runner.answer(nodes[at], answer)
            for process, steps in zip(processes, went, strict=True):
                asked = straight(process, promises, tuple(answer for _, answer in steps))
                assert asked == [step for step, _ in steps]

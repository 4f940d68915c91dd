"""The protocol of shared state, explored: all that a few processes can do, in any order."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

from autostate.shared import fold as folding, shelf as shelves
from tests.campaign import Tally
from tests.faulty import SHARING_STORES, FaultyStore
from tests.model import sharing_variants as variants
from tests.model.explore import Result
from tests.model.processes import Process
from tests.model.sharing import SharingExplorer, SharingRunner, made_by, without_time
from tests.model.variants import Variant, name_of

ALL: Final = os.environ.get("CAMPAIGN_MODEL") == "all"
"""Whether everything is explored, as `make model` does; else what takes a few seconds."""

ONE, SOME, SURE, APART = SHARING_STORES
PUBLISH = ("count", "publish")
TWICE = ("count", "publish", "count", "publish")
BESIDE = ("count", "publish beside a refresh", "count", "publish")
READ = ("read", "read")
FOLD = ("fold",)
FOLDS = ("fold", "fold")
ADD = ("add", "publish")
REMOVE = ("count", "try to publish", "read", "remove", "publish")
BEFORE = ("count", "publish before a refresh", "count", "publish")
ITEMS = ("resume", "item", "publish", "item", "publish")
RESTART = (*ITEMS, "restart", "resume", "item", "item", "item", "publish")
AS_ONE = ("a", "b")
AGAIN = ("resume", "item", "publish", "restart", "resume", "item", "item", "publish")
OTHERS = ("fold", "count", "publish", "fold")


class Case(NamedTuple):
    """Some processes that share a state in one store.

    Attributes:
        store: What it promises.
        scripts: What each process does.
        faults: How many steps may fail, in one course of events.
        in_steps: Whether a publication is several steps, and only the journal makes its in one, in
            a store that is atomic for all. The states of processes that claim the base are many,
            and have a model of their own.
        page: The keys that a listing gives at once; 0: all.
        tries: How often each process tries again after an error.
        folds: Whether it may fold before that.
        as_one: The processes that are incarnations of one writer, the former first.
        stored: How many generations are in the base.
        left: How many lineages are there that are not.
        era: How many generations are an era.
        generation: The generation in which processes begin; 0: they look.
        remembered: How many writers the base remembers.
    """

    store: str
    scripts: tuple[tuple[str, ...], ...]
    faults: int = 0
    in_steps: bool = False
    page: int = 0
    tries: int = 1
    folds: bool = False
    as_one: tuple[str, ...] = ()
    stored: int = 0
    left: int = 0
    era: int = 256
    generation: int = 0
    remembered: int = 1_024

    def __str__(self) -> str:
        told = [" ".join(script) for script in self.scripts]
        marks = ["in steps"] * self.in_steps + [f"pages of {self.page}"] * bool(self.page)
        marks += [f"era {self.era}"] * (self.era < 256) + ["stored"] * bool(self.stored)
        marks += ["lineages"] * bool(self.left)
        marks += [f"tries {self.tries}"] * (self.tries != 1) + ["folds"] * self.folds
        marks += [f"{'='.join(self.as_one)}"] * bool(self.as_one)
        marks += [f"{self.remembered} remembered"] * (self.remembered < 1_024)
        return (
            f"{self.store:11} {self.faults} faults  {', '.join([*marks, '']):24}{' | '.join(told)}"
        )


FORGETS: Final = Case(SURE, (AGAIN, OTHERS), as_one=("a",), stored=1, remembered=1)


def explore(case: Case) -> Result:
    """Go through all that may happen."""
    promises = SHARING_STORES[case.store]
    processes = [
        Process(name, script, 0, tries=case.tries + case.faults, insists=int(case.folds))
        for name, script in zip("abcd", case.scripts, strict=False)
    ]
    writers = dict.fromkeys(case.as_one, "w")
    runner = SharingRunner(
        promises, case.page, writers, one_step=not case.in_steps, generation=case.generation
    )
    with without_time(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "ERA", case.era)
        patch.setattr(folding, "REMEMBERED", case.remembered)
        records, ended = made_by(FaultyStore({}, **promises), case.stored, case.left)
        explorer = SharingExplorer(
            promises, [*processes, ended], records, faults=case.faults, runner=runner
        )
        return explorer.run()


def few() -> list[Case]:
    """What takes a few seconds."""
    return [
        Case(SURE, (PUBLISH, FOLD, READ)),
        Case(SURE, (PUBLISH, FOLD), 1),
        Case(SURE, (ITEMS, ITEMS, FOLD), as_one=AS_ONE),
        Case(SURE, (PUBLISH, FOLD, READ), in_steps=True),
        Case(SURE, (PUBLISH, FOLD), in_steps=True, folds=True),
        Case(SURE, (PUBLISH, FOLDS), in_steps=True, era=1),
        Case(SURE, (BESIDE, FOLD), in_steps=True),
        Case(ONE, (PUBLISH, FOLD)),
        Case(ONE, (PUBLISH, READ), page=1),
        Case(APART, (PUBLISH, FOLD, READ)),
        Case(APART, (TWICE, READ), 1),
        FORGETS,
    ]


def many() -> list[Case]:
    """What takes some minutes; the longest first."""
    claims = [
        Case(ONE, (PUBLISH, FOLD), folds=True),
        Case(ONE, (FOLD, FOLD), left=1, tries=0),
        Case(ONE, (PUBLISH, FOLD, READ), tries=0),
        Case(ONE, (PUBLISH, FOLD), 1, tries=0),
    ]
    steps: list[tuple[str, bool]] = [(SURE, False), (SURE, True), (APART, False)]
    cases = claims
    for store, in_steps in steps:
        cases += [
            Case(store, (ITEMS, ITEMS, FOLD), in_steps=in_steps, as_one=AS_ONE),
            Case(store, (TWICE, FOLD, READ), in_steps=in_steps),
            Case(store, (PUBLISH, PUBLISH, FOLD), in_steps=in_steps),
            Case(store, (PUBLISH, FOLD, FOLD), in_steps=in_steps),
            Case(store, (ADD, REMOVE, FOLD), in_steps=in_steps),
            Case(store, (RESTART, FOLD), 1, in_steps=in_steps, as_one=("a",)),
            Case(store, (TWICE, FOLD), 1, in_steps=in_steps),
            Case(store, (TWICE, FOLDS), in_steps=in_steps, folds=True),
            Case(store, (BESIDE, FOLDS), in_steps=in_steps, stored=1),
            Case(store, (PUBLISH, FOLDS), in_steps=in_steps, era=1, folds=True),
            FORGETS._replace(store=store, in_steps=in_steps),
        ]
    cases.append(FORGETS._replace(faults=1, tries=-1))
    return cases


@pytest.mark.campaign(name="model")
@pytest.mark.parametrize("case", many() if ALL else few(), ids=str)
def test_all_count_once_in_any_course_of_events(
    case: Case, record_property: Callable[[str, object], None], tally: Tally
) -> None:
    """Whatever order processes make their steps in, and wherever they die: see `sharing`."""
    result = explore(case)
    record_property("explored", f"{case}: {told(result)}")
    tally.tried(result.states)
    assert not result.violation, "\n".join(result.trace)


def told(result: Result) -> str:
    """The figures."""
    return (
        f"{result.states:,} states, {result.transitions:,} transitions, {result.stores:,} contents "
        f"of the store, {result.violation or 'no violation'}"
    )


LOST = "acknowledged, and not found"
TWO = "counted twice"
BACK = "a view went back"
MISSED = "it misses"
STEPS = Case(SURE, (PUBLISH, FOLD), in_steps=True)
BROKEN: Final[dict[Variant, tuple[Case, str]]] = {
    variants.publishes_without_looking: (STEPS, LOST),
    variants.looks_before_the_write: (STEPS, LOST),
    variants.nothing_is_expected: (Case(SURE, (PUBLISH, FOLD)), LOST),
    variants.no_generation_is_closed: (STEPS, LOST),
    variants.closes_after_reading: (STEPS, LOST),
    variants.deletes_before_the_commit: (STEPS, LOST),
    variants.deletes_unchecked: (Case(ONE, (FOLD, FOLD), tries=0, left=1), LOST),
    variants.trusts_an_unsettled_base: (
        Case(ONE, (PUBLISH, FOLD, FOLD), tries=1, generation=1),
        LOST,
    ),
    variants.same_key_after_an_unknown_outcome: (Case(SURE, (TWICE,), 1, in_steps=True), LOST),
    variants.a_lost_answer_is_a_refusal: (Case(SURE, (PUBLISH, FOLD), 1, in_steps=True), TWO),
    variants.all_attempts_count: (Case(SURE, (TWICE, FOLD), 1, in_steps=True), TWO),
    variants.epochs_do_not_count: (Case(SURE, (ITEMS, ITEMS), in_steps=True, as_one=AS_ONE), LOST),
    variants.closed_publications_are_repeated: (STEPS, TWO),
    variants.closed_publications_are_taken_for_counted: (STEPS, LOST),
    variants.goes_on_before_the_base_is_known: (STEPS, TWO),
    variants.a_replaced_process_begins_a_generation: (
        Case(SURE, (ITEMS, ITEMS, FOLD), as_one=AS_ONE),
        TWO,
    ),
    variants.resumes_what_may_be_late: (
        Case(SURE, (ITEMS, ITEMS, FOLD), in_steps=True, as_one=AS_ONE),
        LOST,
    ),
    variants.shows_what_may_be_late: (Case(SURE, (PUBLISH, FOLD, READ), in_steps=True), BACK),
    variants.reads_content_unmarked: (Case(SURE, (TWICE, FOLD, READ), in_steps=True), BACK),
    variants.reads_the_base_first: (Case(SURE, (PUBLISH, FOLD, READ), in_steps=True), MISSED),
    variants.passes_over_what_is_gone: (Case(SURE, (TWICE, READ), 1, in_steps=True), MISSED),
    variants.counts_old_lineages: (STEPS, TWO),
    variants.lineages_sort_last: (
        Case(SURE, (PUBLISH, FOLD, READ), in_steps=True, stored=1),
        MISSED,
    ),
    variants.settles_removals_too_early: (
        Case(SURE, (ADD, REMOVE, FOLD), 1, in_steps=True, tries=-1),
        LOST,
    ),
    variants.deletes_marks_before_that_of_the_era: (
        Case(SURE, (PUBLISH, FOLDS), in_steps=True, era=1),
        LOST,
    ),
    variants.looks_for_the_era_first: (Case(SURE, (PUBLISH, FOLDS), in_steps=True, era=1), LOST),
    variants.notices_no_refresh_beside: (Case(SURE, (BEFORE, FOLD), in_steps=True), TWO),
    variants.reads_what_lies_apart_last: (Case(APART, (PUBLISH, FOLD, READ)), BACK),
    variants.leaves_out_what_is_gone: (Case(APART, (TWICE, READ), 1), MISSED),
    variants.forgets_for_good: (FORGETS, TWO),
    variants.keeps_after_the_commit: (FORGETS, TWO),
}

LARGE: Final = {variants.trusts_an_unsettled_base, variants.settles_removals_too_early}
"""Those that take more than a million states to find."""


@pytest.mark.campaign(name="model")
@pytest.mark.parametrize(
    "variant", [each for each in BROKEN if ALL or each not in LARGE], ids=name_of
)
def test_a_broken_protocol_is_found(
    variant: Variant,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Each rule is needed: without it there is a course of events that counts wrongly."""
    case, problem = BROKEN[variant]
    variant(monkeypatch)
    result = explore(case)
    lines = [
        f"{name_of(variant)}: after {result.states:,} states: {result.violation}",
        *result.trace,
    ]
    record_property("found", "\n    ".join(lines))
    assert problem in result.violation

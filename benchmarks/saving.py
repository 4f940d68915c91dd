"""Applying changes to a state and saving them durably, in times of the limit.

Each participant has a process of its own, and gets the same changes in each round. rocksdict,
lmdb, diskcache and sqlitedict keep no state in memory to which they would apply changes; the limit
and autostate do. So rocksdict and lmdb are compared a second time, with the limit without applying.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Final

from benchmarks import machine
from benchmarks.entries import SHAPES
from benchmarks.measure import Figures, Plan, Row, Session, medians, spread, turn
from benchmarks.peers import ALONE, AUTOMATIC, LIMIT, OWN, OWN_ALONE, PEERS, RIVAL

TITLE: Final = "Saving"
GOAL: Final = 1.5
BYTES: Final = 1_000
"""Of memory that a participant may take for each entry, with all that is changed: 750 were seen."""
FAST: Final = sum(peer.fast for peer in PEERS.values())
"""So many participants may have a large state at the same time."""
HUGE: Final = 10_000_000
"""From this size on participants come one after another: two states may not fit into memory."""

WORDS: Final = {
    "fill": "first save",
    "replace": "values replaced",
    "held": "replaced by values that the program holds, too",
    "alter": "changed inside of values",
    "add": "added",
    "remove": "removed",
    "nothing": "nothing changed",
}


@dataclass(frozen=True)
class Case:
    """Changes of one kind to a state.

    Attributes:
        shape: Values of which shape the state has.
        size: How many entries.
        operation: What is done to them.
        number: To how many.
    """

    shape: str
    size: int
    operation: str
    number: int

    @property
    def what(self) -> str:
        """The change, in words."""
        words = WORDS[self.operation]
        if self.operation in {"fill", "nothing"}:
            return words
        return f"{100 * self.number / self.size:.3g} % {words}"

    @property
    def state(self) -> str:
        """The state, in words."""
        return f"{self.size:,}: {SHAPES[self.shape].what}"


Changes = Sequence[tuple[str, float]]
"""Operations, each with the share of the entries that it changes."""

SMALL: Final[Changes] = [
    (operation, share)
    for share in (0.001, 0.01)
    for operation in ("replace", "alter", "add", "remove")
]
WHOLE: Final[Changes] = [("replace", 1), ("alter", 1)]
BRIEF: Final[Changes] = [
    ("alter", 0.001),
    *[(operation, 0.01) for operation in ("replace", "alter", "add", "remove")],
]
SAME: Final = 1_000
"""So many changes are measured at each size: their cost should be the same."""
SHOWN_ALONE: Final = {"fill", "replace", "alter", "add", "remove"}
BESIDE_ALONE: Final = (RIVAL, "lmdb")
"""Those who apply no change to a state in memory, and still take part where the state is large."""


def rows(plan: Plan) -> Iterator[Row]:
    """Measure the saves of states of all shapes and sizes, then compare the sizes."""
    found = []
    for row in _all(plan):
        found.append(row)
        yield row
    for row in found:
        case = row.data.get("case")
        if case and row.group and _compared_alone(case):
            yield _alone(row)
    for row in found:
        case = row.data.get("case")
        if case and (case["shape"], case["operation"], case["number"]) == ("dicts", "alter", SAME):
            taken = {name: each / SAME * 1e6 for name, each in _totals(row).items()}
            what, group = f"of {case['size']:,}", f"A changed entry, where {SAME:,} changed"
            own = {"automatic": taken.pop(AUTOMATIC)} if AUTOMATIC in taken else {}
            yield Row(what, taken.pop(OWN), None, "µs", taken, own, group=group)


def _totals(row: Row) -> Figures:
    """Give the median seconds of applying and saving, of each participant."""
    return medians({name: row.rounds[name] for name in PEERS if name in row.rounds})


def _compared_alone(case: Mapping[str, Any]) -> bool:
    share = case["number"] / case["size"]
    usual = case["operation"] in SHOWN_ALONE and share in {0.01, 1}
    return usual and case["shape"] in {"dicts", "members"}


def _alone(row: Row) -> Row:
    """Compare those who keep no state in memory with what saving alone takes the limit."""
    limit = statistics.median(row.rounds[ALONE])
    taken = _totals(row)
    return Row(
        row.title,
        statistics.median(row.rounds[OWN_ALONE]) / limit,
        None,
        peers={name: taken[name] / limit for name in BESIDE_ALONE if name in taken},
        spread=spread(row.rounds[OWN_ALONE], limit),
        group="Saving alone, in times of the limit without applying",
    )


def _all(plan: Plan) -> Iterator[Row]:
    for size in plan.sizes:
        if size * BYTES * (FAST if size < HUGE else 1) > machine.available():
            print(f"{size:,} entries are left out: they may not fit into memory")
            continue
        if plan.brief:
            yield from _rows(plan, "dicts", size, [*BRIEF, ("nothing", 0), ("alter", SAME / size)])
            sets = [each for each in (("add", 0.001), *BRIEF) if each[0] in {"add", "remove"}]
            yield from _rows(plan, "members", size, [*sets, ("nothing", 0)])
            continue
        # Of a large state a tenth is changed at most: all of it takes all participants minutes.
        whole = WHOLE if size <= plan.medium else [("alter", 0.1)]
        changes = [*SMALL, ("held", 0.01), ("nothing", 0), *whole]
        if size / 1000 > SAME or size / 100 < SAME < size:  # else it is among the small ones
            changes.append(("alter", SAME / size))
        yield from _rows(plan, "dicts", size, changes)
        shares = (0.001, 0.01) if size > plan.medium else (0.001, 0.01, 1)
        members = [(each, share) for share in shares for each in ("add", "remove")]
        yield from _rows(plan, "members", size, [*members, ("nothing", 0)])
    some = [("replace", 0.01), ("alter", 0.01), ("alter", 1)]
    for shape in () if plan.brief else ("lists", "nested"):
        yield from _rows(plan, shape, plan.medium, some)
    some = [("nothing", 0), ("alter", 0.001), ("alter", 0.01), ("alter", 1)]
    yield from _rows(plan, "objects", plan.objects, some)


def _rows(plan: Plan, shape: str, size: int, changes: Changes) -> Iterator[Row]:
    """Measure one state: its first save, then changes."""
    names = [
        name
        for name, peer in PEERS.items()
        if peer.installed
        and shape in peer.shapes
        and (peer.fast or size <= plan.few)
        and not (plan.brief and name == AUTOMATIC)
    ]
    cases = [Case(shape, size, "fill", size)]
    cases += [Case(shape, size, each, max(1, round(size * share))) for each, share in changes]
    found = measured(plan, names, cases)
    for case in cases:
        yield _row(case, found[case])


def measured(plan: Plan, names: Sequence[str], cases: Sequence[Case]) -> dict[Case, _Times]:
    """Measure cases of one state; the first fills it."""
    fill, *changes = cases
    count, whole = plan.rounds, plan.long_rounds
    if fill.size > plan.medium:
        count, whole = plan.long_rounds, 1
    # Changes of everything come last: after those a dict or set may grow at any small change,
    # which takes far longer than the change.
    small = [case for case in changes if case.number < case.size]
    large = [case for case in changes if case.number >= case.size]
    found: dict[Case, _Times] = {case: _Times() for case in cases}
    for some in [names] if fill.size < HUGE else [[name] for name in names]:
        for number in range(whole):
            with ExitStack() as stack:
                sessions = {name: stack.enter_context(Session(name, fill.shape)) for name in some}
                for session in sessions.values():
                    session.ready()
                _measure(sessions, fill, number, found)
                if number < whole - 1:  # the state of the last round is changed
                    continue
                for again, case in product(range(count), small):
                    _measure(sessions, case, again, found)
                for again, case in product(range(whole), large):
                    _measure(sessions, case, again, found)
    return found


def _measure(
    sessions: Mapping[str, Session], case: Case, number: int, found: Mapping[Case, _Times]
) -> None:
    """Measure one case in one round."""
    for name in turn(sessions, number):
        if case.operation != "nothing" or name == OWN:
            found[case].add(name, sessions[name].do(case.operation, case.number))


class _Times:
    """The seconds of one case: in each round, of each participant."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.saving: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, times: Figures) -> None:
        """Note what a participant took in a round."""
        self.seconds[name].append(times["seconds"])
        self.saving[name].append(times["saving"])


def _row(case: Case, times: _Times) -> Row:
    if case.operation == "nothing":
        own = [taken * 1e3 for taken in times.seconds[OWN]]
        figure = statistics.median(own)
        rounds = {OWN: times.seconds[OWN]}
        between = spread(own)
        return Row(case.what, figure, None, "ms", group=case.state, spread=between, rounds=rounds)
    # Of medians: a sync takes now a tenth of a millisecond, now four, and no two the same.
    found = medians(times.seconds)
    limit = found.pop(LIMIT)
    figures = {name: taken / limit for name, taken in found.items()}
    alone = {ALONE: times.saving[LIMIT], OWN_ALONE: times.saving[OWN]}
    return Row(
        case.what,
        figures.pop(OWN),
        GOAL,
        own={"automatic": figures.pop(AUTOMATIC)} if AUTOMATIC in figures else {},
        peers=figures,
        rival=RIVAL,
        group=case.state,
        data={"case": asdict(case)},
        spread=spread(times.seconds[OWN], limit),
        rounds={**times.seconds, **alone},
    )

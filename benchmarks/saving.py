"""Applying changes to a state and saving them durably, in times of the limit.

Each participant has a process of its own, and gets the same changes in each round.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks import machine
from benchmarks.entries import SHAPES
from benchmarks.measure import FULL, Figures, Plan, Row, Session, shown, turn
from benchmarks.peers import AUTOMATIC, LIMIT, OWN, PEERS, RIVAL

TITLE: Final = "Saving"
GOAL: Final = 1.5
BYTES: Final = 1_600
"""Of memory that a participant may take for each entry, with all that is changed."""
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
SAME: Final = 1_000
"""So many changes are measured at each size: their cost should be the same."""


def rows(plan: Plan) -> Iterator[Row]:
    """Measure the saves of states of all shapes and sizes, then compare the sizes."""
    found = []
    for row in _all(plan):
        found.append(row)
        yield row
    for row in found:
        case = row.data.get("case")
        if case and (case.shape, case.operation, case.number) == ("dicts", "alter", SAME):
            taken = {name: each / SAME * 1e6 for name, each in row.data["seconds"].items()}
            what, group = f"of {case.size:,}", f"A changed entry, where {SAME:,} changed"
            own = {"automatic": taken.pop(AUTOMATIC)}
            yield Row(what, taken.pop(OWN), None, "µs", taken, own, group=group)


def _all(plan: Plan) -> Iterator[Row]:
    for size in plan.sizes:
        if size * BYTES > machine.available():
            print(f"{size:,} entries are left out: they may not fit into memory")
            continue
        # All of a large state is replaced in `make bench-full` alone: that takes a minute.
        whole = WHOLE if size <= plan.medium or plan is FULL else WHOLE[1:]
        changes = [*SMALL, ("held", 0.01), ("nothing", 0), *whole]
        if size / 1000 > SAME or size / 100 < SAME < size:  # else it is among the small ones
            changes.append(("alter", SAME / size))
        yield from _rows(plan, "dicts", size, changes)
        shares = (0.001, 0.01) if size > plan.medium else (0.001, 0.01, 1)
        members = [(each, share) for share in shares for each in ("add", "remove")]
        yield from _rows(plan, "members", size, [*members, ("nothing", 0)])
    some = [("replace", 0.01), ("alter", 0.01), *WHOLE]
    for shape in ("lists", "nested"):
        yield from _rows(plan, shape, plan.medium, some)
    some = [("nothing", 0), ("alter", 0.001), ("alter", 0.01), ("alter", 1)]
    yield from _rows(plan, "objects", plan.objects, some)


def _rows(plan: Plan, shape: str, size: int, changes: Changes) -> Iterator[Row]:
    """Measure one state: its first save, then changes."""
    names = [
        name
        for name, peer in PEERS.items()
        if peer.installed and shape in peer.shapes and (peer.fast or size <= plan.few)
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
    found: dict[Case, _Times] = {case: _Times() for case in cases}
    for some in [names] if fill.size < HUGE else [[name] for name in names]:
        for number in range(whole):
            with ExitStack() as stack:
                sessions = {name: stack.enter_context(Session(name, fill.shape)) for name in some}
                _measure(sessions, fill, number, found)
                if number < whole - 1:  # the state of the last round is changed
                    continue
                for again in range(count):
                    for case in changes:
                        if case.number < case.size or again < whole:
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
        figure = statistics.median(times.seconds[OWN]) * 1e3
        return Row(case.what, figure, None, "ms", group=case.state)
    # Of medians: a sync takes now a tenth of a millisecond, now four, and no two the same.
    medians = {name: statistics.median(taken) for name, taken in times.seconds.items()}
    limit = medians[LIMIT]
    found = {name: taken / limit for name, taken in medians.items() if name != LIMIT}
    alone = statistics.median(times.saving[LIMIT])
    return Row(
        case.what,
        found.pop(OWN),
        GOAL,
        own={"automatic": found.pop(AUTOMATIC)},
        peers=found,
        rival=RIVAL,
        group=case.state,
        note=f"limit {shown(limit * 1e3)} ms, without applying {shown(alone * 1e3)} ms",
        data={"case": case, "seconds": medians},
    )

"""Applying changes to a state and saving them durably, in times of the limit.

Each participant has a process of its own, and gets the same changes in each round.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.entries import SHAPES
from benchmarks.measure import Figures, Plan, Row, Session, ratios, turn
from benchmarks.peers import AUTOMATIC, LIMIT, OWN, PEERS, RIVAL

TITLE: Final = "Saving"
GOAL: Final = 1.5
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
        big = size > plan.medium
        changes = [*SMALL, ("held", 0.01), ("nothing", 0)]
        if size / 1000 > SAME or size / 100 < SAME < size:  # else it is among the small ones
            changes.append(("alter", SAME / size))
        changes += [] if big else WHOLE
        # A shelf rewrites its index whenever an entry is removed.
        changes += [] if big or size <= plan.few else [("add", 1), ("remove", 1)]
        count = plan.long_rounds if big else plan.rounds
        yield from _rows(plan, "dicts", size, changes, count)
        if big:
            yield from _rows(plan, "dicts", size, WHOLE, 1)
        members = [each for each in changes if each[0] in {"add", "remove", "nothing"}]
        yield from _rows(plan, "members", size, members, count)
    some = [("replace", 0.01), ("alter", 0.01), *WHOLE]
    for shape in ("lists", "nested"):
        yield from _rows(plan, shape, plan.medium, some, plan.rounds)
    some = [("nothing", 0), ("alter", 0.001), ("alter", 0.01), ("alter", 1)]
    yield from _rows(plan, "objects", plan.objects, some, plan.rounds)


def _rows(plan: Plan, shape: str, size: int, changes: Changes, count: int) -> Iterator[Row]:
    """Measure one state: its first save, then changes."""
    names = [
        name
        for name, peer in PEERS.items()
        if peer.installed and shape in peer.shapes and (peer.fast or size <= plan.few)
    ]
    cases = [Case(shape, size, "fill", size)]
    cases += [Case(shape, size, each, max(1, round(size * share))) for each, share in changes]
    found = measured(names, cases, count)
    for case in cases:
        yield _row(case, found[case])


def measured(names: Sequence[str], cases: Sequence[Case], count: int) -> dict[Case, _Times]:
    """Measure cases of one state; the first fills it."""
    first = cases[0]
    found: dict[Case, _Times] = {case: _Times() for case in cases}
    together = [names] if first.size < HUGE else [[name] for name in names]
    for some in together:
        with ExitStack() as stack:
            sessions = {name: stack.enter_context(Session(name, first.shape)) for name in some}
            for number in range(count):
                for case in cases:
                    if case is first and number:  # it is full
                        continue
                    for name in turn([OWN] if case.operation == "nothing" else some, number):
                        times = sessions[name].do(case.operation, case.number)
                        found[case].add(name, times)
    return found


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
    found = ratios(times.seconds, LIMIT)
    limit = statistics.median(times.seconds[LIMIT])
    medians = {name: statistics.median(taken) for name, taken in times.seconds.items()}
    alone = statistics.median(times.saving[LIMIT])
    return Row(
        case.what,
        found.pop(OWN),
        GOAL,
        own={"automatic": found.pop(AUTOMATIC)},
        peers=found,
        rival=RIVAL,
        group=case.state,
        note=f"limit {limit * 1e3:.3g} ms, without applying {alone * 1e3:.3g} ms",
        data={"case": case, "seconds": medians},
    )

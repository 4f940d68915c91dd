"""Every course of events that some processes and a store can take, by breadth-first search.

A state is what the store holds, the writes that are still on their way to it, and the node of each
process. From there any process makes its step; or the step fails, a limited number of times: a
write may then be applied at any later time, or never. A crash needs no transition of its own: it is
a process that makes no further step, and every state is looked at as if all had crashed.

In every state that is reached:

1.  What was acknowledged is in what a recovery finds, and in what a process finds that began to
    read after the acknowledgement.
2.  No two processes were acknowledged that went on from the same base.
3.  A recovery finds a whole state; also that of a process between whose steps others make theirs.
4.  A new process that is alone recovers, commits, and is acknowledged, wherever all others stand.
5.  Nobody is told that another process has taken over when no other process has written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from autostate.collector import no_collections
from autostate.errors import AutostateError
from autostate.journal import Journal
from tests.faulty import FaultyStore, Promises
from tests.journal.changes import change
from tests.model.processes import (
    FAILED,
    REFUSED,
    Answer,
    Node,
    Process,
    Runner,
    Step,
    bit,
    content,
    pages_of,
    same_owners,
    short,
)

T = TypeVar("T")
Records = tuple[tuple[str, bytes], ...]
State = tuple[int, tuple[int, ...], tuple[int, ...], int, tuple[int, ...]]
"""In numbers: what the store holds; the node of each process; the writes that may still arrive; how
many steps may still fail; for each process that reads: what was acknowledged when it began."""
Move = tuple[int, int]
"""Which process goes on, and with which answer; or -1, and which write arrives late."""

LATE = -1
MISSED = -1  # in the place of what was acknowledged when a process began to read: not all was found
BITS = 24  # of a number that stands for something in a packed state


@dataclass
class Result:
    """What an exploration found.

    Attributes:
        states: How many states it went through.
        transitions: How many transitions between them.
        stores: How many different contents of the store it met.
        nodes: How many different positions of processes.
        acknowledged: The largest number of processes that were acknowledged in one state.
        violation: What was wrong first; empty: nothing.
        trace: The shortest way to it.
    """

    states: int = 0
    transitions: int = 0
    stores: int = 0
    nodes: int = 0
    acknowledged: int = 0
    violation: str = ""
    trace: list[str] = field(default_factory=list)


class ViolationError(Exception):
    """A property does not hold."""


class Numbers(Generic[T]):
    """Gives numbers to values, so that those of a state are small."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def of(self, value: T) -> int:
        """The number of a value, the next one if it is new."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            assert number < 1 << BITS
            self.values.append(value)
        return number


class Explorer:
    """Explores what some processes do over one sort of store.

    Args:
        promises: What the store promises.
        processes: What they do.
        records: What the store holds at first.
        faults: How many steps may fail, in one course of events.
        runner: Runs them; by default over the journal.
    """

    def __init__(
        self,
        promises: Promises,
        processes: Iterable[Process],
        records: dict[str, bytes],
        *,
        faults: int = 0,
        runner: Runner | None = None,
    ) -> None:
        self._promises = promises
        self._processes = [*processes]
        self._runner = runner or Runner(promises)
        self._stores: Numbers[Records] = Numbers()
        self._nodes: Numbers[Node] = Numbers()
        self._steps: Numbers[Step] = Numbers()
        self._answers: Numbers[Answer] = Numbers()
        self._failed = self._answers.of(FAILED)
        self._rests: Numbers[tuple[tuple[int, ...], int, tuple[int, ...]]] = Numbers()
        self._step_of: list[int] = []  # by node; -1: it has ended
        self._applied: dict[tuple[int, int], tuple[int, int]] = {}
        self._after: dict[tuple[int, int], list[int]] = {}
        self._found: dict[int, int] = {}
        self._begin = self._stores.of(tuple(sorted(records.items()))), faults

    def run(self) -> Result:
        """Go through all states, or until a property does not hold."""
        with same_owners(), no_collections():
            result, last, _ = self._search(None)
            if result.violation:  # again, and remember where each state came from
                _, last, parents = self._search({})
                result.trace = self._way_to(last, parents or {})
        result.stores, result.nodes = len(self._stores.values), len(self._nodes.values)
        return result

    def _search(
        self, parents: dict[State, tuple[State, Move]] | None
    ) -> tuple[Result, State, dict[State, tuple[State, Move]] | None]:
        result = Result()
        records, faults = self._begin
        nodes = [self._number(self._runner.begin(process)[0]) for process in self._processes]
        state: State = (records, tuple(nodes), (), faults, (0,) * len(nodes))
        seen, level = {self._packed(state)}, [state]
        try:
            while level:
                following = []
                for before in level:
                    for state, move in self._followers(before):
                        result.transitions += 1
                        packed = self._packed(state)
                        if packed in seen:
                            continue
                        seen.add(packed)
                        if parents is not None:
                            parents[state] = before, move
                        following.append(state)
                        self._check(state, result)
                level = following
        except ViolationError as violation:
            result.violation = str(violation)
        result.states = len(seen)
        return result, state, parents

    def _packed(self, state: State) -> int:
        """A state as one number: millions of tuples would not fit."""
        records, nodes, late, faults, before = state
        packed = self._rests.of((late, faults, before)) << BITS | records
        for node in nodes:
            packed = packed << BITS | node
        return packed

    # --- Transitions ------------------------------------------------------------------------

    def _followers(self, state: State) -> Iterator[tuple[State, Move]]:
        records, nodes, late, faults, before = state
        for at, node in enumerate(nodes):
            step = self._step_of[node]
            if step < 0:
                continue
            noted = before
            if self._nodes.values[node].begins_to_read:
                noted = (*before[:at], self._acknowledged(nodes), *before[at + 1 :])
            if self._steps.values[step].kind == "wait":
                for is_left in (True, False):
                    answer = self._answers.of(is_left)
                    yield from self._moved((records, nodes, late, faults, noted), at, answer)
                continue
            changed, answer = self._apply(records, step)
            yield from self._moved((changed, nodes, late, faults, noted), at, answer)
            if not faults:
                continue
            failed = self._failed
            yield from self._moved((records, nodes, late, faults - 1, noted), at, failed)
            if self._steps.values[step].kind == "write":
                sent = tuple(sorted((*late, step)))
                yield from self._moved((records, nodes, sent, faults - 1, noted), at, failed)
        for step in dict.fromkeys(late):
            changed, _ = self._apply(records, step)
            rest = [*late]
            rest.remove(step)
            yield (changed, nodes, tuple(rest), faults, before), (LATE, step)

    def _moved(self, state: State, at: int, answer: int) -> Iterator[tuple[State, Move]]:
        """Let one process go on with an answer."""
        records, nodes, late, faults, before = state
        for after in self._go_on(nodes[at], answer):
            found = self._nodes.values[after].found
            noted = before
            if found is not None:
                missed = MISSED if before[at] & ~found else 0
                noted = (*before[:at], missed, *before[at + 1 :])
            yield (
                (records, (*nodes[:at], after, *nodes[at + 1 :]), late, faults, noted),
                (at, answer),
            )

    def _apply(self, records: int, step: int) -> tuple[int, int]:
        known = self._applied.get((records, step))
        if known is None:
            changed, answer = applied(self._stores.values[records], self._steps.values[step])
            known = self._stores.of(changed), self._answers.of(answer)
            self._applied[records, step] = known
        return known

    def _go_on(self, node: int, answer: int) -> list[int]:
        known = self._after.get((node, answer))
        if known is None:
            after = self._runner.answer(self._nodes.values[node], self._answers.values[answer])
            known = self._after[node, answer] = [*map(self._number, after)]
        return known

    def _number(self, node: Node) -> int:
        number = self._nodes.of(node)
        if number == len(self._step_of):
            self._step_of.append(-1 if node.step is None else self._steps.of(node.step))
        return number

    # --- Properties -------------------------------------------------------------------------

    def _acknowledged(self, nodes: Iterable[int]) -> int:
        mask = 0
        for node in nodes:
            mask |= self._nodes.values[node].process.acknowledged
        return mask

    def _check(self, state: State, result: Result) -> None:
        records, nodes, _, _, before = state
        if MISSED in before:
            raise ViolationError("what was acknowledged before a process began to read, it misses")
        acknowledged, count = 0, 0
        bases: set[str] = set()
        for at, number in enumerate(nodes):
            node = self._nodes.values[number]
            process = node.process
            if process.acknowledged:
                acknowledged, count = acknowledged | process.acknowledged, count + 1
                if not bases.isdisjoint(process.bases):
                    raise ViolationError("two processes were acknowledged from the same base")
                bases.update(process.bases)
            if node.step is None:
                if node.error:
                    raise ViolationError(node.error)
                others = (*nodes[:at], *nodes[at + 1 :])
                if process.fenced and not any(self._nodes.values[n].process.wrote for n in others):
                    raise ViolationError(f"{process.name} is fenced, and nobody else has written")
        found = self._found.get(records)
        if found is None:
            found = self._found[records] = self._alone(records)
        if lost := acknowledged & ~found:
            raise ViolationError(f"acknowledged, and not found by a recovery: {pages_of(lost)}")
        result.acknowledged = max(result.acknowledged, count)

    def _alone(self, records: int) -> int:
        """What a recovery finds if all others have stopped; it can then commit."""
        found = 0
        for token in ("00", "zz"):  # before and after the others of the same epoch
            store = FaultyStore(dict(self._stores.values[records]), **self._promises)
            journal = Journal(store, token=partial(str, token), clock=lambda: 1.5)
            try:
                found = content(journal.recover())
            except AutostateError as error:
                raise ViolationError(f"a recovery fails: {error}") from error
            try:
                journal.commit([change(id=1, kind="dict", name="pages", put={"alone": 1})])
                journal.check_owner()
                again = content(Journal(FaultyStore(store.records, **self._promises)).recover())
            except AutostateError as error:
                raise ViolationError(f"a process that is alone cannot commit: {error}") from error
            if again != found | bit("alone"):
                raise ViolationError("a process that is alone loses what it has committed")
        return found

    # --- What is told -----------------------------------------------------------------------

    def _way_to(self, state: State, parents: dict[State, tuple[State, Move]]) -> list[str]:
        steps = []
        while state in parents:
            state, move = parents[state]
            steps.append(self._told(state, *move))
        return steps[::-1]

    def _told(self, state: State, at: int, number: int) -> str:
        if at == LATE:
            return f"late: {self._steps.values[number]}"
        node = self._nodes.values[state[1][at]]
        answer = self._answers.values[number]
        return f"{node.process.name}, {node.process.call}: {node.step} → {_told(answer)}"


def _told(answer: Answer) -> str:
    if isinstance(answer, bytes):
        return f"{len(answer)} bytes"
    if not isinstance(answer, tuple):
        return str(answer)
    keys = (each if isinstance(each, str) else each[0] for each in answer)
    return " ".join(map(short, keys)) or "nothing"


def applied(records: Records, step: Step) -> tuple[Records, Answer]:
    """What a store holds after a step, and its answer."""
    held = dict(records)
    if step.kind == "read":
        return records, held.get(step.key)
    if step.kind == "wait":
        return records, False
    if step.kind == "scan":
        wanted = tuple(step.key.split())
        return records, tuple(item for item in held.items() if item[0].startswith(wanted))
    if step.kind == "list":
        return records, tuple(key for key in held if key.startswith(step.key))
    if step.kind == "page":
        prefix, after, count = step.key.split()
        later = [key for key in held if key.startswith(prefix) and key > after]
        return records, tuple(sorted(later)[: int(count)])
    if any(held.get(key) != data for key, data in step.expect):
        return records, REFUSED
    held.update(step.puts)
    for key in step.deletes:
        held.pop(key, None)
    return tuple(sorted(held.items())), None

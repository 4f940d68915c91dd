"""Random programs against a model in plain Python.

Every container exists twice: as the program sees it, and plain. Whatever is done to one is done
to the other; after a flush, the next run must recover exactly what the plain ones are: the same
structure, types and order, and the same objects at the same places. A flush that was lost
recovers what was saved before; one whose answer was lost recovers either.

`AUTOSTATE_STEPS` and `AUTOSTATE_EXAMPLES` make it run longer, with random numbers that are new each
time; what fails then is printed as a call that fails again, and `--hypothesis-seed` repeats a run.
"""

from __future__ import annotations

import contextlib
import copy
import operator
import os
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conformance.state_kit import BUILTIN, Program, shape

ROOTS: Final = {
    "a": "dict",
    "b": "dict",
    "l": "list",
    "s": "set",
    "c": "counter",
    "q": "deque",
    "w": "window",
}
MAPPINGS: Final = ("dict", "ordereddict", "defaultdict")
FACTORIES: Final = (list, int, None, dict)
KEYS: Final = ["x", "y", "z", "", "$set", 1, 0, (1, 2), None]
MANY: Final = 300

keys = st.sampled_from(KEYS)
numbers = st.integers(0, 1 << 16)
atoms = st.one_of(
    st.integers(-5, 5),
    st.sampled_from(["", "text", 1.5, None, True, float("inf"), b"b", (1, "t"), frozenset("f")]),
)


ENDS: Final[list[Callable[[Any, int, Any], Any]]] = [
    lambda items, _, value: items.append(value),
    lambda items, _, value: items.appendleft(value),
    lambda items, _i, _v: items.pop(),
    lambda items, _i, _v: items.popleft(),
    lambda items, index, _: items.rotate(index),
    lambda items, index, value: items.insert(index, value),
    lambda items, index, _: operator.delitem(items, index),
    operator.setitem,
    lambda items, _, value: items.extendleft([value, [value]]),
    lambda items, _i, _v: items.reverse(),
    lambda items, _, value: items.extend({value: 1}),
]
"""What can be done to a deque."""


class Pair:
    """One container, as the program sees it and in the model."""

    def __init__(self, live: Any, model: Any) -> None:
        self.live = live
        self.model = model


class StateMachine(RuleBasedStateMachine):
    """Mutates, moves, shares, flushes, loses and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.program = Program()
        self.outside: list[Pair] = []
        self.model: dict[str, Any] = {name: _empty(kind) for name, kind in ROOTS.items()}
        self.live: dict[str, Any] = {}
        self.blocks: list[tuple[Any, Any]] = []
        self._open()
        self.saved: dict[str, Any] = {}
        self.flush(full_compare=False)

    def _open(self) -> None:
        self.live = _roots(self.program)

    # -- finding containers -------------------------------------------------------------------

    def pairs(self, outside: list[Pair] | None = None) -> list[Pair]:
        """All containers that can be reached, each once, in the order of the model."""
        found: dict[int, Pair] = {}
        todo = [Pair(self.live[name], self.model[name]) for name in ROOTS]
        todo += self.outside if outside is None else outside
        while todo:
            pair = todo.pop(0)
            if id(pair.model) in found:
                continue
            found[id(pair.model)] = pair
            todo += [
                Pair(live, model)
                for live, model in zip(_inside(pair.live), _inside(pair.model), strict=True)
                if isinstance(model, dict | list | set | deque)
            ]
        return list(found.values())

    def pick(self, number: int, *kinds: str) -> Pair | None:
        """One of the containers of these kinds."""
        classes = [BUILTIN[kind] for kind in kinds]
        fitting = [pair for pair in self.pairs() if type(pair.model) in classes]
        return fitting[number % len(fitting)] if fitting else None

    # -- writes -------------------------------------------------------------------------------

    @rule(n=numbers, key=keys, value=atoms)
    def put_atom(self, n: int, key: Any, value: Any) -> None:
        """Assign a scalar."""
        if pair := self.pick(n, *MAPPINGS):
            pair.live[key] = value
            pair.model[key] = value

    @rule(n=numbers, key=keys, kind=st.sampled_from(list(BUILTIN)), held=st.booleans())
    def put_new(self, n: int, key: Any, kind: str, held: bool) -> None:
        """Assign a new container, which the program may hold further."""
        live, model = _new(kind), _new(kind)
        if pair := self.pick(n, *MAPPINGS, "list", "deque"):
            for target, value in ((pair.live, live), (pair.model, model)):
                if isinstance(target, dict):
                    target[key] = value
                else:
                    target.append(value)
        if held:
            self.outside.append(Pair(live, model))

    @rule(n=numbers, m=numbers, key=keys)
    def share(self, n: int, m: int, key: Any) -> None:
        """Put a container that is somewhere also into a dict: shared, or a cycle."""
        pair, other = self.pick(n, *MAPPINGS), self.pick(m, *BUILTIN)
        if pair and other:
            pair.live[key] = other.live
            pair.model[key] = other.model

    @rule(n=numbers, m=numbers)
    def share_in_sequence(self, n: int, m: int) -> None:
        """Append a container that is somewhere."""
        pair, other = self.pick(n, "list", "deque"), self.pick(m, *BUILTIN)
        if pair and other:
            pair.live.append(other.live)
            pair.model.append(other.model)

    @rule(n=numbers, m=numbers, key=keys, other=keys)
    def move(self, n: int, m: int, key: Any, other: Any) -> None:
        """Move an entry from one dict to another."""
        source, target = self.pick(n, *MAPPINGS), self.pick(m, *MAPPINGS)
        if source and target and key in source.model:
            target.live[other] = source.live.pop(key)
            target.model[other] = source.model.pop(key)

    @rule(n=numbers, key=keys)
    def remove_key(self, n: int, key: Any) -> None:
        """Remove an entry."""
        if pair := self.pick(n, *MAPPINGS, "counter"):
            pair.live.pop(key, None)
            pair.model.pop(key, None)

    @rule(n=numbers, key=keys, held=st.booleans())
    def reorder(self, n: int, key: Any, held: bool) -> None:
        """Remove an entry and put it back at the end."""
        pair = self.pick(n, *MAPPINGS)
        if pair and key in pair.model:
            pair.live[key] = pair.live.pop(key)
            pair.model[key] = pair.model.pop(key)

    @rule(n=numbers, key=keys, value=st.integers(-3, 3))
    def count(self, n: int, key: Any, value: int) -> None:
        """Count with an operator in place."""
        if pair := self.pick(n, "counter"):
            pair.live[key] += value
            pair.model[key] += value

    @rule(n=numbers, member=keys)
    def toggle(self, n: int, member: Any) -> None:
        """Add a member, or discard it."""
        if pair := self.pick(n, "set"):
            pair.live.symmetric_difference_update([member])
            pair.model.symmetric_difference_update([member])

    @rule(n=numbers, index=st.integers(-4, 4), value=atoms, what=st.integers(0, 5))
    def change_list(self, n: int, index: int, value: Any, what: int) -> None:
        """Change a list in one of the ways that there are."""
        pair = self.pick(n, "list")
        for items in (pair.live, pair.model) if pair else ():
            if what == 0:
                items.insert(index, value)
            elif what == 1 and items:
                items[index % len(items)] = value
            elif what == 2 and items:
                items.pop(index % len(items))
            elif what == 3:
                items[index : index + 2] = [value]
            elif what == 4:
                items.reverse()
            else:
                del items[index:]

    @rule(n=numbers, index=st.integers(-4, 4), value=atoms, what=st.integers(0, len(ENDS) - 1))
    def change_deque(self, n: int, index: int, value: Any, what: int) -> None:
        """Change a deque at one of its ends, or inside."""
        pair = self.pick(n, "deque")
        for items in (pair.live, pair.model) if pair else ():
            with contextlib.suppress(IndexError):  # too short, or full
                ENDS[what](items, index, value)

    @rule(n=numbers, key=keys, last=st.booleans())
    def move_to_end(self, n: int, key: Any, last: bool) -> None:
        """Move an entry of an OrderedDict to one of its ends."""
        pair = self.pick(n, "ordereddict")
        if pair and key in pair.model:
            pair.live.move_to_end(key, last)
            pair.model.move_to_end(key, last)

    @rule(n=numbers, last=st.booleans())
    def take_from_end(self, n: int, last: bool) -> None:
        """Take an entry from one of the ends of an OrderedDict."""
        pair = self.pick(n, "ordereddict")
        if pair and pair.model:
            assert pair.live.popitem(last)[0] == pair.model.popitem(last)[0]

    @rule(n=numbers, key=keys)
    def ask_for_missing(self, n: int, key: Any) -> None:
        """Let a defaultdict make a value."""
        pair = self.pick(n, "defaultdict")
        if pair and pair.model.default_factory is not None:
            assert shape(pair.live[key]) == shape(pair.model[key])

    @rule(n=numbers, factory=st.sampled_from(FACTORIES))
    def change_factory(self, n: int, factory: Any) -> None:
        """Let a defaultdict make other values from now on."""
        if pair := self.pick(n, "defaultdict"):
            pair.live.default_factory = factory
            pair.model.default_factory = factory

    @rule(n=numbers, first=st.integers(0, 3), what=st.integers(0, 2))
    def grow(self, n: int, first: int, what: int) -> None:
        """Grow over the size at which a container is keyed."""
        if pair := self.pick(n, *BUILTIN):
            for target in (pair.live, pair.model):
                _grow(target, range(first, first + MANY), nested=what)

    @rule(n=numbers, left=st.integers(0, 300))
    def shrink(self, n: int, left: int) -> None:
        """Shrink, from the end."""
        if pair := self.pick(n, *MAPPINGS, "list", "counter", "deque"):
            for target in (pair.live, pair.model):
                while len(target) > left:
                    target.popitem() if isinstance(target, dict) else target.pop()

    @rule(n=numbers)
    def clear(self, n: int) -> None:
        """Remove everything."""
        if pair := self.pick(n, *BUILTIN):
            pair.live.clear()
            pair.model.clear()

    @rule(n=numbers)
    def hold(self, n: int) -> None:
        """Keep a reference outside."""
        if len(self.outside) < 4 and (pair := self.pick(n, *BUILTIN)):
            self.outside.append(pair)

    @rule(n=numbers)
    def let_go(self, n: int) -> None:
        """Give up a reference that was kept outside."""
        if self.outside:
            self.outside.pop(n % len(self.outside))

    # -- saving -------------------------------------------------------------------------------

    def _shape(self, roots: dict[str, Any]) -> tuple[Any, ...]:
        return shape(*(roots[name] for name in ROOTS))

    @precondition(lambda self: not self.blocks)
    @rule(full_compare=st.booleans())
    def flush(self, full_compare: bool) -> None:
        """After a flush, the next run finds the state as it is."""
        self.program.flush(full_compare=full_compare)
        assert not self.program.errors
        self._remember()
        self._check_next_run()

    @precondition(lambda self: not self.blocks)
    @rule(full_compare=st.booleans())
    def idle(self, full_compare: bool) -> None:
        """A second flush of the same state writes nothing."""
        self.flush(full_compare=full_compare)
        assert self.program.flush(full_compare=full_compare) == []

    @precondition(lambda self: not self.blocks)
    @rule(known=st.booleans())
    def fail(self, known: bool) -> None:
        """A flush fails; whether the store has it may be unknown."""
        self.program.flush(outcome="lost" if known else "unknown")
        if not known:
            self._remember()
        self._check_next_run()

    @precondition(lambda self: not self.blocks)
    @rule(n=numbers, key=keys, value=atoms)
    def write_while_encoding(self, n: int, key: Any, value: Any) -> None:
        """What is written after the cut is not part of it."""
        capture = self.program.tracker.cut()
        assert capture is not None
        self._remember()
        self.put_atom(n, key, value)
        self.toggle(n, key)
        self.change_list(n, 1, value, n % 6)
        self.change_deque(n, 1, value, n % len(ENDS))
        self.move_to_end(n, key, last=bool(n % 2))
        self.change_factory(n, FACTORIES[n % len(FACTORIES)])
        self.remove_key(n + 1, key)
        changes = capture.encode()
        if changes:
            self.program.journal.commit(changes)
        capture.saved()
        self._check_next_run()

    @precondition(lambda self: not self.blocks)
    @rule()
    def restart(self) -> None:
        """Go on in the next run; what was held outside is gone."""
        self.program = self.program.restart()
        self.model = copy.deepcopy(self.saved)
        self.outside = []
        self._open()
        assert self._shape(self.live) == self._shape(self.model)
        assert self.program.flush(full_compare=True) == []

    def _remember(self) -> None:
        self.saved = copy.deepcopy(self.model)

    def _check_next_run(self) -> None:
        following = self.program.restart()
        assert self._shape(_roots(following)) == self._shape(self.saved)

    # -- atomic -------------------------------------------------------------------------------

    @precondition(lambda self: len(self.blocks) < 2)
    @rule()
    def begin(self) -> None:
        """Enter an `atomic()` block."""
        block = self.program.tracker.atomic()
        block.__enter__()
        self.blocks.append((block, self._former()))

    @precondition(lambda self: self.blocks)
    @rule()
    def end(self) -> None:
        """Leave it."""
        block, _ = self.blocks.pop()
        block.__exit__(None, None, None)

    @precondition(lambda self: self.blocks)
    @rule()
    def roll_back(self) -> None:
        """Leave it by an exception: the state is as it was when it began.

        Nothing is promised about containers that were not part of the state then.
        """
        block, (outside, former) = self.blocks.pop()
        error = KeyError()
        assert not block.__exit__(KeyError, error, None)
        self.outside = outside
        for model, content in former:
            _restore(model, content)

    def _former(self) -> tuple[list[Pair], list[tuple[Any, Any]]]:
        inside = self.pairs([])
        models = [id(pair.model) for pair in inside]
        outside = [pair for pair in self.outside if id(pair.model) in models]
        return outside, [(pair.model, copy.copy(pair.model)) for pair in inside]

    # -- always -------------------------------------------------------------------------------

    @invariant()
    def live_is_the_model(self) -> None:
        """What the program sees is what it would see with plain containers."""
        outside = [pair.live for pair in self.outside], [pair.model for pair in self.outside]
        live = shape(*self.live.values(), *outside[0])
        assert live == shape(*self.model.values(), *outside[1])

    def teardown(self) -> None:
        """Leave open blocks, so that nothing remains in the context."""
        while self.blocks:
            self.end()


def _empty(kind: str) -> Any:
    return deque(maxlen=5) if kind == "window" else BUILTIN[kind]()


def _roots(program: Program) -> dict[str, Any]:
    return {
        name: program.root(name, "deque", _empty(kind))
        if kind == "window"
        else program.root(name, kind)
        for name, kind in ROOTS.items()
    }


def _inside(container: Any) -> Iterator[Any]:
    if isinstance(container, dict):
        return iter(container.values())
    return iter(container if isinstance(container, list | deque) else ())


def _new(kind: str) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "dict": lambda: {"x": [1, {"y": {"z"}}], "y": 2},
        "list": lambda: [{"x": 1}, 2, [3]],
        "set": lambda: {"x", 1},
        "counter": lambda: Counter("xxy"),
        "deque": lambda: deque([{"x": deque()}, 2, [3]], 7),
        "ordereddict": lambda: OrderedDict(x=1, y={"z": OrderedDict(z=[1])}, z=deque([1])),
        "defaultdict": lambda: defaultdict(list, {"x": [1, defaultdict(dict, y={})]}),
    }
    return makers[kind]()


def _grow(target: Any, numbers: range, nested: int) -> None:
    if isinstance(target, Counter):
        target.update(f"k{i}" for i in numbers)
    elif isinstance(target, dict):
        target.update({f"k{i}": [i] if i % 97 < nested else i for i in numbers})
    elif isinstance(target, set):
        target.update(f"k{i}" for i in numbers)
    else:
        target.extend([i] if i % 97 < nested else i for i in numbers)


def _restore(model: Any, content: Any) -> None:
    model.clear()
    if isinstance(model, list | deque):
        model.extend(content)
    elif isinstance(model, Counter):
        dict.update(model, content)
    else:
        model.update(content)
    if isinstance(model, defaultdict):
        model.default_factory = content.default_factory


TestState = StateMachine.TestCase
TestState.settings = settings(
    deadline=None,
    max_examples=int(os.environ.get("AUTOSTATE_EXAMPLES", "20")),
    stateful_step_count=int(os.environ.get("AUTOSTATE_STEPS", "30")),
    suppress_health_check=list(HealthCheck),
    derandomize="AUTOSTATE_EXAMPLES" not in os.environ,
)

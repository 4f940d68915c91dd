"""Random programs against a model in plain Python.

Every container exists twice: as the program sees it, and plain. Whatever is done to one is done
to the other; after a flush, the next run must recover exactly what the plain ones are: the same
structure, types and order, and the same objects at the same places. A flush that was lost
recovers what was saved before; one whose answer was lost recovers either.

`AUTOSTATE_STEPS` and `AUTOSTATE_EXAMPLES` make it run longer.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conformance.state_kit import BUILTIN, Program, shape

ROOTS: Final = {"a": "dict", "b": "dict", "l": "list", "s": "set", "c": "counter"}
KEYS: Final = ["x", "y", "z", "", "$set", 1, 0, (1, 2), None]
MANY: Final = 300

keys = st.sampled_from(KEYS)
numbers = st.integers(0, 1 << 16)
atoms = st.one_of(
    st.integers(-5, 5),
    st.sampled_from(["", "text", 1.5, None, True, float("inf"), b"b", (1, "t"), frozenset("f")]),
)


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
        self.model: dict[str, Any] = {name: BUILTIN[kind]() for name, kind in ROOTS.items()}
        self.live: dict[str, Any] = {}
        self.blocks: list[tuple[Any, Any]] = []
        self._open()
        self.saved: dict[str, Any] = {}
        self.flush(sweep=False)

    def _open(self) -> None:
        self.live = {name: self.program.root(name, kind) for name, kind in ROOTS.items()}

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
                if isinstance(model, dict | list | set)
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
        if pair := self.pick(n, "dict"):
            pair.live[key] = value
            pair.model[key] = value

    @rule(n=numbers, key=keys, kind=st.sampled_from(list(BUILTIN)), held=st.booleans())
    def put_new(self, n: int, key: Any, kind: str, held: bool) -> None:
        """Assign a new container, which the program may hold further."""
        live, model = _new(kind), _new(kind)
        if pair := self.pick(n, "dict"):
            pair.live[key] = live
            pair.model[key] = model
        elif pair := self.pick(n, "list"):
            pair.live.append(live)
            pair.model.append(model)
        if held:
            self.outside.append(Pair(live, model))

    @rule(n=numbers, m=numbers, key=keys)
    def share(self, n: int, m: int, key: Any) -> None:
        """Put a container that is somewhere also into a dict: shared, or a cycle."""
        pair, other = self.pick(n, "dict"), self.pick(m, *BUILTIN)
        if pair and other:
            pair.live[key] = other.live
            pair.model[key] = other.model

    @rule(n=numbers, m=numbers)
    def share_in_list(self, n: int, m: int) -> None:
        """Append a container that is somewhere."""
        pair, other = self.pick(n, "list"), self.pick(m, *BUILTIN)
        if pair and other:
            pair.live.append(other.live)
            pair.model.append(other.model)

    @rule(n=numbers, m=numbers, key=keys, other=keys)
    def move(self, n: int, m: int, key: Any, other: Any) -> None:
        """Move an entry from one dict to another."""
        source, target = self.pick(n, "dict"), self.pick(m, "dict")
        if source and target and key in source.model:
            target.live[other] = source.live.pop(key)
            target.model[other] = source.model.pop(key)

    @rule(n=numbers, key=keys)
    def remove_key(self, n: int, key: Any) -> None:
        """Remove an entry."""
        if pair := self.pick(n, "dict", "counter"):
            pair.live.pop(key, None)
            pair.model.pop(key, None)

    @rule(n=numbers, key=keys, held=st.booleans())
    def reorder(self, n: int, key: Any, held: bool) -> None:
        """Remove an entry and put it back at the end."""
        pair = self.pick(n, "dict")
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

    @rule(n=numbers, first=st.integers(0, 3), what=st.integers(0, 2))
    def grow(self, n: int, first: int, what: int) -> None:
        """Grow over the size at which a container is keyed."""
        if pair := self.pick(n, *BUILTIN):
            for target in (pair.live, pair.model):
                _grow(target, range(first, first + MANY), nested=what)

    @rule(n=numbers, left=st.integers(0, 300))
    def shrink(self, n: int, left: int) -> None:
        """Shrink, from the end."""
        if pair := self.pick(n, "dict", "list", "counter"):
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
    @rule(sweep=st.booleans())
    def flush(self, sweep: bool) -> None:
        """After a flush, the next run finds the state as it is."""
        self.program.flush(sweep=sweep)
        assert not self.program.errors
        self._remember()
        self._check_next_run()

    @precondition(lambda self: not self.blocks)
    @rule(sweep=st.booleans())
    def idle(self, sweep: bool) -> None:
        """A second flush of the same state writes nothing."""
        self.flush(sweep=sweep)
        assert self.program.flush(sweep=sweep) == []

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
        assert self.program.flush(sweep=True) == []

    def _remember(self) -> None:
        self.saved = copy.deepcopy(self.model)

    def _check_next_run(self) -> None:
        following = self.program.restart()
        roots = {name: following.root(name, kind) for name, kind in ROOTS.items()}
        assert self._shape(roots) == self._shape(self.saved)

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


def _inside(container: Any) -> Iterator[Any]:
    if isinstance(container, dict):
        return iter(container.values())
    return iter(container if isinstance(container, list) else ())


def _new(kind: str) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "dict": lambda: {"x": [1, {"y": {"z"}}], "y": 2},
        "list": lambda: [{"x": 1}, 2, [3]],
        "set": lambda: {"x", 1},
        "counter": lambda: Counter("xxy"),
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
    if isinstance(model, list):
        model.extend(content)
    elif isinstance(model, Counter):
        dict.update(model, content)
    else:
        model.update(content)


TestState = StateMachine.TestCase
TestState.settings = settings(
    deadline=None,
    max_examples=int(os.environ.get("AUTOSTATE_EXAMPLES", "30")),
    stateful_step_count=int(os.environ.get("AUTOSTATE_STEPS", "30")),
    suppress_health_check=list(HealthCheck),
    derandomize="AUTOSTATE_EXAMPLES" not in os.environ,
)

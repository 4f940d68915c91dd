"""Random programs over containers and objects that share each other, beside a plain model.

A program is a list of steps, each of four numbers, so that it can be printed, repeated and made
shorter: what a step works on is chosen by its numbers among what there is. Every step is done in
two worlds, one with state objects and one of plain values; after a save, the next run must find
what the plain world is, the same objects at the same places.

What is no state object is not undone by `atomic()`, and what cannot change has no identity worth
keeping: no step asks for that.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import autostate
from autostate.tracking.layout import layout_of
from autostate.tracking.mirror import InstanceRoot
from tests.conformance.state_kit import BUILTIN, Program

Step = tuple[int, int, int, int]

ROOTS: Final = {"a": "dict", "b": "list", "c": "dict", "o": "object", "q": "deque"}
NAMES: Final = ("x", "y", "z", 1, (2, 3))
MANY: Final = 280


@dataclass
class Box:
    """An object with fields that can be assigned."""

    left: Any = None
    right: Any = None

    __hash__ = object.__hash__


@dataclass(slots=True, eq=False)
class Slots:
    """The same without a `__dict__`."""

    left: Any = None
    right: Any = None


@dataclass(frozen=True, eq=False)
class Frozen:
    """An object that cannot change, and may hold what can."""

    left: Any = None
    right: Any = None


@autostate.persisted(name="random-programs")
class Plain:
    """A state object of the program's own class."""


OBJECTS: Final = (Box, Slots, Plain)
FIELDS: Final = ("left", "right")


def fields_of(value: Any) -> list[tuple[str, Any]]:
    """The fields of an object."""
    if type(value) in (Box, Slots, Frozen):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    return list(vars(value).items())


def parts(value: Any) -> list[Any]:
    """What is in a container or an object."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | deque):
        return list(value)
    return [part for _, part in fields_of(value)] if isinstance(value, (*OBJECTS, Frozen)) else []


def describe(values: list[Any]) -> Any:
    """Structure, types, order, and which places hold the same object."""
    met: dict[int, int] = {}
    return [_describe(value, met) for value in values]


def _describe(value: Any, met: dict[int, int]) -> Any:
    cls = next((cls for cls in _KINDS if isinstance(value, cls)), None)
    if cls is None:
        return type(value).__name__, repr(value)
    if cls not in (tuple, Frozen):
        if id(value) in met:
            return "met", met[id(value)]
        met[id(value)] = len(met)
    name = cls.__name__
    if issubclass(cls, set):
        return name, sorted(map(repr, value))
    if issubclass(cls, dict):
        return name, [(repr(key), _describe(item, met)) for key, item in value.items()]
    if cls in (list, tuple, deque):
        return name, getattr(value, "maxlen", None), [_describe(item, met) for item in value]
    return name, [(field, _describe(part, met)) for field, part in fields_of(value)]


_KINDS: Final = (Counter, OrderedDict, defaultdict, dict, list, deque, set, tuple, *OBJECTS, Frozen)


class World:
    """Roots by name, and what the program holds beside them."""

    def __init__(self, roots: dict[str, Any]) -> None:
        self.roots = roots
        self.outside: list[Any] = []

    def all(self) -> list[Any]:
        """What can be described: the roots, and what is held."""
        return [*self.roots.values(), *self.outside]

    def reach(self, *, roots_only: bool = False) -> Iterator[Any]:
        """Everything that can change, once, in the same order in both worlds."""
        met: set[int] = set()
        todo = list(self.roots.values()) if roots_only else self.all()
        while todo:
            value = todo.pop(0)
            if isinstance(value, tuple | Frozen):
                todo += parts(value)
            elif isinstance(value, _KINDS) and id(value) not in met:
                met.add(id(value))
                yield value
                todo += parts(value)

    def pick(self, number: int, *kinds: Any) -> Any:
        """One of those that are of some kinds, None if there is none."""
        fitting = [value for value in self.reach() if isinstance(value, kinds)]
        return fitting[number % len(fitting)] if fitting else None


def put(target: Any, number: int, value: Any) -> None:
    """Put a value somewhere in a container or an object."""
    if isinstance(target, dict):
        target[NAMES[number % len(NAMES)]] = value
    elif isinstance(target, deque):
        target.append(value) if number % 2 else target.appendleft(value)
    elif isinstance(target, list):
        if number % 3 == 0 and target:
            target[number % len(target)] = value
        else:
            target.insert(number % (len(target) + 1), value)
    else:
        setattr(target, FIELDS[number % 2], value)


def take(target: Any, number: int) -> Any:
    """Take a value out of a container or an object; None if it is empty."""
    if isinstance(target, dict):
        keys = list(target)
        return target.pop(keys[number % len(keys)]) if keys else None
    if isinstance(target, list):
        return target.pop(number % len(target)) if target else None
    if isinstance(target, deque):
        return (target.pop() if number % 2 else target.popleft()) if target else None
    taken = getattr(target, FIELDS[number % 2], None)
    setattr(target, FIELDS[number % 2], None)
    return taken


HOLDERS: Final = (dict, list, deque, *OBJECTS)
MAKERS: Final[tuple[Callable[[Any], Any], ...]] = (
    lambda inner: {"x": inner, "y": {"z": [1]}},
    lambda inner: [inner, [2], {"x": 1}],
    lambda inner: deque([inner, {"d": 1}]),
    lambda inner: Box(inner, [3]),
    lambda inner: Slots([4], inner),
    lambda inner: Frozen(inner, {"f": [5]}),
    lambda inner: (inner, {"t": 6}),
    lambda inner: OrderedDict(x=inner, y=Box()),
    lambda inner: defaultdict(list, x=inner),
    lambda inner: [Box(), {"s": {1, "m"}}, inner],
    lambda _inner: {f"k{i}": [i] if i % 90 == 7 else i for i in range(MANY)},
    lambda _inner: [{"i": i} for i in range(MANY)],
)


def new(world: World, a: int, b: int, c: int) -> None:
    """Put something new somewhere, with something old in it now and then."""
    target = world.pick(a, *HOLDERS)
    made = MAKERS[b % len(MAKERS)](world.pick(c, *HOLDERS, set) if c % 4 == 0 else c % 7)
    put(target, b + c, made)
    if c % 3 == 0 and not isinstance(made, tuple | Frozen):
        world.outside.append(made)


def share(world: World, a: int, b: int, c: int) -> None:
    """Put something into something else as well: shared, or a cycle."""
    put(world.pick(a, *HOLDERS), c, world.pick(b, *HOLDERS, set))


def move(world: World, a: int, b: int, c: int) -> None:
    """Take something out and put it in elsewhere."""
    taken = take(world.pick(a, *HOLDERS), c)
    put(world.pick(b, *HOLDERS), c, taken)


def remove(world: World, a: int, b: int, c: int) -> None:
    """Take something out, and hold it further now and then."""
    taken = take(world.pick(a, *HOLDERS), b)
    if c % 2 and isinstance(taken, (*HOLDERS, set)):
        world.outside.append(taken)


def put_back(world: World, a: int, b: int, c: int) -> None:
    """Put what is held into the state again, and hold it further or not."""
    if world.outside:
        put(world.pick(a, *HOLDERS), c, world.outside[b % len(world.outside)])
        if c % 2:
            world.outside.pop(b % len(world.outside))


def let_go(world: World, a: int, _b: int, _c: int) -> None:
    """Hold something no further."""
    if world.outside:
        world.outside.pop(a % len(world.outside))


def hold(world: World, a: int, _b: int, _c: int) -> None:
    """Hold something."""
    if len(world.outside) < 4:
        world.outside.append(world.pick(a, *HOLDERS))


def write(world: World, a: int, b: int, c: int) -> None:
    """Put a scalar somewhere."""
    target = world.pick(a, *HOLDERS, set)
    if isinstance(target, set):
        target.symmetric_difference_update({b % 5})
    else:
        put(target, b, ("text", 1.5, None, c)[c % 4])


def rearrange(world: World, a: int, b: int, c: int) -> None:
    """Change the order, or empty something."""
    target = world.pick(a, dict, list, deque)
    if isinstance(target, OrderedDict) and target:
        target.move_to_end(list(target)[b % len(target)], last=bool(c % 2))
    elif isinstance(target, deque):
        target.rotate(b % 5 - 2)
    elif isinstance(target, list):
        (target.reverse, lambda: target.__delitem__(slice(b % 3, None, 2)))[c % 2]()
    elif c % 5 == 0:
        target.clear()


CHANGES: Final = (
    *(new, new, share, share, share, move, remove, remove, put_back, put_back),
    *(let_go, hold, write, write, rearrange),
)
INSIDE: Final = (new, share, move, remove, write, rearrange)
"""What may be undone: steps that never write to an object."""


class Run:
    """A program at work, in both worlds."""

    def __init__(self) -> None:
        self.program = Program()
        self.plain = World({name: _root(kind) for name, kind in ROOTS.items()})
        self.live = World(self._open())
        self.saved: World = self.plain
        self.flush(0)

    def _open(self) -> dict[str, Any]:
        return open_roots(self.program)

    def do(self, step: Step) -> None:
        """Do one step, and compare."""
        number, *choice = step
        if number % 20 < len(CHANGES):
            for world in (self.plain, self.live):
                CHANGES[number % 20](world, *choice)
        else:
            saves = (self.flush, self.flush_while_writing, self.flush_in_slices)
            flush = saves[choice[1] % len(saves)]
            (flush, flush, self.restart, self.lose, self.roll_back)[number % 20 - 15](choice[0])
        assert describe(self.live.all()) == describe(self.plain.all())

    def flush(self, number: int) -> None:
        """Save; the next run finds it."""
        self.program.flush(full_compare=bool(number % 2))
        assert not self.program.errors, self.program.errors
        self.saved = World(copy.deepcopy(self.plain.roots))
        self._check()

    def _write(self, rng: random.Random) -> None:
        """Do a few steps more."""
        for _ in range(rng.randrange(4)):
            change, choice = rng.choice(CHANGES), [rng.randrange(1 << 16) for _ in range(3)]
            for world in (self.plain, self.live):
                change(world, *choice)

    def _writing(self, rng: random.Random) -> Callable[[], None]:
        """What writes at the first pauses: each write may give more to do, without an end."""
        pauses = iter(range(3))

        def write() -> None:
            for _ in islice(pauses, 1):
                self._write(rng)

        return write

    def flush_while_writing(self, number: int) -> None:
        """Write before what was cut is encoded, and while it is: that is not part of it."""
        rng = random.Random(number)
        capture = self.program.tracker.cut(full_compare=bool(number % 2))
        assert capture is not None
        self.saved = World(copy.deepcopy(self.plain.roots))
        self._write(rng)
        changes = list(capture.encode(self._writing(rng)))
        assert not capture.errors, capture.errors
        if changes:
            self.program.journal.commit(changes)
        capture.saved()
        self._check()

    def flush_in_slices(self, number: int) -> None:
        """Write while the cut is prepared: that is part of it."""
        rng = random.Random(number)
        self.program.tracker.prepare(self._writing(rng), full_compare=bool(number % 2))
        self.flush(number)

    def lose(self, number: int) -> None:
        """A save fails; or it is not known whether it did."""
        self.program.flush(outcome="lost" if number % 2 else "unknown")
        if not number % 2:
            self.saved = World(copy.deepcopy(self.plain.roots))
        self._check()

    def _check(self) -> None:
        found = open_roots(self.program.restart())
        assert describe(list(found.values())) == describe(list(self.saved.roots.values()))

    def restart(self, number: int) -> None:
        """Go on in the next run, from what was saved."""
        self.program = self.program.restart()
        self.plain = World(copy.deepcopy(self.saved.roots))
        self.live = World(open_roots(self.program, list(ROOTS)[number % len(ROOTS) :]))
        self.live.roots = {name: self.live.roots[name] for name in ROOTS}

    def roll_back(self, number: int) -> None:
        """Write in a block that raises: all is as it was."""
        rng = random.Random(number)
        steps = [(rng.choice(INSIDE), [rng.randrange(1 << 16) for _ in range(3)]) for _ in range(3)]
        # Nothing is promised about what is not part of the state when the block begins.
        for world in (self.plain, self.live):
            inside = {id(value) for value in world.reach(roots_only=True)}
            world.outside = [value for value in world.outside if id(value) in inside]
        former = self._former()
        try:
            with self.program.tracker.atomic():
                for change, choice in steps:
                    for world in (self.plain, self.live):
                        held = list(world.outside)
                        change(_Containers(world), *choice)
                        world.outside = held
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        for value, content in former:
            _restore(value, content)

    def _former(self) -> list[tuple[Any, Any]]:
        inside = self.plain.reach(roots_only=True)
        return [(value, copy.copy(value)) for value in inside if not isinstance(value, OBJECTS)]


class _Containers(World):
    """A world in which nothing is an object that could be written to."""

    def __init__(self, world: World) -> None:
        super().__init__(world.roots)
        self.outside = world.outside

    def reach(self, *, roots_only: bool = False) -> Iterator[Any]:
        """What is no object."""
        found = super().reach(roots_only=roots_only)
        return (value for value in found if not isinstance(value, OBJECTS))


def _restore(value: Any, content: Any) -> None:
    value.clear()
    if isinstance(value, list | deque):
        value.extend(content)
    else:
        value.update(content)


def _root(kind: str) -> Any:
    return object.__new__(Plain) if kind == "object" else BUILTIN[kind]()


def open_roots(program: Program, first: list[str] | None = None) -> dict[str, Any]:
    """The state objects of a run, some of them asked for first."""
    found = {}
    for name in [*(first or ()), *ROOTS]:
        kind = ROOTS[name]
        root = program.tracker.root(name)
        if kind != "object":
            found[name] = program.root(name, kind)
        elif root is None:
            made = object.__new__(Plain)
            root = InstanceRoot.of(made, layout_of(Plain))
            program.tracker.attach(root, name, "object")
            found[name] = made
        else:
            found[name] = root.instance
    return {name: found[name] for name in ROOTS}


def random_steps(rng: random.Random, many: int) -> list[Step]:
    """A program."""
    return [tuple(rng.randrange(1 << 16) for _ in range(4)) for _ in range(many)]  # type: ignore[misc]


def failure(steps: list[Step]) -> str | None:
    """What goes wrong with a program; None if nothing does."""
    try:
        run = Run()
        for step in steps:
            run.do(step)
        run.flush(0)
        run.restart(0)
        assert describe(run.live.all()) == describe(run.plain.all())
        assert run.program.flush(full_compare=True) == []
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def shortest(steps: list[Step]) -> list[Step]:
    """A program that still fails without any of its steps that can be left out."""
    size = len(steps) // 2
    while size:
        for at in range(len(steps) - size, -1, -size):
            fewer = steps[:at] + steps[at + size :]
            if failure(fewer) is not None:
                steps = fewer
        size //= 2
    return steps

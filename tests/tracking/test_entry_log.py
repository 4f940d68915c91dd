"""What is undone of mappings and sets that several blocks write to, and what it costs."""

from __future__ import annotations

import random
import tracemalloc
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from tests.atomic.blocks import Actor
from tests.campaign import LONG
from tests.conformance.state_kit import Program

LARGE = 300
SIZES = [0, 4, 255, 258, LARGE]


def begun(kind: str, content: Any, tasks: int = 2) -> tuple[Program, Any, list[Actor]]:
    """A saved mapping or set, and tasks that are in a block each."""
    program = Program()
    if kind in ("ordereddict", "defaultdict"):
        made = OrderedDict(content) if kind == "ordereddict" else defaultdict(str, content)
        program.root("outer")["state"] = made
        del made
        program.flush()
        state = program.root("outer")["state"]
    else:
        state = program.root("state", kind, content)
    program.flush()
    actors = [Actor(program.tracker.atomic) for _ in range(tasks)]
    for actor in actors:
        actor.begin()
    return program, state, actors


def again(program: Program, kind: str) -> Any:
    """What the next run finds."""
    if kind in ("ordereddict", "defaultdict"):
        return program.restart().root("outer")["state"]
    return program.restart().root("state", kind)


def exact(state: Any) -> list[Any]:
    """The keys with their types, the values, and the order; a set has none."""
    if isinstance(state, set):
        return sorted((type(member).__name__, repr(member)) for member in state)
    items = OrderedDict.items(state) if isinstance(state, OrderedDict) else dict.items(state)
    return [(type(key).__name__, repr(key), value) for key, value in items]


REMOVALS: dict[str, tuple[str, Callable[[Any, int], object]]] = {
    "del": ("dict", lambda state, number: state.__delitem__(number)),
    "pop": ("dict", lambda state, number: state.pop(number)),
    "popitem": ("dict", lambda state, _: state.popitem()),
    "del count": ("counter", lambda state, number: state.__delitem__(number)),
    "discard": ("set", lambda state, number: state.discard(number)),
    "pop member": ("set", lambda state, _: state.pop()),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_removals_in_turns_keep_only_what_was_removed(name: str) -> None:
    """And the keys once, for their order; not the whole content with each change of writer."""
    size, turns = 20_000, 50
    kind, remove = REMOVALS[name]
    members = range(size)
    program, state, actors = begun(
        kind, set(members) if kind == "set" else dict.fromkeys(members, 0)
    )
    before = exact(state)
    tracemalloc.start()
    for number in range(turns):
        for index, actor in enumerate(actors):
            actor.do(remove, state, 2 * number + index)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(state) == size - 2 * turns
    # a copy of the content takes more than 500,000 bytes, the keys alone 160,000
    assert kept < 3_000 * 2 * turns + 10 * size
    for actor in actors:
        actor.end(fails=True)
    assert exact(state) == before
    program.flush()
    assert exact(again(program, kind)) == before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [1, True, 1.0])
@pytest.mark.parametrize("second", [1, True, 1.0])
def test_the_member_that_was_held_comes_back(first: Any, second: Any, size: int) -> None:
    """Where an equal one of another type came in its place, by the block or by others."""
    for by_others in (False, True):
        program, state, (mine, others) = begun("set", {*map(str, range(size)), first})
        before = exact(state)
        mine.do(state.discard, second)
        (others if by_others else mine).do(state.add, second)
        mine.end(fails=True)
        others.end(fails=True)
        assert exact(state) == before
        program.flush()
        assert exact(again(program, "set")) == before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["dict", "counter", "ordereddict", "defaultdict"])
def test_the_key_that_was_held_comes_back_where_it_was(kind: str, size: int) -> None:
    """With its value; whoever has put an equal one in its place."""
    for by_others in (False, True):
        content: dict[Any, int] = {"first": 0, 1: 1, **dict.fromkeys(map(str, range(size)), 2)}
        program, state, (mine, others) = begun(kind, content)
        before = exact(state)
        mine.do(state.__delitem__, True)
        (others if by_others else mine).do(state.__setitem__, 1.0, 7)
        mine.end(fails=True)
        others.end(fails=True)
        assert exact(state) == before
        program.flush()
        assert sorted(map(str, exact(again(program, kind)))) == sorted(map(str, before))


def test_what_others_have_only_passed_is_undone_with_what_was_before() -> None:
    """A copy of all that somebody else found says nothing of an entry that was not changed."""
    program, state, (mine, passing, others) = begun("dict", {"a": "before", "b": 0}, 3)
    mine.do(state.__setitem__, "a", "mine")
    passing.do(state.update, {"b": 1})
    others.do(state.__setitem__, "a", "others")
    mine.end(fails=True)
    assert state == {"a": "others", "b": 1}
    others.end(fails=True)
    assert state == {"a": "before", "b": 1}
    program.flush()


def test_what_is_known_of_writers_stays_known_beside_a_copy_of_all() -> None:
    """An entry that others have written twice, and left as it was, is theirs."""
    program, state, (mine, others) = begun("dict", {"a": "before"})
    mine.do(state.pop, "a")
    others.do(state.__setitem__, "a", "others")
    others.do(state.pop, "a")
    others.do(state.update, ())
    others.end()
    mine.end(fails=True)
    assert state == {}
    program.flush()


@pytest.mark.parametrize("write", ["clear", "add"])
def test_a_comparison_that_writes_to_the_set_it_belongs_to(write: str) -> None:
    """The content before both writes is known, whichever of them is noted first."""
    active = False

    class Alike:
        def __hash__(self) -> int:
            return hash(1)

        def __eq__(self, other: object) -> bool:
            nonlocal active
            if active:
                active = False
                state.clear() if write == "clear" else state.add("inner")
            return self is other

    program, state, (mine, others) = begun("set", {1, 2})
    alike = Alike()
    mine.do(state.add, alike)
    active = True
    mine.do(state.clear)
    assert not active
    mine.end(fails=True)
    assert exact(state) == exact({1, 2})
    others.end()
    program.flush()


POOL = [1, True, 1.0, 2, 2.0, 0, False, "a", ("t", 1), ("t", True), *(f"k{n}" for n in range(6))]


def write(rng: random.Random, state: Any, kind: str, value: str) -> object:
    """Write something to a mapping or set."""
    key = rng.choice(POOL)
    many = set(rng.sample(POOL, 3))
    if kind == "set":
        verbs: list[Callable[[], object]] = [
            *[lambda: state.add(key), lambda: state.discard(key)] * 4,
            lambda: state.pop() if state else None,
            lambda: state.update(many),
            lambda: state.difference_update(many),
            lambda: state.symmetric_difference_update(many),
            lambda: state.intersection_update({*list(state)[::2], *POOL}),
            lambda: None if rng.randrange(4) else state.clear(),
        ]
    else:
        verbs = [
            *[lambda: state.__setitem__(key, value), lambda: state.pop(key, None)] * 3,
            lambda: state.popitem() if state else None,
            lambda: state.setdefault(key, value),
            lambda: state.update(dict.fromkeys(many, value)) if kind != "counter" else None,
            lambda: state.__delitem__(key) if key in state else None,
            lambda: None if rng.randrange(3) else state.clear(),
        ]
    if kind == "ordereddict" and key in state:
        verbs.append(lambda: state.move_to_end(key, rng.random() < 0.5))
    return rng.choice(verbs)()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["dict", "counter", "ordereddict", "defaultdict", "set"])
def test_random_writes_of_a_block_are_undone_exactly(
    rng: random.Random, kind: str, size: int
) -> None:
    """Values, types of keys, and order; and a save in between has nothing of them."""
    for _ in range(200 if LONG else 8):
        keys = [*(f"k{number}" for number in range(size)), *rng.sample([1, 0, "a", 2.0], 2)]
        rng.shuffle(keys)
        program, state, (actor,) = begun(
            kind, set(keys) if kind == "set" else dict.fromkeys(keys, "base"), tasks=1
        )
        before = exact(state)
        for number in range(rng.choice([1, 3, 10])):
            actor.do(write, rng, state, kind, f"new {number}")
            if not rng.randrange(6):
                now = exact(state)
                program.flush()
                assert exact(state) == now
                assert sorted(exact(again(program, kind))) == sorted(before)
        actor.end(fails=True)
        assert exact(state) == before
        program.flush()
        assert sorted(exact(again(program, kind))) == sorted(before)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["dict", "ordereddict", "set"])
def test_random_writes_of_several_tasks(rng: random.Random, kind: str, size: int) -> None:
    """An entry is what the last write left that was not undone, if each task wrote it once.

    A write of what is there already is a write like others.
    """
    for _ in range(200 if LONG else 8):
        keys = [f"k{number}" for number in range(size)]
        content = set(keys) if kind == "set" else dict.fromkeys(keys, "base")
        program, state, actors = begun(kind, content, tasks=3)
        writes: list[tuple[Actor | None, str, str | None]] = []
        due = [(actor, key) for actor in (*actors, None) for key in (*keys[:5], "x", "y")]
        for actor, key in rng.sample(due, rng.randint(1, len(due))):
            value = rng.choice([None, f"new {len(writes)}"])
            if kind == "set":
                do = state.discard if value is None else state.add
                args: tuple[Any, ...] = (key,)
            else:
                do = state.pop if value is None else state.__setitem__
                args = key, value
            do(*args) if actor is None else actor.do(do, *args)
            if not rng.randrange(4):  # changes nothing, but could have changed all
                nothing = rng.choice(actors)
                nothing.do(state.update, ())
            writes.append((actor, key, value))
            if not rng.randrange(8):
                now = exact(state)
                program.flush()
                assert exact(state) == now
        for actor in rng.sample(actors, len(actors)):
            undone = rng.random() < 0.7
            actor.end(fails=undone)
            writes = [one for one in writes if not undone or one[0] is not actor]
        expected = dict.fromkeys(keys, "base")
        for _, key, value in writes:
            if value is None:
                expected.pop(key, None)
            else:
                expected[key] = value
        assert state == (set(expected) if kind == "set" else expected)
        program.flush()
        assert again(program, kind) == state

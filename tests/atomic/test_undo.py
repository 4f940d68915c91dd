"""What a block undoes, where others have written meanwhile."""

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedList, PersistedSet
from autostate.tracking.blocks import Blocks
from tests.atomic.blocks import LARGE, WAIT, Actor
from tests.conformance.state_kit import Program


@pytest.mark.parametrize("size", [3, LARGE], ids=["small", "large"])
def test_random_blocks_leave_what_others_did(rng: random.Random, size: int) -> None:
    """Against a model that only adds up: tasks with nested blocks, and one without any."""
    for _ in range(30):
        one_history(rng, size)


class History:
    """Tasks that write in turns, and what is to be left of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.program = Program()
        self.roots = roots_of(self.program, size)
        self.program.flush()
        self.actors = [Actor(self.program.tracker.atomic) for _ in range(4)]
        self.done: dict[Any, list[list[Any]]] = {actor: [[]] for actor in [*self.actors, None]}
        self.written: list[Any] = []

    def write(self, actor: Actor | None, what: Any) -> None:
        """Let a task, or somebody in no block, add something."""
        self.written.append(what)
        self.done[actor][-1].append(what)
        add(self.roots, self.size, *what) if actor is None else actor.do(
            add, self.roots, self.size, *what
        )

    def end(self, actor: Actor, *, fails: bool) -> None:
        """Let a block end."""
        actor.end(fails=fails)
        inner = self.done[actor].pop()
        if not fails:
            self.done[actor][-1] += inner

    def check(self, program: Program) -> None:
        """Compare with what is done, of no open block."""
        kept = [what for layers in self.done.values() for what in layers[0]]
        left = [what for what in self.written if what in kept]
        size, roots = self.size, roots_of(program, self.size)
        of = {kind: [value for k, value in left if k == kind] for kind in KINDS}
        assert roots["number"] == {
            k: sum(v for v in of["number"] if v % size == k) for k in range(size)
        }
        counts = {k: sum(v for v in of["count"] if v % 3 == k) for k in range(3)}
        assert +roots["count"] == {k: v for k, v in counts.items() if v}
        assert roots["member"] == {*range(size), *of["member"]}
        assert roots["item"] == [*range(size), *of["item"]]
        assert roots["nested"] == {"inner": {"n": sum(of["nested"])}}


def roots_of(program: Program, size: int) -> dict[str, Any]:
    """The state objects."""
    return {
        "number": program.root("number", default=dict.fromkeys(range(size), 0)),
        "count": program.root("count", "counter"),
        "member": program.root("member", "set", default=set(range(size))),
        "item": program.root("item", "list", default=list(range(size))),
        "nested": program.root("nested", default={"inner": {"n": 0}}),
    }


def add(roots: dict[str, Any], size: int, kind: str, value: int) -> None:
    """Add something to one of them."""
    root = roots[kind]
    if kind == "number":
        root[value % size] += value
    elif kind == "count":
        root[value % 3] += value
    elif kind == "member":
        root.add(value)
    elif kind == "item":
        root.append(value)
    else:
        root["inner"]["n"] += value


def one_history(rng: random.Random, size: int) -> None:
    """Let tasks write in turns, save at random, and compare with what is to be left."""
    history = History(size)
    for step in range(60):
        actor = rng.choice([*history.actors, None])
        move = rng.choice(["begin", "end", "fail", "write", "write", "write", "save"])
        if move == "write" or actor is None:
            history.write(actor, (rng.choice(KINDS), 1000 + step))
        elif move == "begin" and actor.depth < 3:
            actor.begin()
            history.done[actor].append([])
        elif move in ("end", "fail") and actor.depth:
            history.end(actor, fails=move == "fail")
        elif move == "save":
            history.program.flush()
            history.check(history.program.restart())
    for actor in history.actors:
        while actor.depth:
            history.end(actor, fails=False)
    history.check(history.program)
    history.program.flush()
    history.check(history.program.restart())


KINDS = ("number", "count", "member", "item", "nested")


def overtaken(mine: Callable[[Any], Any], others: Callable[[Any], Any], content: Any) -> Any:
    """Let a block write, then somebody else, and undo the block."""
    program = Program()
    state = program.root("state", default=content)
    program.flush()
    actor = Actor(program.tracker.atomic)
    actor.begin()
    actor.do(mine, state)
    others(state)
    actor.end(fails=True)
    program.flush()
    assert program.restart().root("state") == state
    return dict(state)


@pytest.mark.parametrize(
    ("before", "mine", "others", "left"),
    [
        ({"n": 5}, 1, 2, {"n": 7}),
        ({}, 1, 2, {"n": 2}),
        ({"n": 0.5}, 0.25, 1, {"n": 1.5}),
        ({"n": Decimal("0.1")}, Decimal("0.2"), 3, {"n": Decimal("3.1")}),
    ],
)
def test_numbers_are_taken_back_as_differences(
    before: Any, mine: Any, others: Any, left: Any
) -> None:
    """What others have added meanwhile stays."""

    def add(number: Any) -> Callable[[Any], None]:
        return lambda state: state.update(n=state.get("n", 0) + number)

    assert overtaken(add(mine), add(others), before) == left


def test_what_is_no_number_stays_as_the_others_left_it() -> None:
    """And goes back where nobody has written since."""

    def mine(state: Any) -> None:
        state.update(a="mine", b="mine", flag=True)
        del state["c"]

    def others(state: Any) -> None:
        state.update(a="others", flag=False)

    before = {"a": "before", "b": "before", "c": "before", "flag": None}
    left = overtaken(mine, others, before)
    assert left == {"a": "others", "b": "before", "c": "before", "flag": False}


def test_a_later_block_goes_back_to_what_was_before_the_first() -> None:
    """The first was undone meanwhile: what it wrote does not come back."""
    program = Program()
    state = program.root("state", default={"text": "before", "n": 0})
    first, second = Actor(program.tracker.atomic), Actor(program.tracker.atomic)
    first.begin()
    first.do(state.update, {"text": "first", "n": 1})
    second.begin()
    second.do(state.update, {"text": "second", "n": 3})
    first.end(fails=True)
    assert state == {"text": "second", "n": 2}
    second.end(fails=True)
    assert state == {"text": "before", "n": 0}


@pytest.mark.parametrize("size", [5, LARGE])
def test_items_are_taken_back_where_others_have_written(size: int) -> None:
    """Of lists and deques: by identity, wherever they are by then."""
    for kind in ("list", "deque"):
        program = Program()
        state = program.root("state", kind, [str(number) for number in range(size)])
        program.flush()
        actor = Actor(program.tracker.atomic)
        actor.begin()
        actor.do(state.append, "mine")
        actor.do(state.insert, 1, "mine too")
        actor.do(state.remove, "3")
        state.append("others")
        state.insert(0, "others")
        actor.end(fails=True)
        expected = ["others", *[str(number) for number in range(size)], "others"]
        assert list(state) == expected
        program.flush()
        assert list(program.restart().root("state", kind)) == expected


@pytest.mark.parametrize("size", [3, LARGE])
def test_undone_is_undone_exactly(size: int) -> None:
    """Order included, where nobody else has written."""
    program = Program()
    state = program.root("state", default={str(number): number for number in range(size)})
    program.flush()
    before = list(state.items())
    with pytest.raises(ValueError), program.tracker.atomic():
        del state["1"]
        state.pop("0")
        state["1"] = 7
        state["new"] = {"a": [1]}
        state.clear()
        raise ValueError
    assert list(state.items()) == before
    program.flush()
    assert list(program.restart().root("state").items()) == before


def test_an_entry_that_is_put_back_is_saved_where_it_was() -> None:
    """Also of a large dict of which the last save is remembered, to be compared with."""
    program = Program()
    state = program.root("state", default={str(number): number for number in range(LARGE)})
    program.flush()
    entries = state._node_.entries
    entries.compare = entries.all_dirty = True
    program.tracker.dirty_nodes[state._node_] = None
    program.flush()
    before = list(state.items())
    with pytest.raises(ValueError), program.tracker.atomic():
        del state["1"]
        raise ValueError
    program.flush()
    assert list(program.restart().root("state").items()) == before


def test_blocks_that_overlap_keep_no_records_of_those_that_have_ended() -> None:
    """However long there is always one that is open."""
    program = Program()
    state = program.root("state", default={"n": 0, "list": [0]})
    actors = [Actor(program.tracker.atomic) for _ in range(2)]
    actors[0].begin()
    for number in range(1, 200):
        actors[number % 2].begin()
        for actor in actors:
            actor.do(state.update, {"n": state["n"] + 1})
            actor.do(state["list"].append, number)
        actors[(number + 1) % 2].end()
    logs = program.tracker.part(Blocks)._log._logs.values()
    assert max(map(len, logs)) <= 4
    actors[1].end(fails=True)
    assert state["n"] == 397


def test_what_is_written_after_a_block_that_nobody_can_end_stays(state: Any) -> None:
    """It was entered by hand, and forgotten."""

    def forget() -> None:
        stack = contextlib.ExitStack()
        stack.enter_context(autostate.atomic())
        state["n"] = 1

    forget()
    gc.collect()
    state["later"] = True
    autostate.flush(WAIT)
    assert state == {"n": 0, "later": True}


def test_other_kinds_are_undone_as_roots() -> None:
    """Each kind of state object, by the methods that it has."""
    with autostate.open("memory:"):
        seen, queue = PersistedSet("seen", {1, 2}), PersistedList("queue", [1, 2])
        hits = PersistedCounter("hits", a=1)
        with pytest.raises(ValueError), autostate.atomic():
            seen.discard(1)
            seen |= {3}
            queue[0] = 9
            queue.pop()
            hits.update({"a": 3, "b": 1})
            hits.subtract({"c": 1})
            raise ValueError
        assert (seen, queue, hits) == ({1, 2}, [1, 2], {"a": 1})
        autostate.flush()

"""What a block has written that another one has written, too: it stays when one of them fails."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, strategies as st

from tests.atomic.blocks import LARGE, Actor
from tests.conformance.state_kit import Program

Write = Callable[[Any, str], object]


def _add_seven(state: Any, key: str) -> None:
    state[key] += 7


def _count_inside(state: Any, key: str) -> None:
    counts = state.setdefault(key, {}).setdefault("counts", {})
    counts["n"] = counts.get("n", 0) + 1


def _add_nothing(state: Any, key: str) -> None:
    state[key] += 0


WRITES: Final[dict[str, list[Write]]] = {
    "texts": [
        lambda state, key: state.__setitem__(key, "a"),
        lambda state, key: state.__setitem__(key, "b"),
        lambda state, key: state.update({key: "a", "other": True}),
        lambda state, key: state.pop(key, None),
    ],
    "prices": [
        lambda state, key: state.__setitem__(key, float("1234.5")),
        lambda state, key: state.update({key: 1234.5}),
    ],
    "members": [
        lambda state, key: state.add(key),
        lambda state, key: state.update({key, "other"}),
        lambda state, key: state.discard(key),
    ],
    "items": [
        lambda state, key: state.__setitem__(int(key), "a"),
        lambda state, key: state.__setitem__(int(key), "b"),
    ],
    "numbers": [lambda state, key: state.__setitem__(int(key), 9)],
    "sums": [_add_seven, _add_nothing],
    "groups": [
        lambda state, key: state.setdefault(key, {}).setdefault("list", []).append(key),
        lambda state, key: state.setdefault(key, {}).setdefault("set", set()).add(key),
        lambda state, key: state.setdefault(key, {}).setdefault("large", []).extend([7] * LARGE),
        lambda state, key: state.setdefault(key, {}).setdefault("deep", {}).setdefault(key, []),
        _count_inside,
    ],
    "counts": [
        lambda state, key: state.update({key: 3}),
        lambda state, key: state.update({key: 0}),
    ],
}
TASKS: Final = ("A", "B", "C")
STEPS: Final = st.one_of(
    st.tuples(st.sampled_from(TASKS), st.integers(0, 5), st.sampled_from("01")),
    st.tuples(st.sampled_from(["end", "fail"]), st.sampled_from("AB"), st.just("")),
    st.just(("save", "", "")),
)


def content(area: str, size: int) -> Any:
    """What is there at first, in a plain container."""
    contents: dict[str, Any] = {
        "texts": {"0": "a", **{f"k{number}": "text" for number in range(size)}},
        "prices": {"0": 1.0},
        "members": {"0", *(f"k{number}" for number in range(size))},
        "items": ["a", "x"],
        "numbers": [9, 5],
        "sums": {"0": 0, "1": 300},
        "groups": {"0": {}, **{f"k{number}": 1 for number in range(size)}},
        "counts": Counter({"0": 0, "1": 300}),
    }
    return contents[area]


KINDS: Final = {"members": "set", "items": "list", "numbers": "list", "counts": "counter"}


class History:
    """Tasks that write in turns, A and B in blocks, and C outside of any."""

    def __init__(self, area: str, size: int) -> None:
        self.area, self.size = area, size
        self.program = Program()
        self.state = self.root(self.program)
        self.program.flush()
        self.actors = {name: Actor(self.program.tracker.atomic) for name in "AB"}
        for actor in self.actors.values():
            actor.begin()
        self.written: list[tuple[str, Write, str]] = []
        self.open: dict[str, list[int]] = {"A": [], "B": []}

    def root(self, program: Program) -> Any:
        """The state object."""
        return program.root("state", KINDS.get(self.area, "dict"), content(self.area, self.size))

    def step(self, what: str, which: Any, key: str) -> None:
        """Write, end a block and begin another one, or save."""
        if what in TASKS:
            writes = WRITES[self.area]
            write = writes[which % len(writes)]
            if what in self.open:
                self.open[what].append(len(self.written))
                self.actors[what].do(write, self.state, key)
            else:
                write(self.state, key)
            self.written.append((what, write, key))
        elif what == "save":
            self.program.flush()
            undone = {number for numbers in self.open.values() for number in numbers}
            assert self.root(self.program.restart()) == self.without(undone)
        else:
            self.actors[which].end(fails=what == "fail")
            self.actors[which].begin()
            if what == "fail":
                for number in self.open[which]:
                    self.written[number] = "", lambda *_: None, ""
            self.open[which] = []
        undone = set[int]()
        assert self.state == self.without(undone), (what, which, key)

    def without(self, undone: set[int]) -> Any:
        """What the same program leaves in which these writes never were."""
        state = content(self.area, self.size)
        for number, (_, write, key) in enumerate(self.written):
            if number not in undone:
                write(state, key)
        return state


@pytest.mark.parametrize("area", WRITES)
@given(size=st.sampled_from([0, LARGE]), steps=st.lists(STEPS, max_size=20))
def test_what_a_failed_block_wrote_is_as_if_it_never_was(
    area: str, size: int, steps: list[Any]
) -> None:
    """Also if others wrote the same, and if a save comes in between."""
    history = History(area, size)
    for step in steps:
        history.step(*step)
    history.step("fail", "A", "")
    history.step("fail", "B", "")
    history.step("save", "", "")


def begun(kind: str, content: Any) -> tuple[Any, Actor, Actor]:
    """A state object, and two tasks in blocks."""
    program = Program()
    state = program.root("state", kind, content)
    program.flush()
    actors = Actor(program.tracker.atomic), Actor(program.tracker.atomic)
    for actor in actors:
        actor.begin()
    return state, *actors


def test_a_number_that_was_removed_and_assigned_is_no_difference() -> None:
    """Whoever removes it does not depend on what was there; nor do those who come later."""
    state, mine, others = begun("dict", {})
    mine.do(state.__setitem__, "status", 200)
    others.do(state.pop, "status")
    others.do(state.__setitem__, "status", 200)
    mine.end(fails=True)
    assert state == {"status": 200}
    others.end(fails=True)
    assert state == {}
    for actor in (mine, others):
        actor.begin()
    mine.do(state.__setitem__, "status", 200)
    others.do(state.pop, "status")
    state["status"] = 200
    mine.end(fails=True)
    assert state == {"status": 200}
    others.end()


def test_a_key_is_gone_for_both_that_removed_the_only_one() -> None:
    """Of an empty dict the builtin asks for no hash, and the note for none that there is not."""
    state, mine, others = begun("dict", {"a": "x"})
    mine.do(state.pop, "a")
    others.do(state.pop, "a", None)
    others.do(state.pop, [], None)
    mine.end(fails=True)
    assert state == {}
    others.end(fails=True)
    assert state == {"a": "x"}


def test_an_item_that_was_put_again_stays_beside_others() -> None:
    """The notes of neighbouring items are joined, but not this one."""
    state, mine, others = begun("list", ["a", "b", "c"])
    mine.do(state.__setitem__, 1, "x")
    others.do(state.__setitem__, 1, "x")
    others.do(state.__setitem__, 2, "y")
    mine.end(fails=True)
    assert state == ["a", "x", "y"]
    others.end(fails=True)
    assert state == ["a", "b", "c"]


def test_what_adds_nothing_is_a_difference() -> None:
    """`+=` of 0 writes the number that is there already, and does not mean this number."""
    for kind, add in (("dict", _add_nothing), ("counter", _add_nothing), ("counter", _count)):
        state, mine, others = begun(kind, {"n": 1000})
        mine.do(_add_seven, state, "n")
        others.do(add, state, "n")
        mine.end(fails=True)
        assert state == {"n": 1000}
        others.end()


def _count(state: Any, key: str) -> None:
    state.update({key: 0})


def test_numbers_that_are_assigned_differently_are_differences() -> None:
    """And an equal one is none: as the table in docs/atomic.md says."""
    state, mine, others = begun("dict", {"page": 3})
    mine.do(state.__setitem__, "page", 10)
    others.do(state.__setitem__, "page", 20)
    mine.end(fails=True)
    assert state == {"page": 13}
    others.end()
    mine.begin()
    mine.do(state.__setitem__, "page", 15)
    state["page"] = state["page"] + 0
    mine.end(fails=True)
    assert state == {"page": 15}


def test_a_default_that_another_block_has_found_stays() -> None:
    """It has asked for the entry; a number stays a difference."""
    state, mine, others = begun("dict", {})
    for actor in (mine, others):
        actor.do(state.setdefault, "title", "x")
        actor.do(state.setdefault, "n", 0)
        actor.do(_add_one, state)
    mine.end(fails=True)
    assert state == {"title": "x", "n": 1}
    others.end(fails=True)
    assert state == {}


def _group(state: Any, page: int) -> None:
    state.setdefault("books", []).append(page)
    state.setdefault("deep", {}).setdefault("er", {}).setdefault("books", []).append(page)


@pytest.mark.parametrize("size", [0, LARGE], ids=["small", "large"])
def test_a_group_that_others_have_added_to_stays(size: int) -> None:
    """Without the items of the block that has made it; also in a save before that block ends."""
    program = Program()
    state = program.root("state", "dict", dict.fromkeys(range(size), 0))
    program.flush()
    actors = [Actor(program.tracker.atomic) for _ in range(3)]
    for page, actor in enumerate(actors):
        actor.begin()
        actor.do(_group, state, page)
    rest = dict.fromkeys(range(size), 0)

    def groups(*pages: int) -> dict[Any, Any]:
        return {**rest, "books": [*pages], "deep": {"er": {"books": [*pages]}}}

    program.flush()
    assert program.restart().root("state") == rest
    assert state == groups(0, 1, 2)
    actors[1].end()
    program.flush()
    assert program.restart().root("state") == groups(1)
    actors[0].end(fails=True)
    assert state == groups(1, 2)
    actors[2].end(fails=True)
    assert state == groups(1)
    program.flush()
    assert program.restart().root("state") == groups(1)


def test_a_group_that_a_save_has_left_out_is_told_apart() -> None:
    """The save takes it out of the state for a moment."""
    program = Program()
    state = program.root("state")
    mine, others = Actor(program.tracker.atomic), Actor(program.tracker.atomic)
    for actor in (mine, others):
        actor.begin()
    for page, actor in enumerate((mine, others)):
        actor.do(_group, state, page)
        program.flush()
    mine.end(fails=True)
    assert state == {"books": [1], "deep": {"er": {"books": [1]}}}
    others.end()


def test_a_group_goes_with_the_last_block_that_has_added_to_it() -> None:
    """If all of them fail, in any order."""
    for order in ((0, 1), (1, 0)):
        state, *actors = begun("dict", {})
        for page, actor in enumerate(actors):
            actor.do(_group, state, page)
        for number in order:
            actors[number].end(fails=True)
        assert state == {}


def test_a_default_that_the_program_holds_is_the_one_in_the_state() -> None:
    """As with a plain dict; so it is not converted before nobody holds it."""
    state, mine, others = begun("dict", {})
    held: list[int] = []
    assert mine.do(state.setdefault, "held", held) is held
    held.append(1)
    assert state == {"held": [1]}
    for actor in (mine, others):
        actor.end()


def test_a_defaultdict_makes_groups_that_are_told_apart() -> None:
    """Its factory makes values that nobody else holds."""
    program = Program()
    program.root("outer")["state"] = defaultdict(list)
    program.flush()
    state = program.root("outer")["state"]
    mine, others = Actor(program.tracker.atomic), Actor(program.tracker.atomic)
    for page, actor in enumerate((mine, others)):
        actor.begin()
        actor.do(_append_to_missing, state, page)
    mine.end(fails=True)
    assert state == {"books": [1]}
    others.end(fails=True)
    assert state == {}


def _append_to_missing(state: Any, page: int) -> None:
    state["books"].append(page)


def _add_one(state: dict[str, int]) -> None:
    state["n"] += 1


def test_an_item_that_was_put_back_is_written_nevertheless() -> None:
    """By others, who leave it as the block did."""
    state, mine, others = begun("list", ["x"])
    mine.do(state.__setitem__, 0, "a")
    others.do(state.__setitem__, 0, "b")
    others.do(state.__setitem__, 0, "a")
    mine.end(fails=True)
    assert state == ["a"]
    others.end(fails=True)
    assert state == ["x"]


def test_a_member_is_kept_for_each_that_has_added_it() -> None:
    """One after the other fails; the last one was in no block."""
    state, mine, others = begun("set", set())
    mine.do(state.add, "x")
    others.do(state.add, "x")
    mine.end(fails=True)
    state.add("x")
    others.end(fails=True)
    assert state == {"x"}

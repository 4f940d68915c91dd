"""What was taken out of the state is not saved any more, until it is put back."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import autostate
from autostate.tracking import search
from autostate.tracking.watched import Watched
from tests.conformance.state_kit import Program, shape

Values = dict[str, Any]


def small(_: int) -> Any:
    """An inline container."""
    return {"n": 0, "inner": {"deep": [1]}}


def large(_: int) -> Any:
    """A node."""
    return {"n": 0, "inner": {"deep": [1]}} | {f"k{i}": i for i in range(300)}


def repeated(_: int) -> Any:
    """A node because of its size, with another inside."""
    return {"n": 0, "inner": {"deep": list(range(300))}}


MAKERS = [small, large, repeated]


@pytest.mark.parametrize("size", [1, 1_000])
@pytest.mark.parametrize("make", MAKERS)
def test_changing_what_was_removed_writes_nothing(make: Callable[[int], Any], size: int) -> None:
    """From dicts and lists, small and large; also what is inside it."""
    program = Program()
    state = program.root("state", default={f"s{i}": i for i in range(size)})
    items = program.root("items", "list", [1])
    state["a"], state["b"] = make(0), {"x": [make(0)]}
    items.append(make(0))
    program.flush()
    program.flush()
    gone = [state.pop("a"), state["b"].pop("x"), items.pop()]
    program.flush()
    for _ in range(3):
        for one in (gone[0], gone[1][0], gone[2]):
            one["n"] += 1
            one["inner"]["deep"].append(2)
            one["new"] = {"more": []}
        gone[1].append(1)
        assert program.flush() == []
        assert program.flush(full_compare=True) == []
    assert not program.tracker.part(Watched).entries
    assert shape(program.restart().root("state")) == shape(state)


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_put_back_is_saved_as_it_is_then(make: Callable[[int], Any]) -> None:
    """With all that was changed while it was outside, at its old place or another one."""
    program = Program()
    state = program.root("state", default={"a": make(0), "n": 1})
    program.flush()
    program.flush()
    one = state.pop("a")
    program.flush()
    one["n"] = "changed outside"
    one["inner"]["deep"].append("outside")
    program.flush()
    state["b"] = {"at": [one]}
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)
    one["n"] = "changed inside"
    one["inner"]["deep"].append("inside")
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)


@pytest.mark.parametrize("make", MAKERS)
def test_what_moves_is_saved_at_its_new_place(make: Callable[[int], Any]) -> None:
    """Between keys, parents and state objects, and changed in the same moment."""
    program = Program()
    state = program.root("state", default={"a": make(0), "p": {}, "q": {}})
    items = program.root("items", "list", [])
    program.flush()
    program.flush()
    places: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (lambda: state.pop("a"), lambda one: state["p"].__setitem__("x", one)),
        (lambda: state["p"].pop("x"), lambda one: state["q"].__setitem__("x", [one])),
        (lambda: state["q"].pop("x")[0], items.append),
        (items.pop, lambda one: items.insert(0, {"in": (one,)})),
        (lambda: items.pop(0)["in"][0], lambda one: state.__setitem__("a", one)),
    ]
    for number, (take, put) in enumerate(places):
        one = take()
        one["n"] = number
        put(one)
        one["inner"]["deep"].append(number)
        program.flush()
        following = program.restart()
        expected = shape(state, items)
        assert shape(following.root("state"), following.root("items", "list")) == expected
        del one
        program.flush()


def test_an_orphan_that_is_held_at_another_place_goes_on_being_saved() -> None:
    """It is no orphan: it was at two places, and one of them is left."""
    program = Program()
    shared: Values = {"n": 0}
    state = program.root("state", default={"a": shared, "b": [shared]})
    del shared
    program.flush()
    program.flush()
    one = state.pop("a")
    program.flush()
    one["n"] = 1
    [change] = program.flush()
    assert json.loads(change)["put"] == {"n": 1}
    assert shape(program.restart().root("state")) == shape(state)


def test_a_ring_that_nothing_refers_to_any_more_is_not_saved() -> None:
    """Two nodes that refer to each other do not keep each other in the state."""
    program = Program()
    one: Values = {"n": 1}
    two: Values = {"one": one, "n": 2}
    one["two"] = two
    state = program.root("state", default={"ring": [one, two]})
    del one, two
    program.flush()
    program.flush()
    ring = state.pop("ring")
    program.flush()
    ring[0]["n"] = ring[1]["n"] = 3
    assert program.flush() == []


def test_orphans_are_not_kept_alive() -> None:
    """Neither a node, nor one with watched entries in it."""
    program = Program()
    held: list[int] = [1]
    state = program.root("state", default={"a": large(0)})
    state["a"]["held"] = held
    program.flush()
    program.flush()
    node = weakref.ref(state["a"]._node_)
    del state["a"]
    program.flush()
    program.flush()
    gc.collect()
    assert node() is None
    assert not program.tracker.part(Watched).entries


def test_a_child_of_an_orphan_comes_back_with_it() -> None:
    """A node below an orphan was not saved either."""
    program = Program()
    state = program.root("state", default={"a": {"child": large(0)}, "n": 1})
    program.flush()
    program.flush()
    parent = state.pop("a")
    program.flush()
    parent["child"]["n"] = 5
    state["more"] = "x" * 2000  # what the latest changes in the head refer to is not left out
    program.flush()
    assert program.journal.compact(pause=lambda: None)
    program.tracker.collected({2})
    parent["child"]["n"] = 6
    assert program.flush() == []
    state["b"] = parent
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)


@dataclass
class Keepsake:
    """An object without a barrier."""

    n: int = 0


@pytest.mark.parametrize(
    "make",
    [Keepsake, lambda: [Keepsake()], lambda: deque([[1]])],
    ids=["object", "list", "deque"],
)
def test_what_was_at_several_places_moves_and_is_changed_again(make: Callable[[], Any]) -> None:
    """Two places, then a third one, then only that: every save succeeds."""
    program = Program()
    state = program.root("state", default={"a": make()})
    state["b"] = state["a"]
    program.flush()
    state["c"] = state["a"]
    del state["a"], state["b"]
    program.flush()
    for number in range(3):
        state["n"] = number
        program.flush(full_compare=number == 1)
    assert shape(program.restart().root("state")) == shape(state)
    state["d"] = [state.pop("c")]
    program.flush()
    state["n"] = 5
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)


def test_a_block_that_fails_puts_back_what_others_have_let_go_of() -> None:
    """Taken out in the block, looked at by the flush thread meanwhile, and put back."""
    program = Program()
    state = program.root("state", default={"x": {"y": [1]}})
    program.flush()
    program.flush()

    def block() -> None:
        one = state["x"]
        inner = one["y"]
        one["z"] = inner
        inner.append([])
        state["q"] = inner
        state.pop("x")
        with program.tracker.atomic():
            inner.append(2)
            state.pop("q")
            program.tracker.prepare(lambda: None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    for _ in range(2):
        program.flush(full_compare=True)
        assert shape(program.restart().root("state")) == shape(state)
    state["q"].append(3)
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)


@pytest.mark.parametrize("inner", [[1], {"x": 1}, [[[1]]]])
@pytest.mark.parametrize("full_compare", [False, True])
@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_an_alias_is_one_object_with_the_next_save(
    inner: Any, *, full_compare: bool, prepare: bool, restart: bool
) -> None:
    """Made of what was there before, with and without a block."""
    program = Program()
    state = program.root("state", default={"a": {"x": copy.deepcopy(inner)}, "b": []})
    items = program.root("items", "list", [{"n": 1}, copy.deepcopy(inner)])
    program.flush()
    program.flush()
    if restart:
        program = program.restart()
        state, items = program.root("state"), program.root("items", "list")
    with program.tracker.atomic():
        state["c"] = state["b"]
    state["d"] = state["a"]["x"]
    items.append(items[1])
    state["e"] = items[0]
    if prepare:
        program.tracker.prepare(lambda: None, full_compare=full_compare)
    program.flush(full_compare=full_compare)
    following = program.restart()
    expected = shape(state, items)
    assert shape(following.root("state"), following.root("items", "list")) == expected
    assert program.flush(full_compare=True) == []


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_what_a_repeated_tuple_holds_is_one_object(kind: str) -> None:
    """`items *= 2` repeats tuples and objects, and what is in them, too."""
    program = Program()
    items = program.root("s", kind, [([1], {"x": [2]}), [3], Keepsake(4)])
    program.flush()
    program.flush()
    program = program.restart()
    items = program.root("s", kind)
    items *= 2
    program.flush()
    assert shape(program.restart().root("s", kind)) == shape(items)
    items[0][0].append(2)
    program.flush()
    assert shape(program.restart().root("s", kind)) == shape(items)


# -- roots that the program has not asked for yet -----------------------------------------------


def _shared(program: Program) -> Any:
    """Two roots that hold the same dict."""
    inner = {"o": 1}
    program.root("one")["x"] = inner
    program.root("other")["y"] = inner
    program.flush()
    program.flush()
    return program.restart()


def test_what_a_stored_root_may_refer_to_is_saved_although_it_was_removed() -> None:
    """From the one that the program has; it is there when the other is created."""
    program = _shared(Program())
    other = program.root("other")
    other["y"]["k"] = 1
    other.clear()
    program.flush()
    gc.collect()
    assert program.root("one") == {"x": {"o": 1, "k": 1}}
    assert program.restart().root("one") == {"x": {"o": 1, "k": 1}}


def test_what_was_removed_is_the_same_object_for_a_root_that_comes_later() -> None:
    """Changes made in between are saved."""
    program = _shared(Program())
    other = program.root("other")
    inner = other.pop("y")
    program.flush()
    inner["late"] = 2
    assert program.root("one")["x"] is inner
    inner["later"] = 3
    program.flush()
    assert program.restart().root("one") == {"x": {"o": 1, "late": 2, "later": 3}}


def test_nothing_is_kept_when_all_roots_are_there() -> None:
    """What was removed goes."""
    program = _shared(Program())
    other = program.root("other")
    program.root("one").clear()
    node = weakref.ref(other["y"]._node_)
    other.clear()
    program.flush()
    program.flush()
    gc.collect()
    assert node() is None


def test_what_was_taken_out_of_a_state_goes_into_another_one_when_that_is_closed() -> None:
    """It is a plain container then, in whatever it lay, and what is inside of it."""
    for saved in (True, False):
        with autostate.open("memory:"):
            former = autostate.PersistedDict("d", inner={"x": [1]}, deep={"k": [deque([[1]])]})
            former["large"] = {n: [n] for n in range(2000)}
            if saved:
                autostate.flush()
            taken = former.pop("inner"), former["deep"]["k"].pop(), former.pop("large")
            kept = former["deep"]
        with autostate.open("memory:other"):
            state = autostate.PersistedDict(f"e{saved}", taken=[*taken], kept=kept)
            autostate.flush()
            taken[0]["x"].append(2)
            taken[1][0].append(2)
            taken[2][1999].append(2)
            kept["k"].append(2)
            autostate.flush()
        with autostate.open("memory:other"):
            assert autostate.PersistedDict(f"e{saved}") == state
            assert state["taken"] == [{"x": [1, 2]}, deque([[1, 2]]), taken[2]]


def test_a_large_container_of_a_closed_store_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not once for each container in it."""
    looks = 0
    inside = search.all_inside

    def counted(*args: Any) -> Iterator[Any]:
        nonlocal looks
        for value in inside(*args):
            looks += 1
            yield value

    monkeypatch.setattr(search, "all_inside", counted)
    with autostate.open("memory:"):
        large = autostate.PersistedDict("d", large={n: [n] for n in range(1000)})["large"]
    with autostate.open("memory:"):
        autostate.PersistedDict("d")["large"] = large
        autostate.flush()
    assert looks < 20_000

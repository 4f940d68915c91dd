"""Objects of the program's classes in state objects: changes, sharing, restarts."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import autostate
from autostate import CorruptStateError, UnknownTypeError
from tests.codec.test_types import objects
from tests.conformance.state_kit import Program
from tests.conformance.types_kit import (
    OBJECTS,
    Box,
    Level,
    Model,
    Point,
    Row,
    Slotted,
    Visit,
    gauss,
    numbered,
    registered,
)
from tests.conformance.values_kit import exact
from tests.hostile.test_values import WRAPS, nested


@pytest.mark.parametrize("make", OBJECTS, ids=numbered)
def test_an_object_comes_back_in_the_next_run(make: Callable[[], Any]) -> None:
    """In a dict, deep inside, in a list and in a large dict; and then nothing is left to write."""
    program = Program()
    program.root("d", default={"v": make(), "in": {"deep": [make()]}})
    program.root("l", "list", [make(), [make()]])
    program.root("large", default={f"k{i}": i for i in range(300)} | {"v": make()})
    program.flush()
    assert not program.errors
    assert program.flush(full_compare=True) == []
    following = program.restart()
    for name, kind in (("d", "dict"), ("l", "list"), ("large", "dict")):
        was, now = program.root(name, kind), following.root(name, kind)
        assert exact(now) == exact(was)
    assert following.flush(full_compare=True) == []


CHANGES: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (lambda: Visit("x"), lambda v: v.links.append(1)),
    (lambda: Visit("x"), lambda v: setattr(v, "url", "y")),
    (lambda: Visit("x"), lambda v: setattr(v, "more", {1: [2]})),
    (lambda: Visit("x", [{"deep": [1]}]), lambda v: v.links[0]["deep"].append(2)),
    (lambda: Slotted(1), lambda v: v.b.update(a=1)),
    (lambda: Point([1]), lambda v: v.x.append(2)),
    (lambda: (1, Slotted([1])), lambda v: v[1].a.append(2)),
    (lambda: Box(Box([1])), lambda v: v.content.content.append(2)),
    (lambda: Model(name="a"), lambda v: v.inner.append(Model(name="b"))),
    (lambda: Model(name="a"), lambda v: v._secret.append(5)),
    (lambda: bytearray(b"x"), lambda v: v.extend(b"y")),
    (lambda: np.zeros(3), lambda v: v.fill(1)),
    (lambda: {"a": np.zeros(3)}, lambda v: v["a"].__setitem__(1, 5)),
    (gauss, lambda v: v.random()),
    (lambda: [gauss()], lambda v: v[0].gauss(0, 1)),
    (lambda: deque([Visit("x")], 3), lambda v: v[0].links.append(1)),
    (lambda: OrderedDict(a=[1], b=[2]), lambda v: v.move_to_end("a")),
    (lambda: defaultdict(list), lambda v: v["x"].append(1)),
]


@pytest.mark.parametrize(("make", "change"), CHANGES, ids=numbered)
def test_a_change_inside_an_object_is_saved(
    make: Callable[[], Any], change: Callable[[Any], Any]
) -> None:
    """At the next flush, in this process and in the next one, whatever holds the object."""
    program = Program()
    state = program.root("state", default={"v": make(), "l": [make()]})
    program.flush()
    for _ in range(2):
        for holder, key in ((state, "v"), (state["l"], 0)):
            change(holder[key])
        program.flush()
        assert not program.errors
        following = program.restart()
        assert exact(following.root("state")) == exact(state)
        program, state = following, following.root("state")
    assert program.flush(full_compare=True) == []


def test_the_same_object_at_two_places_is_one() -> None:
    """After a restart too; also a container that an object shares with the rest of the state."""
    program = Program()
    state = program.root("state")
    shared: list[Any] = [1]
    state["a"] = Visit("x", shared)
    state["b"] = [state["a"]]
    state["c"] = shared
    del shared
    program.flush()
    now = program.restart().root("state")
    assert now["a"] is now["b"][0]
    assert now["a"].links is now["c"]


def test_an_object_that_holds_itself_comes_back() -> None:
    """So do two that hold each other."""
    program = Program()
    state = program.root("state")
    one, two = Visit("1"), Slotted(0)
    one.links.append(one)
    one.links.append(two)
    two.a = one
    state["one"] = one
    program.flush()
    assert not program.errors
    now = program.restart().root("state")["one"]
    assert now.links[0] is now
    assert now.links[1].a is now


class Link(Row):
    """A tuple that can hold itself."""


def test_a_tuple_that_holds_itself_is_an_error() -> None:
    """It cannot exist before its items do: it is refused when it is saved, not when it is read."""
    program = Program()
    state = program.root("state")
    state["link"] = Link("x")
    state["again"] = state["link"]
    state["link"].own = state["link"]
    program.flush()
    [error, *_] = program.errors
    assert "holds itself" in str(error)
    assert program.restart().root("state")["again"].key == "x"


@given(objects)
def test_any_nested_objects_come_back_in_the_next_run(value: Any) -> None:
    """And nothing is left to write."""
    program = Program()
    program.tracker.on_unknown = lambda: "keep"
    state = program.root("state", default={"value": value})
    program.flush()
    assert not program.errors
    following = Program(program.store)
    following.tracker.on_unknown = lambda: "keep"
    assert exact(following.root("state")) == exact(state)
    assert following.flush(full_compare=True) == []


def test_an_unknown_class_costs_its_state_object_only() -> None:
    """The others are there; with on_unknown="keep" so is this one, and nothing of it is lost."""
    program = Program()
    with registered(Visit, "gone.visit"), registered(Level, "gone.level"):
        shared = [1]
        state = program.root("state", default={Level.LOW: shared})
        state["visit"] = Visit("x", [Level.LOW, {"a": shared}])
        state["seen"] = {Level.LOW, (1, Level.LOW)}
        factory: Any = Visit
        state["factory"] = defaultdict(factory)
        program.root("levels", "set", {Level.LOW, 5})
        program.root("other", default={"x": 1})
        program.flush()
        assert not program.errors
        was = [exact(state), exact(program.root("levels", "set"))]
    program = program.restart()
    assert program.root("other") == {"x": 1}
    for name, kind in (("state", "dict"), ("levels", "set")):
        with pytest.raises(UnknownTypeError, match=r"gone\."):
            program.root(name, kind)
    keeping = Program(program.store)
    keeping.tracker.on_unknown = lambda: "keep"
    kept = keeping.root("state")
    kept["more"] = [kept["visit"]]
    kept["seen"].add(2)
    keeping.root("levels", "set").add(6)
    keeping.flush()
    assert not keeping.errors
    del kept
    keeping.tracker.collected(keeping.journal.compact(pause=lambda: None))
    with registered(Visit, "gone.visit"), registered(Level, "gone.level"):
        program = Program(program.store)
        state, levels = program.root("state"), program.root("levels", "set")
        assert [visit.url for visit in state["more"]] == ["x"]
        del state["more"]
        state["seen"].discard(2)
        levels.discard(6)
        assert [exact(state), exact(levels)] == was
        assert state[Level.LOW] is state["visit"].links[1]["a"]


def test_a_setting_says_whether_what_is_unknown_is_kept(tmp_path: Path) -> None:
    """`on_unknown` reaches the state objects of a store."""
    url = f"sqlite:///{tmp_path}/state.db"
    with registered(Visit, "gone.visit"), autostate.open(url):
        autostate.PersistedDict("state")["visit"] = Visit("x")
    with autostate.open(url), pytest.raises(UnknownTypeError):
        autostate.PersistedDict("state")
    with autostate.open(url, on_unknown="keep"):
        kept = autostate.PersistedDict("state")["visit"]
        assert type(kept) is autostate.Unknown
        assert kept.name == "gone.visit"
    with registered(Visit, "gone.visit"), autostate.open(url):
        assert autostate.PersistedDict("state")["visit"].url == "x"


@pytest.mark.parametrize("wrap", WRAPS, ids=numbered)
def test_nesting_of_any_depth_comes_back_or_is_named(wrap: Callable[[Any], Any]) -> None:
    """With a path that is short all the same; the rest is saved."""
    for depth in (100, 150, 200, 2_000):
        program = Program()
        state = program.root("state", default={"rest": 1})
        state["deep"] = nested(depth, wrap)
        program.flush()
        following = program.restart().root("state")
        assert ("deep" in following) == (not program.errors)
        for error in program.errors:
            assert "nested too deeply" in error.problem
            assert error.path.startswith('state["deep"]')
            assert len(error.path) < 300
        assert following["rest"] == 1


class Ignoring:
    """A key whose registered decode may fail."""

    fails = False

    def __init__(self, text: str) -> None:
        if self.fails:
            raise ValueError(text)
        self.text = text

    def __eq__(self, other: object) -> bool:
        return type(other) is Ignoring and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())


@pytest.mark.parametrize("early", [False, True])
def test_a_class_that_cannot_read_its_keys_costs_its_state_object_only(
    monkeypatch: pytest.MonkeyPatch, *, early: bool
) -> None:
    """The others are saved and restored; nothing is lost when the class is mended."""
    with registered(Ignoring, "ignoring", encode=lambda key: key.text, decode=Ignoring):
        program = Program()
        monkeypatch.setattr(Ignoring, "fails", False)
        one, two, three = map(Ignoring, "abc")
        monkeypatch.setattr(Ignoring, "fails", early)
        state = program.root("state", default={one: 1, (two, 1): [2]})
        members = program.root("members", "set", {one, frozenset({three})})
        other = program.root("other", default={"x": 1})
        program.flush()
        state[three] = 3
        other["x"] = 2
        program.flush()
        assert not program.errors
        was = [exact(state), exact(members)]
        monkeypatch.setattr(Ignoring, "fails", True)
        following = program.restart()
        assert following.root("other") == {"x": 2}
        for name, kind in (("state", "dict"), ("members", "set")):
            with pytest.raises(CorruptStateError, match="decode that is registered for ignoring"):
                following.root(name, kind)
        monkeypatch.setattr(Ignoring, "fails", False)
        mended = program.restart()
        assert [exact(mended.root("state")), exact(mended.root("members", "set"))] == was
        del mended.root("state")[Ignoring("A")]
        mended.flush()
        assert Ignoring("a") not in mended.restart().root("state")

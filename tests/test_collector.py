"""The garbage collector has little to do with large states, and works as the program has set it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import collector
from tests.conformance.state_kit import Program, shape

needs_untracking = pytest.mark.skipif(
    collector.untracking(1_000) is None, reason="this interpreter tracks all dicts"
)
MANY = 1_000


def pages(count: int = MANY) -> dict[str, Any]:
    """Dicts of scalars, as states hold them."""
    return {f"k{n}": {"status": n, "title": f"Item {n}", "price": n / 2} for n in range(count)}


@pytest.fixture
def frozen_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The collector at work, with nothing frozen, as in a program."""
    assert gc.isenabled()
    monkeypatch.setattr(collector, "_has_frozen", False)
    gc.unfreeze()
    gc.collect()
    yield
    gc.collect()
    gc.freeze()  # as before


@pytest.mark.usefixtures("frozen_nothing")
def test_what_was_made_without_collections_is_old() -> None:
    """No collection of young objects goes through it; a full one still finds garbage in it."""
    generations: list[int] = []

    def note(_phase: str, details: dict[str, int]) -> None:
        generations.append(details["generation"])

    gc.callbacks.append(note)
    try:
        with collector.no_collections():
            made = [[] for _ in range(collector.YOUNG * 2)]  # type: ignore[var-annotated]
            last = weakref.ref(_Cycle())
        assert [[] for _ in range(10)]
        assert not any(generations)  # 3.12 may have one of the youngest to make up for
    finally:
        gc.callbacks.remove(note)
    assert gc.get_freeze_count() < collector.FEW
    assert made
    assert last() is not None
    assert gc.collect() > 0
    assert last() is None


class _Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.usefixtures("frozen_nothing")
def test_what_the_program_has_frozen_stays_frozen() -> None:
    """It is the program's decision, which lasts."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    with collector.no_collections():
        made = [[] for _ in range(collector.YOUNG * 2)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() >= frozen > 0
    assert made


@pytest.mark.usefixtures("frozen_nothing")
def test_a_collector_that_the_program_has_stopped_is_left_alone() -> None:
    """Neither started, nor told what is old."""
    gc.disable()
    try:
        with collector.no_collections():
            made = [[] for _ in range(collector.YOUNG * 2)]  # type: ignore[var-annotated]
        assert not gc.isenabled()
        assert gc.get_count()[0] > collector.YOUNG
    finally:
        gc.enable()
    assert made


@dataclass(frozen=True)
class Key:
    """A key that may be part of a cycle."""

    number: int


@needs_untracking
@pytest.mark.parametrize("again", [False, True], ids=["converted", "rehydrated"])
def test_dicts_of_scalars_are_no_work_for_the_collector(*, again: bool) -> None:
    """Plain ones are not either. What may be part of a cycle is tracked from then on."""
    program = Program()
    state = program.root("state", default=pages())
    state["other"], state["keys"] = {"list": [1], "n": 1}, {Key(1): 1, Key(2): 2}
    program.flush()
    if again:
        program = program.restart()
        state = program.root("state")
    assert not any(gc.is_tracked(state[f"k{n}"]) for n in range(MANY))
    assert gc.is_tracked(state["keys"])
    assert gc.is_tracked(state["other"])
    state["k7"]["more"] = []
    assert gc.is_tracked(state["k7"])


@needs_untracking
def test_dicts_of_a_nested_node_can_be_collected_with_it() -> None:
    """They refer to the node, and the node to their container: the collector has to know them."""
    program = Program()
    state = program.root("state", default={"nested": pages(), "flat": pages()["k7"]})
    program.flush()
    state["later"] = {"page": {"n": 1}}
    program.flush()
    state["later"].update(pages())
    program.flush()
    for name in ("nested", "later"):
        assert state[name]._node_.obj is state[name]
        freed = weakref.ref(state[name]._node_)
        del state[name]
        program.flush()
        gc.collect()
        assert freed() is None, name


@needs_untracking
@pytest.mark.parametrize("end", ["close", "delete"])
@pytest.mark.parametrize("kind", ["dict", "list", "deque"])
def test_a_state_that_has_ended_can_be_collected(isolated: Path, kind: str, end: str) -> None:
    """Its dicts are not tracked; but they refer to nothing any more."""
    with autostate.open("sqlite:///s.db") as manager:
        state: Any
        if kind == "dict":
            state = autostate.PersistedDict[str, Any]("state", pages())
        elif kind == "list":
            state = autostate.PersistedList[Any]("state", pages().values())
        else:
            state = autostate.PersistedDeque[Any]("state", pages().values())
        autostate.flush()
        freed = weakref.ref(state._node_)
        if end == "delete":
            manager.delete("state")
            autostate.flush()
    del state
    gc.collect()
    assert freed() is None


def test_what_finalizers_write_during_a_cut_is_tracked() -> None:
    """Code of the program that a collection runs in the thread of the cut, which has the lock."""
    program = Program()
    state = program.root("state")
    state.update(pages())
    program.flush()
    state.update((f"k{n}", [[n]]) for n in range(MANY))

    def write(_phase: str, _info: dict[str, int]) -> None:
        state[f"later {len(state)}"] = [[]]

    thresholds = gc.get_threshold()
    gc.callbacks.append(write)
    try:
        gc.set_threshold(10)
        program.flush()
    finally:
        gc.callbacks.remove(write)
        gc.set_threshold(*thresholds)
    assert len(state) > MANY
    for value in list(state.values()):
        value[0].append("later")
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)

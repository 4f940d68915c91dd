"""Who holds a container that is in the state: whatever it is, what it writes is saved."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest

import autostate
from autostate.tracking import conversion, refcount
from autostate.tracking.barrier import Barrier
from autostate.tracking.kind import PLAIN
from autostate.tracking.watched import Watched
from tests.campaign import sampled
from tests.conformance.classes_kit import Plain, life
from tests.conformance.holders_kit import HOLDERS, MAKE, Situation
from tests.conformance.state_kit import Program, shape

Holder = Callable[[Situation], None]

KINDS: Final = [kind for kind in MAKE if kind != "of lists"]

MANY: Final = {f"k{i}": i for i in range(300)}


class Into:
    """Puts containers into the state, under a new key each."""

    def __init__(self, where: str) -> None:
        self.program = Program()
        defaults = {"in": {}, "items": [], "deep": {"a": [{}]}, **(MANY if where == "many" else {})}
        self.state = self.program.root("state", "dict", defaults)
        self.program.flush()
        self.where = where
        self.count = 0

    def put(self, container: Any) -> None:
        """Put a container where it was said."""
        self.count += 1
        key = f"q{self.count}"
        if self.where == "nested":
            self.state["in"][key] = container
        elif self.where == "item":
            self.state["items"].append(container)
        elif self.where == "deep":
            self.state["deep"]["a"][0][key] = [container]
        else:
            self.state[key] = container

    def cut(self) -> None:
        """Save."""
        self.program.flush()

    def check(self) -> None:
        """What is there is what is saved, without a comparison of everything."""
        there = shape(self.state)
        self.program.flush()
        assert shape(self.program.restart().root("state")) == there


@pytest.fixture(params=[False, True], ids=["", "traced"])
def traced(request: pytest.FixtureRequest) -> Any:
    """Whether a debugger follows: frames are run in another way then."""
    if not request.param:
        yield
        return
    former = sys.gettrace()
    sys.settrace(lambda *_: None)
    yield
    sys.settrace(former)


@pytest.mark.parametrize("where", ["entry", "many", "nested", "item", "deep"])
@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: holder.__name__)
def test_whoever_holds_a_container_writes_to_the_state(
    holder: Holder, where: str, rng: random.Random
) -> None:
    """As it does to a plain dict; after a restart too. In a short run, some kinds in each place."""
    for kind, make in sampled(rng, MAKE.items(), 2):
        into = Into(where)
        holder(Situation(into.put, make, into.cut))
        assert "more" in str(into.state), f"the holder has lost its {kind}"
        into.check()


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: holder.__name__)
def test_a_debugger_changes_nothing(holder: Holder, traced: None) -> None:
    """Frames that are followed take references otherwise than those that are not."""
    into = Into("entry")
    for _ in range(20):  # until the interpreter has specialised what is called
        holder(Situation(into.put, MAKE["list"], into.cut))
    assert str(into.state).count("more") >= 20
    into.check()


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: holder.__name__)
def test_whoever_holds_a_field_writes_to_the_object(holder: Holder) -> None:
    """A field is referenced by the object and by what the store keeps of it."""
    with life("memory:fields"):
        one = Plain(n=1)

        def put(container: Any) -> None:
            one.seen = container

        holder(Situation(put, MAKE["list"], autostate.flush))
        autostate.flush()
        there = list(one.seen)
        assert "more" in str(there)
        from autostate.codec import root_of

        saved: Any = root_of(one)
        assert list(saved["seen"]) == there


@pytest.mark.parametrize("where", ["entry", "many", "nested", "item", "deep"])
def test_what_nobody_holds_is_converted(where: str, traced: None) -> None:
    """Else each save would compare it: the counts say so in every version, debugger or not."""
    for make in MAKE.values():
        into = Into(where)
        for _ in range(20):
            into.put(make())
            into.cut()
        into.cut()
        assert not into.program.tracker.part(Watched).entries
        values = [*into.state.values(), *into.state["in"].values(), *into.state["items"]]
        assert not any(type(value) in PLAIN for value in values)


def test_a_field_that_nobody_holds_is_converted(traced: None) -> None:
    """In the object, by the next save."""
    with life("memory:fields"):
        one = Plain(n=1)
        for number in range(20):
            one.seen = [number]
            autostate.flush()
            assert isinstance(one.seen, Barrier)


def _taking(kind: Any, taken: list[Any]) -> Any:
    """A kind that gives a container away while it makes a copy: another thread comes by it."""
    made = copy.copy(kind)

    def fill(new: Any, content: Any) -> None:
        taken.append(content)
        kind.fill(new, content)

    made.fill = fill
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_by_a_container_while_it_is_copied_keeps_it(kind: str) -> None:
    """It is counted again when the copy is in its place, and put back."""
    into, taken = Into("entry"), list[Any]()
    into.put(MAKE[kind]())
    node = into.state._node_
    taking = _taking(PLAIN[type(into.state["q1"])], taken)
    assert not conversion.replace(into.state, "q1", taking, node, "q1")
    assert into.state["q1"] is taken[0]
    taken.clear()
    assert conversion.replace(into.state, "q1", PLAIN[type(into.state["q1"])], node, "q1")


def test_who_comes_by_a_field_while_it_is_copied_keeps_it() -> None:
    """Neither the object nor what the store keeps of it has another one then."""
    with life("memory:fields"):
        one, taken = Plain(n=1), list[Any]()
        autostate.flush()
        from autostate.codec import root_of

        root: Any = root_of(one)
        dict.__setitem__(root, "seen", [5])
        vars(one)["seen"] = root["seen"]
        assert not conversion.replace(
            root, "seen", _taking(PLAIN[list], taken), root._node_, "seen"
        )
        assert one.seen is root["seen"] is taken[0]
        taken.clear()
        assert conversion.replace(root, "seen", PLAIN[list], root._node_, "seen")
        assert one.seen is root["seen"]


def test_counts_are_reliable_here() -> None:
    """All interpreters that the library is tested with have them, but those without the GIL."""
    assert ("t" not in sys.abiflags) == refcount.RELIABLE
    assert refcount.is_reliable() == refcount.RELIABLE


WITHOUT: Final = {
    "no GIL": "sys._is_gil_enabled = lambda: False",
    "a free-threaded build": "import zoneinfo; sys.abiflags += 't'",
    "no counts": "del sys.getrefcount",
    "counts of something else": "sys.getrefcount = lambda value: 4",
    "counts that miss variables": "real = sys.getrefcount; sys.getrefcount = lambda v: real(v) - 2",
}

PROGRAM: Final = """
import sys
{how}
import logging
import autostate
from dataclasses import dataclass, field

@autostate.persisted
@dataclass
class Shop:
    seen: list = field(default_factory=list)

with autostate.open("sqlite:///state.db"):
    state = autostate.PersistedDict("state", kept=[])
    shop = Shop()
    queue = state["queue"] = []
    state["free"] = {{"a": [1], "b": {{2}}, "c": {{"d": 1}}}}
    shop.seen = []
    for turn in range(3):
        queue.append(turn)
        state["free"]["a"].append(turn)
        state["free"]["c"]["d"] += 1
        shop.seen.append(turn)
        autostate.flush()
    assert type(state["queue"]) is list is type(state["free"]["a"])
with autostate.open("sqlite:///state.db"):
    print(autostate.PersistedDict("state"), Shop().seen)
"""


@pytest.mark.parametrize("how", WITHOUT.values(), ids=WITHOUT)
def test_where_counts_say_nothing_containers_stay_plain_and_are_compared(how: str) -> None:
    """It is noticed at import by trying, and told."""
    code = PROGRAM.format(how=how)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    free = "{'a': [1, 0, 1, 2], 'b': {2}, 'c': {'d': 4}}"
    assert done.stdout.strip() == f"{{'kept': [], 'queue': [0, 1, 2], 'free': {free}}} [0, 1, 2]"
    assert "reference counts do not say here who" in done.stderr

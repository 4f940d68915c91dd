"""What is written in one call is written as by itself; everything else is left alone."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from autostate import codec
from autostate.tracking.graph import Graph
from autostate.tracking.resolver import ReferenceResolver
from autostate.tracking.verbatim import verbatim
from tests.conformance.state_kit import Program, shape
from tests.tracking.test_live_conversion import python_calls
from tests.tracking.written import recovered

SPECIAL: dict[str, Callable[[], Any]] = {
    "nan": lambda: math.nan,
    "an infinite float": lambda: {"a": 1, "b": -math.inf},
    "nan among numbers": lambda: [1, math.nan, True],
    "nan among others": lambda: [None, math.nan, "null"],
    "a sum that overflows": lambda: [1.7e308, 1.7e308],
    "a dict like a tag": lambda: {"$set": [1]},
    "an int as a key": lambda: {"a": 1, 2: 3},
    "a text that UTF-8 lacks": lambda: {"a": "\ud800", "b": 1},
    "a key that UTF-8 lacks": lambda: {"\ud800": 1, "b": 1},
    "an int with many digits": lambda: [10**4200],
    "a tuple": lambda: [(1, 2)],
    "a large list": lambda: list(range(300)),
    "a long text": lambda: ["x" * 20_000],
    "many small ones": lambda: [[i, [i]] for i in range(200)],
    "a text that is a subclass": lambda: type("Text", (str,), {})("text"),
}


@pytest.mark.parametrize("root", ["dict", "list", "set", "counter"])
@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_one_special_value_among_many(make: Callable[[], Any], root: str) -> None:
    """It is written as if it were alone, or reported; the others are not concerned."""
    program = Program()
    state = program.root("state", root)
    value = make()
    if root == "list":
        state.extend([{"n": n, "m": n / 2} for n in range(300)] + [value])
    elif root == "set":
        state.update(n / 2 for n in range(300))
        if isinstance(value, str | float):
            state.add(value)
    else:
        state.update({f"k{n}": n / 2 for n in range(300)})
        state["special"] = value
    del value
    program.flush()
    if program.errors:
        assert "special" in str(program.errors[0]) or root != "dict"
        return
    assert shape(recovered(program, kind=root)) == shape(state)


def test_verbatim_values_are_written_as_each_would_be() -> None:
    """Random values: what `verbatim` accepts, msgspec writes as the codec does."""
    accepted = 0
    for seed in range(300):
        rng = random.Random(seed)
        program = Program()
        state = program.root("state", "dict" if seed % 2 else "list")

        def value(depth: int, rng: random.Random = rng) -> Any:
            kind = rng.randrange(14)
            if kind < 8 or depth > 3:
                return [1, "text", None, 2.5, True, -0.0, "ü", 10**20][kind % 8]
            if kind < 11:
                return {rng.choice("abcdefg"): value(depth + 1) for _ in range(rng.randrange(4))}
            if kind < 13:
                return [value(depth + 1) for _ in range(rng.randrange(4))]
            return rng.choice([SPECIAL[name] for name in list(SPECIAL)[:9]])()

        for n in range(rng.randrange(1, 9)):
            state.append(value(0)) if seed % 2 == 0 else state.__setitem__(f"k{n}", value(0))
        program.flush()
        node = state._node_
        keys = list(state) if seed % 2 else None
        values = [*(state.values() if seed % 2 else state)]
        known = verbatim(node, values, keys)
        raws = None if known is None else known.each()
        if raws is None:
            continue
        accepted += 1
        entries = keys or [getattr(one, "_key_", None) for one in values]
        graph = program.tracker.part(Graph)
        for entry, one, raw in zip(entries, values, raws, strict=True):
            resolver = ReferenceResolver(graph, node, entry)
            assert raw == codec.dump(codec.jsonable(one, resolver)), seed
    assert accepted > 50


def test_a_container_that_is_there_twice_is_no_json() -> None:
    """Written twice it would come back as two."""
    program = Program()
    state = program.root("state", default={f"k{n}": {"a": [n], "b": 0} for n in range(300)})
    program.flush()
    state["k7"]["b"] = state["k7"]["a"]
    state["k8"]["b"] = state["k9"]["a"]
    program.flush()
    assert shape(recovered(program)) == shape(state)


@pytest.mark.parametrize("other", ["k7", "k8"])
def test_a_container_that_came_past_the_barrier_is_no_json(other: str) -> None:
    """Nothing has noticed before the encoding that it is there twice."""
    program = Program()
    state = program.root("state", default={f"k{n}": {"a": [n], "b": 0} for n in range(300)})
    program.flush()
    state["k7"]["c"] = 1
    dict.__setitem__(state["k7"], "b", state[other]["a"])
    program.flush()
    assert shape(recovered(program)) == shape(state)


@pytest.mark.parametrize("root", ["dict", "list", "set"])
def test_encoding_costs_few_calls_of_python(root: str) -> None:
    """A first save, and a later one, take fewer calls than they have entries."""
    program, count = Program(), 4_000
    state = program.root("state", root)
    if root == "dict":
        state.update({f"k{n}": {"status": n, "more": {"tags": [n]}} for n in range(count)})
    elif root == "list":
        state.extend({"status": n, "more": {"tags": [n]}} for n in range(count))
    else:
        state.update(range(count))
    program.tracker.prepare(lambda: None)
    capture = program.tracker.cut()
    assert capture is not None
    assert python_calls(capture.encode) < count
    capture.saved()
    if root == "dict":
        for n in range(0, count, 4):
            state[f"k{n}"]["status"] = 0
        flushed: list[Any] = []
        calls = python_calls(lambda: flushed.extend(program.flush()))
        assert calls < count / 2
        written = sum(len(json.loads(change)["put"]) for change in flushed)
        assert written == count / 4


def test_writes_to_two_states_in_turn_cost_few_calls() -> None:
    """What was written is marked by node, in bulk, also if the nodes alternate."""
    program, count = Program(), 2_000
    states = [
        program.root(name, default={f"k{n}": {"n": n, "m": 0} for n in range(count)})
        for name in ("a", "b")
    ]
    program.flush()
    for n in range(count):
        for state in states:
            state[f"k{n}"]["m"] = 1
    assert python_calls(program.flush) < count
    again = program.restart()
    assert [again.root(name) for name in ("a", "b")] == states


@pytest.mark.parametrize("varied", [False, True])
def test_containers_at_one_place_belong_to_their_own_entries(varied: bool) -> None:
    """Values of one length are looked at by place; an exchange between entries is still seen."""
    program = Program()
    state = program.root("state", default={f"k{n}": {"a": [n], "b": 1.5} for n in range(9)})
    if varied:
        state["k3"]["c"] = 0
    program.flush()
    node, keys = state._node_, [*state]
    known = verbatim(node, [*state.values()], keys)
    assert known is not None
    assert known.depth == 2
    first, second = state["k1"]["a"], state["k2"]["a"]
    dict.__setitem__(state["k1"], "a", second)
    dict.__setitem__(state["k2"], "a", first)
    assert verbatim(node, [*state.values()], keys) is None


@pytest.mark.parametrize(("other", "depth"), [(1, 2), (None, 2), (math.nan, None), ((), None)])
def test_values_at_one_place_may_be_scalars_and_containers(other: Any, depth: int | None) -> None:
    """The scalars among containers are looked at, too."""
    program = Program()
    state = program.root("state", default={str(n): {"a": [n], "b": 0} for n in range(9)})
    program.flush()
    state["5"]["a"] = other
    program.tracker.prepare(lambda: None)
    known = verbatim(state._node_, [*state.values()], [*state])
    assert (None if known is None else known.depth) == depth

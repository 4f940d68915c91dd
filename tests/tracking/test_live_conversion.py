"""Plain containers are converted many at a time: at what cost, and which are left out."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from autostate.tracking.barrier import Barrier
from autostate.tracking.live_conversion import Batch
from tests.conformance.state_kit import Program, form, shape
from tests.tracking.written import recovered

MAKE: dict[str, Callable[[int], Any]] = {
    "dicts": lambda n: {"status": n, "title": f"Item {n}"},
    "lists": lambda n: [n, f"Item {n}"],
    "nested": lambda n: {"status": n, "more": {"tags": ["a", n], "price": n / 2}},
}


def python_calls(function: Callable[[], object]) -> int:
    """Count the functions of Python that a call enters."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("root", ["dict", "list"])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_conversion_costs_few_calls_of_python(make: Callable[[int], Any], root: str) -> None:
    """Each of them took ten calls, and most of the time of a first save."""
    program = Program()
    state = program.root("state", root)
    count = 5_000
    if root == "dict":
        state.update({f"k{n}": make(n) for n in range(count)})
    else:
        state.extend(make(n) for n in range(count))
    # An item of a list has an entry of its own, which one call of Python makes.
    assert python_calls(lambda: program.tracker.prepare(lambda: None)) < count * 1.2
    values = state.values() if root == "dict" else state
    assert all(issubclass(type(value), Barrier) for value in values)
    program.flush()
    assert shape(recovered(program, kind=root)) == shape(state)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("root", ["dict", "list"])
def test_what_is_special_among_many_is_handled(root: str, seed: int) -> None:
    """Held containers stay plain, at any depth; large, shared and other ones are handled."""
    rng = random.Random(seed)
    program = Program()
    state = program.root("state", root)
    held: list[Any] = []
    shared = ["shared"]

    def value(n: int, depth: int = 0) -> Any:
        kind = rng.randrange(12 if depth < 3 else 4)
        made: Any = [n, f"text {n}", None, n / 3][kind % 4]
        if 4 <= kind < 7:
            made = {f"f{i}": value(n, depth + 1) for i in range(rng.randrange(4))}
        elif 7 <= kind < 10:
            made = [value(n, depth + 1) for _ in range(rng.randrange(4))]
        elif kind == 10:
            made = rng.choice([{n}, (n, [n]), shared, list(range(300)), {1: [n], None: {}}])
        if type(made) in {dict, list} and rng.random() < 0.1:
            held.append(made)
        return made

    for n in range(700):
        state.append(value(n)) if root == "list" else state.__setitem__(f"k{n}", value(n))
    program.flush()
    assert shape(recovered(program, kind=root)) == shape(state)
    for one in rng.sample(held, 20):
        one.append("later") if type(one) is list else one.update(later=1)
    some = list(range(700)) if root == "list" else list(state)
    for at in rng.sample(some, 100):
        if isinstance(state[at], dict):
            state[at]["more"] = at
        elif isinstance(state[at], list):
            state[at].append(at)
    program.flush()
    assert shape(recovered(program, kind=root)) == shape(state)
    held.clear()
    program.flush()
    assert shape(recovered(program, kind=root)) == shape(state)


def test_what_an_error_leaves_plain_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the conversion of containers and of those inside, which stay plain."""
    program = Program()
    state = program.root("state")
    state.update({f"k{n}": [{n}, n] for n in range(300)})
    with monkeypatch.context() as patched:
        patched.setattr(Batch, "_divide", fail_at(2, Batch._divide))
        with pytest.raises(KeyboardInterrupt):
            program.tracker.prepare(lambda: None)
    assert form(state["k7"]) == "armed"
    program.flush()
    for members, _ in state.values():
        members.add("later")
    program.flush()
    assert shape(recovered(program)) == shape(state)


def fail_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that strikes Ctrl-C when it is called for the n-th time."""
    calls = 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return function(*arguments)

    return failing

"""Proxies: which uses of an object mark it, and what atomic() does to them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

import autostate
from autostate.codec.transparent import IN_PLACE
from autostate.containers.proxied import Proxied
from tests.conformance.state_kit import Program
from tests.containers.proxies import Meter, dirty, proxied

pytestmark = pytest.mark.usefixtures("forked_programs")


def _is_generator(value: Any) -> bool:
    return inspect.isgenerator(value)


def _is_async_generator(value: Any) -> bool:
    return inspect.isasyncgen(value)


async def _async_with(meter: Any) -> None:
    async with meter as same:
        assert same is meter


async def _connection(meter: Any) -> None:
    async with meter.connection() as same:
        assert same is meter


async def _await(meter: Any) -> None:
    assert await meter is meter


async def _async_for(meter: Any) -> None:
    async for _ in meter:
        return


async def _pages(meter: Any) -> None:
    made: Any = meter.pages()
    assert _is_async_generator(made)
    async with contextlib.aclosing(made) as pages:
        assert await anext(pages) == meter.n
        assert await pages.asend(None) == meter.n


def _with(meter: Any) -> None:
    with meter as same:
        assert same is meter


def _session(meter: Any) -> None:
    with meter.session() as same:
        assert same is meter


def _fail(meter: Any) -> None:
    with pytest.raises(LookupError):
        meter.fail()


def _steps(meter: Any) -> None:
    steps: Any = meter.steps()
    assert _is_generator(steps)
    assert next(steps) == meter.n
    assert steps.send(None) == meter.n
    assert [*zip(steps, range(2), strict=False)][1][0] == meter.n - 1
    steps.close()


def _for(meter: Any) -> None:
    for _ in meter:
        return


def _attribute_for_a_while(meter: Any) -> None:
    meter.x = 5
    del meter.x
    meter.n += 1


def _plus(meter: Any) -> None:
    meter += 3


USES: dict[str, Callable[[Any], Any]] = {
    "attribute": lambda m: setattr(m, "n", m.n + 1),
    "new attribute": lambda m: setattr(m, "n", m.n + 2),
    "deleted attribute": _attribute_for_a_while,
    "item": lambda m: operator.setitem(m, len(m), m.n),
    "deleted item": lambda m: operator.delitem(m, "b"),
    "in-place operator": _plus,
    "call": lambda m: m(2),
    "method": lambda m: m.add(),
    "chained methods": lambda m: m.add().add(2),
    "method that raises": _fail,
    "callback": lambda m: [*map(functools.partial(m.add), [1])],
    "async method": lambda m: asyncio.run(m.fetch()),
    "async method, gathered": lambda m: asyncio.run(_gathered(m)),
    "generator": _steps,
    "async generator": lambda m: asyncio.run(_pages(m)),
    "iteration": _for,
    "next": next,
    "async iteration": lambda m: asyncio.run(_async_for(m)),
    "with": _with,
    "async with": lambda m: asyncio.run(_async_with(m)),
    "with of a method": _session,
    "async with of a method": lambda m: asyncio.run(_connection(m)),
    "await": lambda m: asyncio.run(_await(m)),
}


async def _gathered(meter: Any) -> None:
    tasks = [asyncio.create_task(meter.fetch()), asyncio.create_task(meter.fetch())]
    await asyncio.gather(*tasks)


# -- what marks -------------------------------------------------------------------------------


@pytest.mark.parametrize("pickled", [False, True], ids=["registered", "pickled"])
@pytest.mark.parametrize("use", USES)
def test_a_use_marks_and_is_saved(use: str, pickled: bool) -> None:
    """Without a `flush()` that would look for itself; and again in the next runs."""
    program = Program()
    obj = Meter(by={"b": 1})
    meter = proxied(program, autostate.pickled(obj) if pickled else obj)
    for _ in range(2):
        meter.by["b"] = 1
        program.flush()
        before = copy.deepcopy(meter)
        assert not dirty(program)
        USES[use](meter)
        assert dirty(program)
        assert type(meter).__name__ == "Proxied"
        program.flush()
        now = copy.copy(meter)
        assert now != before
        program = program.restart()
        meter = proxied(program, Meter(n=-1))
        assert meter == now
        assert isinstance(meter, Meter)


READS: dict[str, Callable[[Any], Any]] = {
    "attribute": lambda m: m.n,
    "method that is not called": lambda m: m.add,
    "item": lambda m: m["b"],
    "len": len,
    "in": lambda m: "b" in m,
    "comparison": lambda m: m == Meter(),
    "repr": repr,
    "bool": bool,
    "isinstance": lambda m: isinstance(m, Meter),
    "copy": copy.deepcopy,
    "iter": iter,
    "vars": vars,
}


@pytest.mark.parametrize("read", READS)
def test_a_read_does_not_mark(read: str) -> None:
    """Nothing is looked at for it, and nothing is written."""
    program = Program()
    meter = proxied(program, Meter(by={"b": 1}))
    program.flush()
    READS[read](meter)
    assert not dirty(program)
    assert program.flush() == []


def test_a_method_taken_before_a_save_marks_after_it() -> None:
    """Callbacks are registered once and called for long."""
    program = Program()
    meter = proxied(program, Meter())
    add, steps, session = meter.add, meter.steps(), meter.session()
    next(steps)
    session.__enter__()
    for use in (add, lambda: next(steps), lambda: session.__exit__(None, None, None)):
        program.flush()
        assert not dirty(program)
        use()
        assert dirty(program)


def test_an_async_method_marks_when_it_ends() -> None:
    """What it does after its last wait is saved as well."""
    program = Program()
    meter = proxied(program, Meter())
    waiting = meter.fetch()
    program.flush()
    with pytest.raises(StopIteration):
        for _ in range(3):
            assert not dirty(program)
            waiting.send(None)
    assert dirty(program)


def test_a_change_past_the_proxy_is_found_by_comparing() -> None:
    """Through the plain object, or through what is inside of it."""
    program = Program()
    obj = Meter()
    meter = proxied(program, obj)
    for change in (lambda: meter.log.append(1), lambda: obj.by.update(a=1)):
        program.flush()
        change()
        assert program.tracker.needs_polling
        program.flush()
        assert proxied(program.restart(), None) == obj
    assert program.flush() == []


# -- in-place operators -----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(IN_PLACE) - {"__imatmul__"}))
@pytest.mark.parametrize("pickled", [False, True])
def test_an_in_place_operator_that_makes_a_new_object_keeps_the_proxy(
    name: str, pickled: bool
) -> None:
    """`number += 1` is still the proxy, and the new number is saved."""
    program = Program()
    number = same = proxied(program, autostate.pickled(13) if pickled else 13)
    program.flush()
    number = IN_PLACE[name](number, 3)
    assert number is same
    assert dirty(program)
    program.flush()
    assert number == IN_PLACE[name](13, 3) != 13
    assert proxied(program.restart(), None) == number


class Length:
    """An object that nobody registered, and that never changes."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __add__(self, n: int) -> Length:
        return Length(self.n + n)


def test_what_a_pickled_object_gives_is_pickled() -> None:
    """The new object could not be saved otherwise."""
    program = Program()
    length = proxied(program, autostate.pickled(Length(1)))
    for n in (3, 5):
        length += 2
        program.flush()
        assert program.errors == []
        program = program.restart()
        length = proxied(program, None)
        assert length.n == n


def test_an_in_place_operator_that_changes_the_object_changes_it() -> None:
    """As on the plain object; one that is not there raises."""
    program = Program()
    obj = bytearray(b"a")
    data = proxied(program, obj)
    data += b"b"
    assert isinstance(data, Proxied)
    assert obj == b"ab"
    with pytest.raises(TypeError, match="unsupported operand"):
        data |= 3
    program.flush()
    assert proxied(program.restart(), None) == b"ab"


def test_a_new_object_may_be_of_another_class() -> None:
    """What is callable, for example, is asked anew."""
    program = Program()
    number = proxied(program, 3)
    number /= 2
    assert isinstance(number, float)
    number *= Fraction(1, 3)
    assert not callable(number)

    class Adds:
        def __radd__(self, other: Any) -> Any:
            return Meter(n=7)

    number += Adds()
    assert callable(number)
    assert number(1) == 1
    program.flush()
    assert proxied(program.restart(), None) == Meter(n=8)


# -- atomic -----------------------------------------------------------------------------------


def test_atomic_saves_uses_together() -> None:
    """No cut comes between two of them."""
    program = Program()
    meter, state = proxied(program, Meter()), program.root("state")
    program.flush()
    with program.tracker.atomic():
        meter.add()
        assert program.tracker.cut() is None
        state["n"] = 1
    program.flush()
    then = program.restart()
    assert (proxied(then, None).n, then.root("state")) == (1, {"n": 1})


def test_atomic_undoes_a_new_object_and_not_what_was_done_to_the_old_one() -> None:
    """Memory and what is saved stay the same as each other."""
    program = Program()
    number, meter = proxied(program, 1, "number"), proxied(program, Meter(), "meter")
    program.flush()
    with pytest.raises(LookupError), program.tracker.atomic():
        number += 1
        number += 1
        meter.add()
        raise LookupError
    assert (number, meter.n) == (1, 1)
    number += 5
    program.flush()
    then = program.restart()
    assert (proxied(then, None, "number"), proxied(then, None, "meter").n) == (6, 1)

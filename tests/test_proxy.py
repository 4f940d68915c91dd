"""Proxies: what marks, what is saved, what comes back, and what stays as on the plain object."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import functools
import inspect
import operator
import pickle
import random
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import pytest

import autostate
from autostate import PersistedDict, StateTypeError, UnsupportedTypeError
from autostate.codec.transparent import IN_PLACE
from autostate.containers.proxied import Proxied
from autostate.containers.proxy import VALUE, Content, ProxyRoot, show
from autostate.containers.root import blank
from tests.conformance.state_kit import Program
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")


@dataclasses.dataclass
class Meter:
    """An object of a third party: with every kind of method."""

    n: int = 0
    log: list[Any] = dataclasses.field(default_factory=list)
    by: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def add(self, n: int = 1) -> Meter:
        """Count, and give itself, to be chained."""
        self.n += n
        return self

    def fail(self) -> None:
        """Count, then raise."""
        self.n += 1
        raise LookupError("after a change")

    async def fetch(self) -> int:
        """Count after a while."""
        await asyncio.sleep(0)
        self.n += 1
        return self.n

    def steps(self) -> Iterator[int]:
        """Count with every step."""
        while True:
            self.n += 1
            yield self.n

    async def pages(self) -> AsyncIterator[int]:
        """Count with every page."""
        while True:
            await asyncio.sleep(0)
            self.n += 1
            yield self.n

    @contextlib.contextmanager
    def session(self) -> Iterator[Meter]:
        """Count when it ends."""
        yield self
        self.n += 1

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Meter]:
        """Count when it ends."""
        yield self
        self.n += 1

    def __call__(self, n: int) -> int:
        self.n += n
        return n

    def __getitem__(self, key: Any) -> Any:
        return self.by[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.by[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.by[key]

    def __iadd__(self, n: int) -> Self:
        self.n += n
        return self

    def __iter__(self) -> Meter:
        return self

    def __next__(self) -> int:
        self.n += 1
        return self.n

    def __len__(self) -> int:
        return len(self.by)

    def __contains__(self, key: Any) -> bool:
        return key in self.by

    def __enter__(self) -> Self:
        self.n += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.n += 1

    async def __aenter__(self) -> Self:
        self.n += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.n += 1

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        self.n += 1
        return self

    def __aiter__(self) -> Meter:
        return self

    async def __anext__(self) -> int:
        self.n += 1
        return self.n


def proxied(program: Program, obj: Any, name: str = "p") -> Any:
    """Do as `autostate.proxy` does, with the store of a program."""
    root = program.tracker.root(name)
    if root is None:
        root = blank(ProxyRoot, Content)
        program.tracker.attach(root, name, "proxy")
    program.tracker.offer(root, {VALUE: obj})
    return show(root)


def dirty(program: Program) -> bool:
    """Whether anything is marked."""
    return program.tracker.dirty


# -- what marks -------------------------------------------------------------------------------


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


# -- the name ---------------------------------------------------------------------------------


def test_the_same_name_gives_the_same_proxy() -> None:
    """The object of a later call is not looked at, nor is it when something is stored."""
    with autostate.open("memory:a"):
        meter = autostate.proxy("meter", Meter())
        assert autostate.proxy("meter", Meter(n=5)) is meter
        meter.add()
    with autostate.open("memory:a"):
        assert autostate.proxy("meter", Meter(n=5)).n == 1
        with pytest.raises(StateTypeError, match="'meter' is a state object of the kind 'proxy'"):
            PersistedDict("meter")
        PersistedDict("state")
        with pytest.raises(StateTypeError, match="of the kind 'dict'"):
            autostate.proxy("state", Meter())


def test_info_and_delete_take_a_proxy() -> None:
    """As any other state object; what was deleted goes on as a plain one."""
    with autostate.open("memory:b"):
        meter = autostate.proxy("meter", Meter())
        found = autostate.info(meter)
        assert (found.name, found.kind, found.resumed) == ("meter", "proxy", False)
        autostate.flush()
        assert not autostate.info(meter).dirty
        meter.add()
        assert autostate.info(meter).dirty
        autostate.delete(meter)
        with pytest.raises(TypeError, match="no state object that is bound"):
            autostate.info(meter)
        meter.add()
        meter += 1
        assert meter.n == 3
        PersistedDict("state")["copy"] = meter
    with autostate.open("memory:b"):
        assert autostate.proxy("meter", Meter()).n == 0
        assert PersistedDict("state")["copy"] == Meter(n=3)


def test_after_its_manager_was_closed_a_proxy_is_plain() -> None:
    """It goes on to work."""
    with autostate.open("memory:"):
        number, meter = autostate.proxy("number", 1), autostate.proxy("meter", Meter())
    number += 1
    meter.add()
    assert (number, meter.n) == (2, 1)


@pytest.mark.parametrize(
    "obj",
    [object(), [].__iter__(), Meter(log=[object()])],
    ids=["an object", "an iterator", "an object inside"],
)
def test_what_cannot_be_saved_is_an_error_at_once(obj: Any) -> None:
    """It says what to do; no state object is begun."""
    advice = r"proxy\('p'\).*(register|list\(value\)).*pickled\("
    with autostate.open("memory:"):
        with pytest.raises(UnsupportedTypeError, match=advice):
            autostate.proxy("p", obj)
        with pytest.raises(LookupError):
            autostate.info("p")


@pytest.mark.parametrize("obj", [[], {}, set()], ids=repr)
def test_a_builtin_container_is_sent_to_its_own_class(obj: Any) -> None:
    """It is faster there, and needs no wrapper."""
    with pytest.raises(TypeError, match=r"needs no proxy: use Persisted\w+\('p', …\)"):
        autostate.proxy("p", obj)


def test_a_state_object_needs_no_proxy() -> None:
    """Nor does a proxy."""
    with pytest.raises(TypeError, match="saves itself"):
        autostate.proxy("p", PersistedDict("state"))
    with pytest.raises(TypeError, match="saves itself"):
        autostate.proxy("p", autostate.proxy("q", Meter()))


# -- as the plain object ----------------------------------------------------------------------


def test_it_is_copied_and_pickled_as_the_plain_object() -> None:
    """Cut loose from the store, its methods too."""
    program = Program()
    meter = proxied(program, Meter(n=3))
    for made in (copy.copy(meter), copy.deepcopy(meter), pickle.loads(pickle.dumps(meter))):
        assert type(made) is Meter
        assert made == meter
        assert made is not meter.__wrapped__
    assert pickle.loads(pickle.dumps(meter.add))().n == 4
    assert copy.copy(meter.add)().n == 4


def test_methods_look_like_methods() -> None:
    """Name, signature, comparison, and whether they are asynchronous."""
    program = Program()
    meter = proxied(program, Meter())
    assert meter.add.__name__ == "add"
    assert inspect.signature(meter.add) == inspect.signature(Meter().add)
    assert meter.add == meter.add
    assert inspect.iscoroutinefunction(meter.fetch)
    assert not inspect.iscoroutinefunction(meter.add)
    assert callable(meter)
    assert not callable(proxied(program, 5, "number"))
    assert repr(meter) == repr(meter.__wrapped__)


# -- where other state refers to it -----------------------------------------------------------


def test_where_the_state_refers_to_a_proxy_it_refers_to_it_after_a_restart() -> None:
    """In other state objects, and in closures; whichever is created first."""
    program = Program()
    meter, state = proxied(program, Meter()), program.root("state")
    state["meter"] = [meter]
    state["job"] = autostate.pickled(lambda: meter.add())  # noqa: PLW0108 - a closure is what is meant
    program.flush()
    for n in (1, 2):
        program = program.restart()
        if n == 1:
            state, meter = program.root("state"), proxied(program, None)
        else:
            meter, state = proxied(program, None), program.root("state")
        assert state["meter"][0] is meter
        assert meter.n == n - 1
        assert state["job"]() is meter
        program.flush()
    assert proxied(program.restart(), None).n == 2


class Node:
    """An object that nobody registered."""

    callback: Any = None
    n = 0


def test_an_object_may_refer_to_its_own_proxy() -> None:
    """In a callback that it holds, for example."""
    program = Program()
    node = proxied(program, autostate.pickled(Node()))
    node.callback = lambda: node
    program.flush()
    for n in range(2):
        program = program.restart()
        node = proxied(program, None)
        assert node.n == n
        assert node.callback() is node
        assert not callable(node)
        node.n += 1
        program.flush()


# -- processes --------------------------------------------------------------------------------

LIFE = """
import os, random, signal, sys
import autostate

class Model:                            # of __main__, known to nobody
    def __init__(self): self.steps, self.weights = 0, [0.0]
    def train(self):
        self.steps += 1
        self.weights.append(random.random())
        return self

model = autostate.proxy("model", autostate.pickled(Model()))
dice = autostate.proxy("dice", random.Random(7))
total = autostate.proxy("total", 0)
print(model.steps, len(model.weights), int(total), dice.randrange(10**6))
model.train().train()
total += 5
sys.stdout.flush()
autostate.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_proxies_survive_kill_9(isolated: Path) -> None:
    """A model of `__main__`, a generator of random numbers, a number."""
    plain = random.Random(7)
    for n in range(3):
        life = run(LIFE)
        expected = f"{2 * n} {1 + 2 * n} {5 * n} {plain.randrange(10**6)}\n"
        assert (life.stdout, life.returncode) == (expected, -9), life.stderr


def test_a_use_is_saved_without_a_flush(isolated: Path) -> None:
    """The flush thread is woken by it: the process is killed as soon as it has saved."""
    code = """
import os, signal, sys
import autostate
autostate.configure(debounce=0.0, max_delay=0.0)
number = autostate.proxy("number", 0)
autostate.flush()
sys.stdout.write(f"{number}\\n")
sys.stdout.flush()
autostate.hub.flushed.connect(lambda sender, **_: os.kill(os.getpid(), signal.SIGKILL), weak=False)
number += 1
signal.pause()
"""
    for n in range(3):
        life = run(code)
        assert (life.stdout, life.returncode) == (f"{n}\n", -9), life.stderr


def test_arrays_of_numpy_are_saved_when_they_are_used() -> None:
    """Items, in-place operators, methods."""
    numpy = pytest.importorskip("numpy")
    program = Program()
    array = proxied(program, numpy.zeros(5))
    uses: list[Callable[[], Any]] = [
        lambda: operator.setitem(array, 0, 3.0),
        lambda: array.__iadd__(1),
        array.sort,
    ]
    for use in uses:
        program.flush()
        use()
        assert dirty(program)
        program.flush()
        assert (proxied(program.restart(), None) == array).all()
    assert array.sum() == 8.0
    assert list(array) == [1.0, 1.0, 1.0, 1.0, 4.0]


def test_a_program_without_proxies_does_not_load_wrapt() -> None:
    """The kind is known to every program, its wrapper is not."""
    code = "import autostate.containers, sys; sys.exit('wrapt' in sys.modules)"
    assert run(code).returncode == 0

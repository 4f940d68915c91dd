"""Proxies: their names, what comes back, and what stays as on the plain object."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, StateTypeError, UnsupportedTypeError
from tests.conformance.state_kit import Program
from tests.containers.proxies import Meter, dirty, proxied
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")


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


# -- processes --------------------------------------------------------------------------------


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

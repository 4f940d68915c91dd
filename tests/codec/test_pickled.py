"""Pickled values: how they behave, what comes back, and what is saved of them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import inspect
import io
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import CorruptStateError, PersistedDict, UnsupportedTypeError
from autostate.codec.pickled import Pickled, name_of, wrap
from tests.conformance.state_kit import Program
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")


class Job:
    """An object of a class that nobody registered."""

    def __init__(self, done: Any = 0) -> None:
        self.done = done

    def __call__(self, more: int) -> int:
        self.done += more
        return int(self.done)


def recovered(program: Program, name: str = "state", kind: str = "dict") -> Any:
    """The state object as the next run would find it."""
    return program.restart().root(name, kind)


# -- the wrapper ------------------------------------------------------------------------------


def test_a_pickled_value_behaves_as_the_value() -> None:
    """Calls, attributes, `isinstance`, comparison, hash and repr."""
    job = Job()
    wrapped = autostate.pickled(job)
    assert wrapped(2) == 2
    assert wrapped.done == 2
    wrapped.done = 5
    del wrapped.__dict__["done"]
    assert not hasattr(job, "done")
    assert isinstance(wrapped, Job)
    assert isinstance(wrapped, Pickled)
    items = autostate.pickled([1, 2])
    assert (items, len(items), items[0], repr(items)) == ([1, 2], 2, 1, "[1, 2]")
    assert hash(autostate.pickled("x")) == hash("x")
    assert autostate.pickled(wrapped) is wrapped


def test_it_is_callable_or_awaitable_or_an_iterator_only_if_the_value_is() -> None:
    """These are found by asking the class."""

    async def answer() -> int:
        return 42

    assert not callable(autostate.pickled([1]))
    assert callable(autostate.pickled(Job()))
    assert not hasattr(autostate.pickled([1]), "__next__")
    assert next(autostate.pickled(iter([1]))) == 1
    assert inspect.iscoroutinefunction(autostate.pickled(answer))
    assert asyncio.run(autostate.pickled(answer)()) == 42


def test_a_pickled_function_can_be_a_method() -> None:
    """It binds as the function does."""

    class Page:
        itself: Any = autostate.pickled(lambda self: self)

    page = Page()
    assert page.itself() is page


def test_in_place_operators_keep_the_wrapper() -> None:
    """They change what can be changed, and give a new value where the plain one would."""
    number = same_number = autostate.pickled(5)
    number += 1
    assert (number, same_number, type(number)) == (6, 5, type(same_number))
    items = same_items = autostate.pickled([1])
    items += [2]
    assert items is same_items
    assert items == [1, 2]
    with pytest.raises(TypeError, match="unsupported operand"):
        number += "x"  # type: ignore[operator]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_copied_and_pickled_with_what_it_wraps(protocol: int) -> None:
    """The copy wraps a copy, and shared ones stay shared."""
    items = autostate.pickled([[1]])
    shallow = copy.copy(items)
    assert isinstance(shallow, Pickled)
    assert shallow is not items
    assert shallow[0] is items[0]
    for made in (copy.deepcopy([items, items]), pickle.loads(pickle.dumps([items] * 2, protocol))):
        assert made == [[[1]], [[1]]]
        assert isinstance(made[0], Pickled)
        assert made[0] is made[1]
        assert made[0] is not items


def test_what_cannot_be_pickled_is_an_error_at_the_call() -> None:
    """The message names the type at fault, and the error of pickle is its cause."""
    with pytest.raises(UnsupportedTypeError, match=r"pickled\(dict\): .*'_thread.lock'") as caught:
        autostate.pickled({"a": threading.Lock()})
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("value", [memoryview(b"x"), "r", "rb", "r+"])
def test_no_copy_is_made_of_what_cannot_be_pickled(value: Any, tmp_path: Path) -> None:
    """Cloudpickle would keep the text that is left in a file, and the bytes of a memoryview."""
    path = tmp_path / "file"
    path.write_text("text")
    with contextlib.ExitStack() as stack:
        if isinstance(value, str):
            value = stack.enter_context(path.open(value))
        with pytest.raises(UnsupportedTypeError, match="cannot pickle a"):
            autostate.pickled([value])
    assert autostate.pickled(io.BytesIO(b"in memory")).read() == b"in memory"


class Secretive:
    """Its error shows what it holds."""

    def __getstate__(self) -> Any:
        """Refuse."""
        raise ValueError("token 1234")


class Restless:
    """Another thread writes to it while it is pickled, for some time."""

    def __init__(self) -> None:
        self.pickled = 0

    def __getstate__(self) -> Any:
        """Fail, as a dict does that changes while it is gone through."""
        self.pickled += 1
        if self.pickled % 3:
            raise RuntimeError("dictionary changed size during iteration")
        return vars(self)


def test_what_another_thread_writes_to_is_tried_again() -> None:
    """It is no value that cannot be saved."""
    program = Program()
    program.root("state")["restless"] = autostate.pickled(Restless())
    program.flush()
    assert program.errors == []
    assert recovered(program)["restless"].pickled % 3 == 0


def test_an_error_does_not_show_the_value() -> None:
    """What a class of the user raises may hold anything."""
    with pytest.raises(UnsupportedTypeError, match=r"cannot be pickled \(ValueError\)") as caught:
        autostate.pickled(Secretive())
    assert "1234" not in str(caught.value)


def test_a_state_object_is_not_pickled() -> None:
    """It saves itself, and would be another one after a restart."""
    with pytest.raises(UnsupportedTypeError, match="a container that saves itself"):
        autostate.pickled(PersistedDict("state"))


def test_a_program_without_pickled_values_does_not_pay_for_them(isolated: Path) -> None:
    """It loads neither cloudpickle nor wrapt, and no key is made."""
    code = """
import sys, autostate
state = autostate.PersistedDict("state", items=[{"a": {1, 2}}])
autostate.flush()
sys.exit(bool({"cloudpickle", "wrapt"} & sys.modules.keys()))
"""
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not list(isolated.rglob("*.key"))


# -- what comes back --------------------------------------------------------------------------

FIRST = """
import autostate

def double(n): return 2 * n          # a global of __main__, used by others

def factorial(n): return 1 if n < 2 else n * factorial(n - 1)

class Shop:
    prices = {"tea": 3}
    def __init__(self, name): self.name, self.self = name, self
    def total(self, n): return double(n) * self.prices["tea"]

def local():
    class Local(Shop):
        def hello(self): return f"{super().total(1)} {self.name}"
    return Local

def counter():
    count = 0
    def step():
        nonlocal count
        count += 1
        return count
    return step

async def answer(): return 42

def steps(n): yield from range(n)

state = autostate.PersistedDict("state")
Local = local()
state["lambda"] = autostate.pickled(lambda n, by=3: n * by)
state["factorial"] = autostate.pickled(factorial)
state["shop"] = autostate.pickled(Shop("a"))
state["local"] = autostate.pickled(Local("b"))
state["class"] = autostate.pickled(Local)
state["counter"] = autostate.pickled(counter())
state["async"] = autostate.pickled(answer)
state["steps"] = autostate.pickled(steps)
state["own"] = autostate.pickled(lambda: state)
state["deep"] = [{"x": (autostate.pickled(lambda: "deep"),)}]
state["counter"]()
autostate.flush()
"""
SECOND = """
import asyncio
import contextlib
import autostate

state = autostate.PersistedDict("state")
assert state["lambda"](2) == 6 and state["lambda"](2, by=1) == 2
assert state["factorial"](10) == 3628800
assert state["shop"].total(2) == 12 and state["shop"].self.name == "a"
assert state["local"].hello() == "6 b"
assert isinstance(state["local"], state["class"].__wrapped__)
assert state["class"]("c").hello() == "6 c"
assert state["counter"]() == EXPECTED
assert asyncio.run(state["async"]()) == 42
assert list(state["steps"](3)) == [0, 1, 2]
assert state["own"]() is state
assert state["deep"][0]["x"][0]() == "deep"
autostate.flush()
print("all of it")
"""


def test_code_comes_back_in_a_program_that_does_not_have_it(isolated: Path) -> None:
    """Lambdas, closures, local classes, recursion, objects of `__main__`; changes inside too."""
    first = run(FIRST)
    assert first.returncode == 0, first.stderr
    for expected in (2, 3):
        second = run(SECOND.replace("EXPECTED", str(expected)))
        assert second.stdout == "all of it\n", second.stderr


def test_a_pickled_value_survives_kill_9(isolated: Path) -> None:
    """As soon as `flush()` has returned."""
    code = """
import os, signal, autostate
state = autostate.PersistedDict("state")
job = state.setdefault("job", autostate.pickled(lambda log=[]: (log.append(len(log)), log)[1]))
print(job(), flush=True)
autostate.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    for expected in ("[0]\n", "[0, 1]\n", "[0, 1, 2]\n"):
        life = run(code)
        assert (life.stdout, life.returncode) == (expected, -9), life.stderr


# -- what is saved ----------------------------------------------------------------------------


@pytest.mark.parametrize("many", [0, 300])
def test_a_change_inside_a_pickled_value_is_saved(many: int) -> None:
    """In a small dict and in a large one; without a change nothing is written."""
    program = Program()
    state = program.root("state", default={f"k{i}": i for i in range(many)})
    state["job"] = autostate.pickled(Job())
    for done in (0, 5, 7):
        state["job"].done = done
        program.flush()
        assert program.flush() == []
        assert recovered(program)["job"].done == done


def test_a_change_inside_one_that_came_back_is_saved() -> None:
    """It is watched from the first moment on, wherever it is."""
    program = Program()
    program.root("state")["job"] = autostate.pickled(Job())
    program.root("state")["nested"] = {"jobs": [0, (autostate.pickled(Job()),)]}
    program.root("jobs", "list").append(autostate.pickled(Job()))
    program.flush()
    for done in (1, 2):
        program = program.restart()
        state, jobs = program.root("state"), program.root("jobs", "list")
        assert program.flush() == []
        found = [state["job"], state["nested"]["jobs"][1][0], jobs[0]]
        assert [job.done for job in found] == [done - 1] * 3
        for job in found:
            job(1)
        assert program.tracker.needs_polling
        program.flush()


@dataclasses.dataclass
class Tally:
    """An object of a class whose fields are known."""

    done: int = 0

    def __call__(self, more: int) -> None:
        self.done += more


@pytest.mark.parametrize("make", [lambda: autostate.pickled(Job()), Tally], ids=["pickled", "not"])
def test_one_at_several_places_is_one_after_a_restart(make: Callable[[], Any]) -> None:
    """In one state object and in several, whichever is created first; changes go on to be saved."""
    program = Program()
    job = make()
    program.root("a").update(x=job, y=[job])
    program.root("b")["z"] = job
    del job
    for n, names in enumerate(["ab", "ba", "ab"]):
        program.flush()
        program = program.restart()
        state = {name: program.root(name) for name in names}
        assert state["a"]["x"] is state["a"]["y"][0] is state["b"]["z"]
        assert state["b"]["z"].done == n
        assert program.flush() == []
        state["a"]["y"][0](1)


@dataclasses.dataclass
class Knot:
    """An object that may hold itself."""

    me: Any = None
    n: int = 0


def test_an_object_that_holds_itself_comes_back_and_goes_on() -> None:
    """As what is at several places: it is a node of its own."""
    program = Program()
    knot = Knot()
    knot.me = knot
    program.root("state")["knot"] = knot
    del knot
    for n in range(3):
        program.flush()
        program = program.restart()
        state = program.root("state")
        assert state["knot"].me is state["knot"]
        assert state["knot"].n == n
        state["knot"].me.n += 1


@dataclasses.dataclass
class Task:
    """A class of which one field is pickled."""

    name: str
    run: Callable[[int], Any]


def test_a_field_of_an_object_can_be_pickled() -> None:
    """The rest of the object is saved as it is."""
    program = Program()
    program.root("state")["task"] = Task("a", autostate.pickled(Job()))
    program.flush()
    for done in (1, 2):
        program = program.restart()
        task = program.root("state")["task"]
        assert (type(task), task.name, task.run(1)) == (Task, "a", done)
        program.flush()


def test_a_pickled_value_cannot_be_a_key_or_member() -> None:
    """It would be another one after a restart; the rest is saved."""
    program = Program()
    state = program.root("state", default={"set": {autostate.pickled("x")}, "fine": 1})
    state[autostate.pickled("y")] = 1
    state["deep"] = {"tuple": {("z", autostate.pickled("z"))}}
    program.flush()
    assert len(program.errors) == 3
    assert all("pickled value cannot be a key" in str(error) for error in program.errors)
    assert recovered(program) == {"fine": 1, "set": set(), "deep": {"tuple": set()}}


def test_data_that_looks_like_a_pickled_value_is_data() -> None:
    """Only `pickled()` writes the tag."""
    program = Program()
    program.root("state")["data"] = {"$pickled": ["gASVAAAA", "00"]}
    program.flush()
    assert recovered(program) == {"data": {"$pickled": ["gASVAAAA", "00"]}}


def test_state_objects_that_a_closure_refers_to_are_the_same_after_a_restart() -> None:
    """Whichever of the two is created first."""
    program = Program()
    progress, jobs = program.root("progress"), program.root("jobs")
    jobs["step"] = autostate.pickled(lambda: progress.update(n=progress.get("n", 0) + 1))
    jobs["own"] = autostate.pickled(lambda: jobs)
    program.flush()
    for n, names in enumerate([("jobs", "progress"), ("progress", "jobs")]):
        program = program.restart()
        state = {name: program.root(name) for name in names}
        assert state["progress"].get("n", 0) == n
        assert state["jobs"]["own"]() is state["jobs"]
        state["jobs"]["step"]()
        program.flush()
    assert recovered(program, "progress") == {"n": 2}


def test_what_a_closure_refers_to_may_hold_it_and_be_anywhere() -> None:
    """Two state objects hold one closure that refers to both of them, and an object that does."""
    program = Program()
    a, b = program.root("a"), program.root("b")
    a["job"] = b["job"] = job = autostate.pickled(lambda: (a, b))
    a["holder"] = b["holder"] = autostate.pickled([job])
    a["n"] = b["n"] = 1
    del job
    for names in ("ab", "ba"):
        program.flush()
        program = program.restart()
        state = {name: program.root(name) for name in names}
        assert state["a"]["job"] is state["b"]["job"]
        assert state["a"]["holder"] is state["b"]["holder"]
        for found in (state["a"]["job"](), state["a"]["holder"][0]()):
            assert found[0] is state["a"]
            assert found[1] is state["b"]
        assert state["a"]["n"] == state["b"]["n"] == 1
        assert program.flush() == []


def test_a_closure_that_refers_to_a_part_of_a_state_object_is_refused() -> None:
    """It would work on a copy after a restart. The error comes at the call, or with its path."""
    program = Program()
    state = program.root("state", default={"items": [1]})
    program.flush()
    items = state["items"]
    with pytest.raises(UnsupportedTypeError, match="refer to the state object instead"):
        autostate.pickled(lambda: items)
    state["job"] = wrap(lambda: items)
    program.flush()
    [error] = program.errors
    assert error.path == 'state["job"]'
    assert recovered(program) == {"items": [1]}


def test_a_closure_cannot_refer_to_a_state_object_of_another_store() -> None:
    """It would not be found again."""
    program, other = Program(), Program()
    foreign = other.root("foreign")
    program.root("state")["job"] = autostate.pickled(lambda: foreign)
    program.flush()
    assert "of another store" in str(program.errors)


def test_a_state_object_that_was_deleted_is_named() -> None:
    """The value that refers to it is left as it is."""
    program = Program()
    progress, jobs = program.root("progress"), program.root("jobs")
    jobs["job"] = autostate.pickled(lambda: progress)
    program.flush()
    program.tracker.detach("progress")
    jobs.clear()
    lost = Program(program.store)
    lost.tracker.detach("progress")
    lost.flush()
    with pytest.raises(CorruptStateError, match="state object progress, which is not stored"):
        recovered(program, "jobs")


def test_a_plain_copy_is_pickled_of_a_container_that_no_store_has() -> None:
    """As `pickle` does it."""
    program = Program()
    inner = program.root("state", default={"a": 1})
    program.tracker.detach("state")
    assert name_of(inner) is None
    program.root("jobs")["job"] = autostate.pickled(lambda: inner)
    program.flush()
    found = recovered(program, "jobs")["job"]()
    assert type(found) is dict
    assert found == {"a": 1}


def test_a_module_that_is_imported_while_a_value_is_loaded_may_have_state_objects(
    isolated: Path,
) -> None:
    """Loading one begins to load another: both come back whole."""
    (isolated / "shop.py").write_text(
        'import autostate\nvisits = autostate.PersistedDict("visits", n=0, by=[])\n'
        "def visit():\n    visits['n'] += 1\n    return visits['n']\n"
    )
    first = (
        "import autostate, shop; state = autostate.PersistedDict('state', a={'b': 1}); "
        "state['job'] = autostate.pickled(shop.visit); shop.visit(); autostate.flush()"
    )
    then = (
        "import autostate; state = autostate.PersistedDict('state'); print(state['job']()); "
        "import shop; print(state['a'], shop.visits)"
    )
    assert run(first).returncode == 0
    for n in (2, 3):
        life = run(then)
        assert life.stdout == f"{n}\n{{'b': 1}} {{'n': {n}, 'by': []}}\n", life.stderr


def test_a_failure_after_such_an_import_leaves_all_as_it_is_stored(isolated: Path) -> None:
    """What was rebuilt before the import is not taken for the state object."""
    for name in ("shop", "gone"):
        (isolated / f"{name}.py").write_text(
            f"import autostate\nvisits = autostate.PersistedList('{name}', [1])\n"
            "def visit():\n    return visits\n"
        )
    first = (
        "import autostate, shop, gone; state = autostate.PersistedList('state'); "
        "state += ['a', autostate.pickled(shop.visit), [1], autostate.pickled(gone.visit)]"
    )
    then = """
import autostate
for _ in range(2):
    try:
        print(len(autostate.PersistedList('state')), autostate.PersistedList('shop'))
    except autostate.CorruptStateError as error:
        print("gone" in str(error))
autostate.PersistedList('shop').append(2)
"""
    assert run(first).returncode == 0
    (isolated / "gone.py").rename("hidden")
    life = run(then)
    assert life.stdout == "True\nTrue\n", life.stderr
    (isolated / "hidden").rename("gone.py")
    life = run(then)
    assert life.stdout == "4 [1, 2]\n4 [1, 2]\n", life.stderr


def test_a_module_that_is_gone_is_named_and_nothing_is_overwritten(isolated: Path) -> None:
    """Functions of modules are saved by name."""
    (isolated / "shop.py").write_text("def visit():\n    return 1\n")
    first = (
        "import autostate, shop; state = autostate.PersistedDict('state'); "
        "state['job'] = autostate.pickled(shop.visit)"
    )
    then = "import autostate; print(autostate.PersistedDict('state')['job']())"
    assert run(first).returncode == 0
    (isolated / "shop.py").rename("hidden")
    life = run(then)
    assert 'state["job"] cannot be unpickled (ModuleNotFoundError: No module' in life.stderr
    (isolated / "hidden").rename("shop.py")
    assert run(then).stdout == "1\n"

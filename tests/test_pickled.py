"""Pickled values: what comes back, what is saved of them, and what is never executed."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest

import autostate
from autostate import CorruptStateError, PersistedDict, SignatureError, UnsupportedTypeError
from autostate.codec.pickled import PYTHON, Pickled, name_of, wrap
from autostate.journal import Journal
from autostate.signing import Signer
from autostate.stores import open_store
from tests.conformance.state_kit import Program

KEY = b"the-key-of-the-tests"
OTHER = b"another key of tests"


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


class Secretive:
    """Its error shows what it holds."""

    def __getstate__(self) -> Any:
        """Refuse."""
        raise ValueError("token 1234")


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


def run(*code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    import os

    return subprocess.run(
        [sys.executable, "-c", *code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


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
    assert recovered(program) == {"fine": 1}


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


@pytest.mark.parametrize("code", [True, False])
def test_code_of_another_version_of_python_is_not_executed(isolated: Path, code: bool) -> None:
    """Its bytecode would do anything, a crash included. Data alone is loaded."""
    value = (lambda: 3) if code else [Path("x")]
    data = b"cpython-27\n" + cloudpickle.dumps(value)
    text = base64.b64encode(data).decode()
    hostile("sqlite:///s.db", {"job": {"$pickled": [text, signed(text, KEY)]}})
    with autostate.open("sqlite:///s.db", signing_key=KEY):
        if code:
            with pytest.raises(CorruptStateError, match=f'"job".*pickled by cpython-27.*{PYTHON}'):
                PersistedDict("state")
        else:
            assert PersistedDict("state")["job"] == value


# -- what is never executed -------------------------------------------------------------------

WATCHED = """
import sys, pathlib
events = []
def audit(event, args):
    if event.startswith("pickle.") or event == "os.mkdir":
        events.append(event)
sys.addaudithook(audit)
import autostate
autostate.configure(**CONFIGURED)
for _ in range(2):
    try:
        autostate.PersistedDict("state")
        print("loaded")
    except autostate.CodecError as error:
        print(type(error).__name__, error)
print("ran" if events or pathlib.Path("payload").exists() else "nothing ran")
other = autostate.PersistedDict("other")
other["n"] = other.get("n", 0) + 1
autostate.flush()
print("other", other["n"], len(other["x"]))
"""


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.mkdir, (Path("payload"),)


def hostile(url: str, content: Any) -> None:
    """Write a state object as whoever can write to the store could."""
    store = open_store(url)
    journal = Journal(store)
    journal.recover()
    other = {"id": 2, "kind": "dict", "name": "other", "assign": {"x": "x" * 40_000}}
    journal.commit(
        [
            msgspec.json.encode({"id": 1, "kind": "dict", "name": "state", "assign": content}),
            msgspec.json.encode(other),
        ]
    )
    store.close()


def stored(url: str) -> Any:
    """What the store holds of the state object, as it is stored."""
    store = open_store(url)
    nodes = Journal(store).recover().nodes
    store.close()
    return next(node.content for node in nodes.values() if node.name == "state")


def flipped(text: str, at: int) -> str:
    """Another character at one place; what it was matters not."""
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def attempts() -> Iterator[tuple[str, Callable[[str, str], Any]]]:
    """What may be stored, given base64 and the signature that would hold."""
    yield "flipped data", lambda data, signature: [flipped(data, 20), signature]
    yield "flipped signature", lambda data, signature: [data, flipped(signature, 5)]
    yield "no signature", lambda data, _: [data, ""]
    yield "no pair", lambda data, _: data
    yield "no text", lambda _, signature: [None, signature]
    yield "no base64", lambda data, signature: ["*" + data[1:], signature]
    yield "short signature", lambda data, signature: [data, signature[:-1]]
    yield "other key", lambda data, _: [data, signed(data, OTHER)]


def signed(data: str, key: bytes) -> str:
    """Sign what is stored as base64."""
    return Signer("apify:", lambda: [key]).sign(base64.b64decode(data))


PAYLOAD = base64.b64encode(f"{PYTHON}\n".encode() + pickle.dumps(Payload())).decode()
ATTEMPTS = dict(attempts())


@pytest.mark.parametrize(
    ("attempt", "deep"), [*((each, False) for each in ATTEMPTS), ("other key", True)]
)
def test_nothing_runs_of_what_is_not_signed(isolated: Path, attempt: str, deep: bool) -> None:
    """An audit hook sees no unpickling; the record stays; the rest of the state goes on."""
    value = {"$pickled": ATTEMPTS[attempt](PAYLOAD, signed(PAYLOAD, KEY))}
    content = {"job": [{"a": {"$tuple": [1, value]}}] if deep else value, "n": 1}
    hostile("sqlite:///s.db", content)
    code = WATCHED.replace("CONFIGURED", f"dict(url='sqlite:///s.db', signing_key={KEY!r})")
    life = run(code)
    lines = life.stdout.splitlines()
    assert len(lines) == 4, life.stderr
    for line in lines[:2]:
        assert line.startswith("SignatureError state was not restored, and is left as it is stored")
        assert 'state["job"]: the signature of a pickled value does not hold' in line
    assert lines[2:] == ["nothing ran", "other 1 40000"]
    assert stored("sqlite:///s.db") == content
    if deep:
        assert run(code).stdout.splitlines()[3] == "other 2 40000"


def test_what_is_signed_runs(isolated: Path) -> None:
    """So that the tests around this one can find something."""
    hostile("sqlite:///s.db", {"job": {"$pickled": [PAYLOAD, signed(PAYLOAD, KEY)]}})
    code = WATCHED.replace("CONFIGURED", f"dict(url='sqlite:///s.db', signing_key={KEY!r})")
    assert run(code).stdout.splitlines() == ["loaded", "loaded", "ran", "other 1 40000"]
    assert (isolated / "payload").is_dir()


@pytest.mark.parametrize("tag", ["$object", "$bytes", "$dict", "$set", "$unknown", "$Pickled"])
def test_only_what_was_declared_as_pickled_is_unpickled(isolated: Path, tag: str) -> None:
    """The same bytes, signed, under any other tag."""
    pair = [PAYLOAD, signed(PAYLOAD, KEY)]
    hostile("sqlite:///s.db", {"job": {tag: pair}, "bytes": {"$bytes": PAYLOAD}})
    code = WATCHED.replace("CONFIGURED", f"dict(url='sqlite:///s.db', signing_key={KEY!r})")
    assert "nothing ran" in run(code).stdout.splitlines()


def test_the_key_of_another_store_is_another_key(isolated: Path) -> None:
    """A record that was copied from one SQLite file into another is not loaded."""
    urls = [f"sqlite:///{isolated}/{name}.db" for name in ("a", "b")]
    signatures = []
    for url in urls:
        open_store(url).close()
        signatures.append(Signer(url, tuple).sign(base64.b64decode(PAYLOAD)))
    hostile(urls[1], {"job": {"$pickled": [PAYLOAD, signatures[0]]}})
    code = WATCHED.replace("CONFIGURED", "dict(url='sqlite:///b.db')")
    lines = run(code).stdout.splitlines()
    assert "signed with another key, or changed since" in lines[0]
    assert lines[2:] == ["nothing ran", "other 1 40000"]


@pytest.mark.parametrize("problem", ["missing", "readable"])
def test_without_its_key_a_value_is_not_loaded(isolated: Path, problem: str) -> None:
    """Nothing is lost by it: with the key it is there again."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("state")["job"] = autostate.pickled(Payload)
        PersistedDict("other")["x"] = "x"
    before = stored("sqlite:///s.db")
    key = isolated / "s.db.key"
    key.rename("away") if problem == "missing" else key.chmod(0o644)
    lines = run(WATCHED.replace("CONFIGURED", "dict(url='sqlite:///s.db')")).stdout.splitlines()
    assert "s.db.key is not there" in lines[0] or "can be read or written by others" in lines[0]
    assert lines[2:] == ["nothing ran", "other 1 1"]
    assert not key.exists() or problem == "readable"
    assert stored("sqlite:///s.db") == before
    (isolated / "away").rename(key) if problem == "missing" else key.chmod(0o600)
    with autostate.open("sqlite:///s.db"):
        assert isinstance(PersistedDict("state")["job"], type)


# -- keys -------------------------------------------------------------------------------------


def test_without_a_key_on_a_store_of_others_an_error_says_how_to_set_one() -> None:
    """With the path of the value; all the rest is saved."""
    with autostate.open("apify:jobs"):
        state = PersistedDict("state", n=1)
        state["job"] = autostate.pickled(Job())
        with pytest.raises(
            UnsupportedTypeError, match=r'state\["job"\]: .*set signing_key, or AUT'
        ):
            autostate.flush()
        del state["job"]
        autostate.flush()
    with autostate.open("apify:jobs"):
        assert PersistedDict("state") == {"n": 1}


def test_a_key_may_be_set_when_the_state_is_open_already() -> None:
    """With `configure`; what could not be saved is."""
    manager = autostate.configure("apify:jobs")
    PersistedDict("state")["job"] = autostate.pickled(Job(3))
    with pytest.raises(UnsupportedTypeError, match="signing_key"):
        autostate.flush()
    autostate.configure(signing_key=KEY)
    autostate.flush()
    manager.close()
    with autostate.open("apify:jobs", signing_key=KEY):
        assert PersistedDict("state")["job"].done == 3


def test_a_key_of_the_environment_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform where secrets are variables."""
    monkeypatch.setenv("AUTOSTATE_SIGNING_KEY", KEY.decode())
    with autostate.open("apify:jobs"):
        PersistedDict("state")["job"] = autostate.pickled(Job(3))
    monkeypatch.delenv("AUTOSTATE_SIGNING_KEY")
    with autostate.open("apify:jobs"), pytest.raises(SignatureError, match="no key is set"):
        PersistedDict("state")
    with autostate.open("apify:jobs", signing_key=KEY):
        assert PersistedDict("state")["job"].done == 3


def test_keys_can_be_changed() -> None:
    """With both set, old values are read; as soon as they change, the new key signs them."""
    with autostate.open("sqlite:///s.db", signing_key=KEY):
        PersistedDict("state").update(a=autostate.pickled(Job()), b=autostate.pickled(Job()))
    with autostate.open("sqlite:///s.db", signing_key=(OTHER, KEY)):
        for job in PersistedDict("state").values():
            job(1)
    with autostate.open("sqlite:///s.db", signing_key=OTHER):
        assert [job.done for job in PersistedDict("state").values()] == [1, 1]
    with autostate.open("sqlite:///s.db", signing_key=KEY), pytest.raises(SignatureError):
        PersistedDict("state")


def test_a_database_that_is_deleted_while_it_is_used_is_written_again_with_its_key(
    isolated: Path,
) -> None:
    """The folder too: what the program still has is saved, and can be loaded."""
    with autostate.open("sqlite:///folder/s.db"):
        state = PersistedDict("state", job=autostate.pickled(Job(3)))
        autostate.flush()
        for file in (isolated / "folder").iterdir():
            file.unlink()
        (isolated / "folder").rmdir()
        state["n"] = 1
        autostate.flush()
    with autostate.open("sqlite:///folder/s.db"):
        assert PersistedDict("state")["job"].done == 3
        assert PersistedDict("state")["n"] == 1

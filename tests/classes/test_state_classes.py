"""Which class a state object is of, when several ask for it, in whatever order."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedDeque, PersistedDict, StateTypeError
from tests.classes.test_subclasses import bare, slotted, write
from tests.conformance.state_kit import BUILTIN, PERSISTED, ROOTS, form

NUMBERS: Final = itertools.count()


class Mixin:
    """A mixin whose objects have a `__dict__`."""

    def greet(self) -> str:
        """Say something that no builtin says."""
        return f"hello from {type(self).__name__}"


def simple(kind: str) -> Any:
    """A class with a method."""
    base = PERSISTED[kind]

    class Simple(base):  # type: ignore[misc, valid-type]
        def greet(self) -> str:
            return f"hello from {type(self).__name__}"

    return Simple


def mixed(kind: str) -> Any:
    """A class that gets its method from a mixin, two classes deep."""
    base = PERSISTED[kind]

    class Below(Mixin, base):  # type: ignore[misc, valid-type]
        pass

    class Mixed(Below):
        pass

    return Mixed


def constructed(kind: str) -> Any:
    """A class with a constructor of its own."""
    base = PERSISTED[kind]

    class Constructed(Mixin, base):  # type: ignore[misc, valid-type]
        def __init__(self, name: str, factor: int = 2) -> None:
            super().__init__(name)
            self.factor = factor

    return Constructed


CLASSES: Final = [simple, mixed, constructed]


def referred(kind: str, many: int = 1) -> str:
    """A store in which the dict "first" refers to the state "p"; gives its URL."""
    url = f"memory:referred-{next(NUMBERS)}"
    with autostate.open(url):
        state = PERSISTED[kind]("p")
        for number in range(many):
            write(state, number)
        PersistedDict("first", child=state)
    return url


@pytest.mark.parametrize("wanted", ["armed", "disarmed", "recording"])
@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize("kind", ROOTS)
def test_what_another_state_refers_to_becomes_of_the_class_that_asks(
    kind: str, make: Any, wanted: str
) -> None:
    """The same object, in each form, with its content; what is written then is saved."""
    cls, many = make(kind), 400 if wanted == "recording" else 3
    url = referred(kind, many)
    with autostate.open(url, debounce=1000, max_delay=1000):
        child = PersistedDict("first")["child"]
        assert isinstance(child, PERSISTED[kind])
        assert type(child).__name__ == PERSISTED[kind].__name__
        assert repr(child) == repr(bare(child))
        if wanted != "armed":
            write(child, 1000)
        assert form(child) == wanted
        expected = bare(child)
        state = cls("p")
        assert state is child
        assert isinstance(state, cls)
        assert form(state) == wanted
        assert state.greet() == f"hello from {cls.__name__}"
        assert state == expected
        assert PERSISTED[kind]("p") is state
        for number in (2000, 2001):
            write(state, number)
            write(expected, number)
            autostate.flush()
            assert form(state) == "armed"
    with autostate.open(url):
        assert PERSISTED[kind]("p") == expected
        assert type(bare(PERSISTED[kind]("p"))) is BUILTIN[kind]


def test_the_constructor_runs_on_what_was_referred_to() -> None:
    """Attributes that `__init__` sets are there, as if the class had been asked for first."""
    cls = constructed("dict")
    with autostate.open(referred("dict")):
        child = PersistedDict("first")["child"]
        assert cls("p", factor=7) is child
        assert child.factor == 7


def test_slots_that_came_too_late_are_an_error_that_says_the_order() -> None:
    """A class with other slots has to be asked for first; then all is as ever."""
    cls = slotted("dict")
    url = referred("dict")
    with autostate.open(url):
        child = PersistedDict("first")["child"]
        with pytest.raises(StateTypeError, match=r"'p' is live.*create it as Slotted before"):
            cls("p")
        assert PersistedDict("p") is child
    with autostate.open(url):
        state = cls("p")
        assert PersistedDict("first")["child"] is state
        assert state.greet() == "this is Slotted"


@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize("kind", ROOTS)
def test_two_classes_cannot_share_a_name(kind: str, make: Any) -> None:
    """What the program made as one class stays of it: another one gets an error, not a stranger."""
    cls = make(kind)
    other = next(other for other in CLASSES if other is not make)(kind)
    with autostate.open(f"memory:shared-{next(NUMBERS)}"):
        plain, state = PERSISTED[kind]("plain"), other("same")
        with pytest.raises(StateTypeError, match="'plain' is live as a Persisted") as caught:
            cls("plain")
        assert f"as {cls.__name__} everywhere" in str(caught.value)
        with pytest.raises(StateTypeError, match=f"'same' is live as a {other.__name__}"):
            cls("same")
        assert PERSISTED[kind]("plain") is plain
        assert PERSISTED[kind]("same") is state
        assert isinstance(state, other)


def test_a_class_that_makes_the_name_hears_what_is_live() -> None:
    """It gets its name too late to be given the live object."""

    class PerUser(PersistedDict[str, Any]):
        def __init__(self, number: int) -> None:
            super().__init__("p")
            self.number = number

    with autostate.open(referred("dict")):
        PersistedDict("first")
        with pytest.raises(StateTypeError, match="create it as PerUser before that one"):
            PerUser(1)


def test_a_class_that_is_defined_anew_takes_over() -> None:
    """A cell of a notebook that is run again: the same object, with the methods as they are now."""

    def define(answer: int) -> Any:
        class Cell(PersistedDict[str, int]):
            def answer(self) -> int:
                return answer

        return Cell

    with autostate.open(f"memory:anew-{next(NUMBERS)}"):
        state = define(1)("state")
        state["x"] = 1
        assert define(2)("state") is state
        assert state.answer() == 2
        assert state == {"x": 1}


@pytest.mark.parametrize("dirty", [False, True])
def test_the_type_of_a_state_makes_others(*, dirty: bool) -> None:
    """`type(state)(name, default=…)` is the class, whatever form the state is in."""
    cls = simple("dict")
    with autostate.open(referred("dict"), debounce=1000, max_delay=1000):
        for state, same in ((cls("made"), cls), (PersistedDict("first")["child"], PersistedDict)):
            autostate.flush()
            if dirty:
                state["x"] = 1
            name = f"other {same.__name__}"
            other = type(state)(name, y=2)
            assert other == {"y": 2}
            assert same(name) is other


def test_a_number_after_the_name_of_a_deque_is_explained() -> None:
    """`PersistedDeque("latest", 100)`: what is meant is maxlen."""
    with (
        autostate.open(f"memory:number-{next(NUMBERS)}"),
        pytest.raises(TypeError, match=r"PersistedDeque\('latest', maxlen=100\)"),
    ):
        PersistedDeque("latest", 100)  # type: ignore[call-overload]  # ty: ignore[invalid-argument-type]


FIRST_WRITES: Final[list[tuple[str, str, tuple[Any, ...]]]] = [
    ("dict", "__setitem__", ("x", 1)),
    ("dict", "setdefault", ("x", 1)),
    ("dict", "update", ({"x": 1},)),
    ("list", "append", (1,)),
    ("list", "insert", (0, 1)),
    ("list", "extend", ([1],)),
    ("set", "add", (1,)),
    ("set", "update", ([1],)),
    ("counter", "update", ("x",)),
    ("counter", "__setitem__", ("x", 1)),
    ("deque", "append", (1,)),
    ("deque", "extend", ([1],)),
]


@pytest.mark.parametrize(("kind", "method", "args"), FIRST_WRITES)
def test_a_constructor_that_forgets_the_name_is_told_once(
    kind: str, method: str, args: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is saved: the first write says so, and names the class."""
    base = PERSISTED[kind]

    class Nameless(base):  # type: ignore[misc, valid-type]
        def __init__(self, customer: int) -> None:
            self.customer = customer

    Nameless.__qualname__ = f"Nameless{next(NUMBERS)}"
    with autostate.open(f"memory:nameless-{next(NUMBERS)}"):
        for customer in range(2):
            state = Nameless(customer)
            for _ in range(2):
                getattr(state, method)(*args)
            assert len(state) > 0
    (record,) = caplog.records
    assert f"{__name__}.{Nameless.__qualname__} was written to without a name" in record.message
    assert "super().__init__(name)" in record.message


@pytest.mark.parametrize("kind", ROOTS)
def test_what_has_a_name_or_had_one_is_told_nothing(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also not when its store was closed, it was deleted, or its name came from its `__init__`."""
    base = PERSISTED[kind]

    class Named(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__("state")

    with autostate.open(f"memory:had-{next(NUMBERS)}"):
        states = [Named(), PERSISTED[kind]("other"), PERSISTED[kind]("deleted")]
        for state in states:
            write(state, 1)
        autostate.delete("deleted")
        for state in states:
            write(state, 2)
    many = "extend" if kind in ("list", "deque") else "update"
    for state in states:
        write(state, 3)
        getattr(state, many)(bare(state))
    assert not caplog.records

"""Users subclass the persisted containers, as they would the builtins."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar

import pytest

import autostate
from autostate.containers import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
)
from tests.conformance.state_kit import BUILTIN, PERSISTED, ROOTS, Program, form, shape

T = TypeVar("T")

MANY: Final = 300


def write(container: Any, number: int) -> None:
    """Write something new, with the method that is used most."""
    kind = next(kind for kind in ROOTS if isinstance(container, BUILTIN[kind]))
    if kind in ("list", "deque"):
        container.append(number)
    elif kind == "set":
        container.add(number)
    else:
        container[number] = number


def bare(container: Any) -> Any:
    """The content, whatever a class overrides."""
    from autostate.tracking.barrier import variants_of

    return variants_of(type(container)).kind.copy(container)


class Named(abc.ABC):
    """A mixin with an abstract method, and an attribute of the class."""

    __slots__ = ()
    made: ClassVar[int] = 0

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What it is called."""

    def greet(self) -> str:
        """Use what the class has to implement."""
        return f"this is {self.title}"


def slotted(kind: str) -> Any:
    """A class with slots of its own, on top of an ABC mixin."""
    base = PERSISTED[kind]

    class Slotted(Named, base):  # type: ignore[misc, valid-type]
        __slots__ = ("note",)

        @property
        def title(self) -> str:
            return type(self).__name__

    return Slotted


def keeping(kind: str) -> Any:
    """A class whose objects have a `__dict__`, and which counts its writes."""
    base = PERSISTED[kind]

    class Keeping(base):  # type: ignore[misc, valid-type]
        def __init__(self, name: str, *args: Any, factor: int = 2) -> None:
            super().__init__(name, *args)
            self.factor = factor

        def write(self, number: int) -> None:
            write(self, number * self.factor)

    return Keeping


def overriding(kind: str) -> Any:
    """A class that shows other than it has, and changes what is written."""
    base = PERSISTED[kind]

    class Overriding(base):  # type: ignore[misc, valid-type]
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[Any]:
            return iter(["shown"])

        def __contains__(self, member: object) -> bool:
            return member == "shown"

        def append(self, item: Any) -> None:
            super().append(-item)

        def add(self, item: Any) -> None:
            super().add(-item)

        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(key, -value)

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __hash__(self) -> int:
            raise AssertionError

    return Overriding


@pytest.mark.parametrize("kind", ROOTS)
def test_methods_slots_and_abstract_mixins_work_in_every_form(kind: str) -> None:
    """What a class adds is there, armed, disarmed and recording, and is nobody else's."""
    program = Program()
    state = program.root("state", kind, cls=slotted(kind))
    state.note = "kept"
    expected = bare(state)
    forms = set()
    for number in range(MANY + 20):
        write(state, number)
        write(expected, number)
        forms.add(form(state))
        if number % 50 == 0 or number > MANY:
            program.flush()
            forms.add(form(state))
            assert shape(program.restart().root("state", kind)) == shape(expected)
        assert state.greet() == "this is Slotted"
        assert state.note == "kept"
    assert forms == {"armed", "disarmed", "recording"}
    assert isinstance(state, Named)
    assert not hasattr(state, "__dict__") or kind == "counter"


@pytest.mark.parametrize("kind", ROOTS)
def test_a_constructor_may_take_more(kind: str) -> None:
    """An `__init__` with other arguments runs each time; the content is what was saved."""
    cls = keeping(kind)
    with autostate.open(f"memory:subclasses-{kind}"):
        first = cls("state", factor=3)
        first.write(2)
        again = cls("state")
        assert again is first
        assert again.factor == 2
        autostate.flush()
        content = bare(first)
    with autostate.open(f"memory:subclasses-{kind}"):
        resumed = cls("state", factor=5)
        assert type(resumed).__name__ == "Keeping"
        assert isinstance(resumed, cls)
        assert resumed.factor == 5
        assert shape(bare(resumed)) == shape(content)
        resumed.write(7)
        assert 35 in resumed


@pytest.mark.parametrize("kind", ROOTS)
def test_a_constructor_may_make_the_name(kind: str) -> None:
    """The name is what `super().__init__` gets, not what the subclass is called with."""
    base = PERSISTED[kind]

    class PerUser(base):  # type: ignore[misc, valid-type]
        def __init__(self, user: str) -> None:
            super().__init__(f"state-of-{user}")

    with autostate.open(f"memory:named-{kind}"):
        state = PerUser("bob")
        assert autostate.info(state).name == "state-of-bob"
        write(state, 1)
        with pytest.raises(TypeError, match="live already"):
            PerUser("bob")
        with pytest.raises(LookupError):
            autostate.info("bob")
    with autostate.open(f"memory:named-{kind}"):
        assert 1 in PerUser("bob")


@pytest.mark.parametrize("many", [3, MANY])
@pytest.mark.parametrize("kind", ROOTS)
def test_what_a_class_shows_is_not_what_is_saved(kind: str, many: int) -> None:
    """Overridden `__len__`, `__iter__`, `__contains__` and `__eq__` mislead nobody."""
    program = Program()
    state = program.root("state", kind, cls=overriding(kind))
    expected = bare(state)
    for number in range(1, many):
        write(state, number)
        write(expected, -number if kind in ("list", "set", "deque") else number)
        if isinstance(expected, dict):
            expected[number] = -number
        if number % 100 < 3:
            program.flush(full_compare=number % 2 == 0)
            assert not program.errors
            assert shape(program.restart().root("state", kind)) == shape(expected)
    program.flush()
    assert shape(bare(state)) == shape(expected)
    assert shape(program.restart().root("state", kind)) == shape(expected)
    with pytest.raises(ZeroDivisionError), program.tracker.atomic():
        write(state, many)
        raise ZeroDivisionError
    assert shape(bare(state)) == shape(expected)


def test_classes_may_be_generic() -> None:
    """With type arguments or type variables: `Box[int]("name")` is a Box."""

    class Box(PersistedDict[str, T], Generic[T]):
        def first(self) -> T:
            return next(iter(self.values()))

    class Numbers(Box[int]):
        pass

    with autostate.open("memory:generic"):
        box = Box[int]("box", a=1)
        assert type(box).__name__ == "Box"
        assert box.first() == 1
        numbers = Numbers("numbers", {"b": 2})
        numbers["c"] = 3
        assert numbers.first() == 2
        plain = PersistedDict[str, int]("plain", x=1)
        assert plain["x"] == 1
        assert PersistedDeque[int]("queue", [1], maxlen=3).maxlen == 3
        autostate.flush()
    with autostate.open("memory:generic"):
        assert Numbers("numbers") == {"b": 2, "c": 3}


def test_super_finds_its_way_through_a_diamond() -> None:
    """Each class on the way is asked once, in order, in every form."""
    calls: list[str] = []

    class Left(PersistedDict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            calls.append("left")
            super().__setitem__(key, value)

    class Right(PersistedDict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            calls.append("right")
            super().__setitem__(key, value)

    class Both(Left, Right):
        pass

    program = Program()
    state = program.root("state", cls=Both)
    for number in range(MANY):
        state[str(number)] = number
        if number in (10, MANY - 5):
            program.flush()
    assert calls == ["left", "right"] * MANY
    program.flush()
    assert program.restart().root("state") == state


def test_a_class_with_other_arguments_and_defaults() -> None:
    """`class Cart(PersistedDict)` as a user writes it: methods, defaults, nested containers."""

    class Cart(PersistedDict[str, Any]):
        """What somebody is about to buy."""

        def __init__(self, customer: int, items: Iterable[str] = ()) -> None:
            super().__init__(f"cart-{customer}", items=list(items), total=0)
            self.customer = customer

        def add(self, item: str, price: int) -> None:
            self["items"].append(item)
            self["total"] += price

    with autostate.open("memory:cart"):
        cart = Cart(7, ["tea"])
        cart.add("milk", 3)
        autostate.flush()
        cart.add("cake", 4)
    with autostate.open("memory:cart"):
        again = Cart(7)
        assert again == {"items": ["tea", "milk", "cake"], "total": 7}
        again.add("jam", 2)
        assert again["total"] == 9
        assert again.customer == 7


@pytest.mark.parametrize("kind", ROOTS)
def test_the_signature_is_that_of_the_constructor(kind: str) -> None:
    """`inspect.signature`, and so every editor and `help`, shows what `__init__` takes."""
    base: Callable[..., Any] = PERSISTED[kind]
    shown = inspect.signature(base)
    assert next(iter(shown.parameters)) == "name"
    assert "self" not in shown.parameters
    assert list(inspect.signature(keeping(kind)).parameters) == ["name", "args", "factor"]


@pytest.mark.parametrize(
    "cls", [PersistedCounter, PersistedDeque, PersistedDict, PersistedList, PersistedSet]
)
def test_what_was_pickled_as_a_subclass_is_plain(cls: Any) -> None:
    """Copies and pickles of a subclass are builtins: they belong to no store."""
    import copy
    import pickle

    class Local(cls):  # type: ignore[misc]
        pass

    program = Program()
    kind = next(kind for kind in ROOTS if PERSISTED[kind] is cls)
    state = program.root("state", kind, cls=Local)
    write(state, 1)
    for made in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert type(made) is BUILTIN[kind]
        assert 1 in made


def hiding(kind: str) -> Any:
    """A class whose reading methods are of no use, and make entries for what is missing."""
    base = PERSISTED[kind]

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError

    names: tuple[str, ...] = (
        "__getitem__",
        "__iter__",
        "__contains__",
        "__bool__",
        "__len__",
        "__missing__",
    )
    names = (*names, "get", "items", "values", "keys", "copy", "index", "count", "__reversed__")
    return type("Hiding", (base,), dict.fromkeys(names, refuse))


@pytest.mark.parametrize("kind", ["dict", "list", "deque"])
def test_nested_values_are_read_past_a_class(kind: str) -> None:
    """What is nested is converted, shared and watched whatever the class shows of it."""
    program = Program()
    state = program.root("state", kind, cls=hiding(kind))
    expected = bare(state)
    shared = [{"x": 1}]
    for target in (state, expected):
        for number in range(MANY):
            value = shared if number % 100 == 1 else {"n": [number], "d": {"e": number}}
            if kind == "dict":
                target[number] = value
            else:
                target.append(value)
    held = BUILTIN[kind].__getitem__(expected, 1)
    for full_compare in (False, True, False):
        program.flush(full_compare=full_compare)
        assert not program.errors
        held.append({"y": 2})
        BUILTIN[kind].__getitem__(state, 2)["n"].append(3)
        BUILTIN[kind].__getitem__(expected, 2)["n"].append(3)
    del shared, held
    program.flush()
    program.flush()
    BUILTIN[kind].__getitem__(state, 101)[0]["z"] = 3
    program.flush()
    assert shape(program.restart().root("state", kind)) == shape(bare(state))
    assert BUILTIN[kind].__getitem__(state, 2) == BUILTIN[kind].__getitem__(expected, 2)
    with pytest.raises(ZeroDivisionError), program.tracker.atomic():
        BUILTIN[kind].__getitem__(state, 2)["n"].clear()
        raise ZeroDivisionError
    assert BUILTIN[kind].__getitem__(state, 2) == BUILTIN[kind].__getitem__(expected, 2)


def test_nothing_is_made_for_a_key_that_is_missing() -> None:
    """Looking at what was written asks no `__missing__`, and no default factory."""

    class Growing(PersistedDict[str, Any]):
        def __missing__(self, key: str) -> list[Any]:
            made = self[key] = []
            return made

    program = Program()
    state = program.root("state", cls=Growing)
    state["a"].append(1)
    program.flush()
    for key in ("b", "c"):
        state[key].append({"x": [1]})
        program.tracker.prepare(lambda: state.pop("b", None), full_compare=True)
        program.flush(full_compare=True)
    assert dict(state) == {"a": [1], "c": [{"x": [1]}]}
    assert program.restart().root("state") == dict(state)

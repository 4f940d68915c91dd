"""Subclasses that make attributes of entries, or do anything else with attribute access.

No attribute of the library's ever becomes an entry or is looked for among them, and the class works
as it does on the builtin: armed, disarmed and recording, in memory and after a restart.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, ClassVar, Final

import pytest

import autostate
from autostate import PersistedDict
from tests.classes.test_subclasses import MANY, bare, write
from tests.conformance.state_kit import BUILTIN, PERSISTED, Program, form, shape

MAPPINGS: Final = ("dict", "counter")


def recipe(base: Any) -> Any:
    """The usual one: methods of dict as they are."""

    class DotDict(base):  # type: ignore[misc]
        __getattr__ = dict.get
        __setattr__ = dict.__setitem__  # type: ignore[assignment]
        __delattr__ = dict.__delitem__  # type: ignore[assignment]

    return DotDict


def slotted(base: Any) -> Any:
    """The same without a `__dict__`."""

    class Slotted(base):  # type: ignore[misc]
        __slots__ = ()
        __getattr__ = dict.get
        __setattr__ = dict.__setitem__  # type: ignore[assignment]
        __delattr__ = dict.__delitem__  # type: ignore[assignment]

    return Slotted


def written_out(base: Any) -> Any:
    """With functions, and the errors that attributes raise."""

    class Record(base):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            self[name] = value

        def __delattr__(self, name: str) -> None:
            try:
                del self[name]
            except KeyError:
                raise AttributeError(name) from None

    return Record


class Attributes:
    """A mixin that knows nothing of the library."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]  # type: ignore[index]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]


def mixed_in(base: Any) -> Any:
    """From a mixin, on either side, through a class in between."""

    class Mixed(Attributes, base):  # type: ignore[misc]
        pass

    class Further(Mixed):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)

    return Further


def entries_first(base: Any) -> Any:
    """Entries hide methods: `state["get"]` is `state.get`."""

    class EntriesFirst(written_out(base)):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if base.__contains__(self, name):
                return base.__getitem__(self, name)
            return super().__getattribute__(name)

    return EntriesFirst


def munch(base: Any) -> Any:
    """As Munch does it: attributes that are there are attributes."""

    class Munch(base):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            try:
                return object.__getattribute__(self, name)
            except AttributeError:
                try:
                    return self[name]
                except KeyError:
                    raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            try:
                object.__getattribute__(self, name)
            except AttributeError:
                self[name] = value
            else:
                object.__setattr__(self, name, value)

        def __delattr__(self, name: str) -> None:
            del self[name]

    return Munch


def own_dict(base: Any) -> Any:
    """The shortest recipe of all."""

    class AttrDict(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.__dict__ = self

    return AttrDict


def meta_and_slots(base: Any) -> Any:
    """With a metaclass, hooks and a slot of its own."""

    class Meta(type):
        made: ClassVar[list[str]] = []

        def __new__(mcs, name: str, bases: Any, namespace: Any, *, table: str) -> Any:
            mcs.made.append(table)
            return super().__new__(mcs, name, bases, namespace)

        def __init__(cls, name: str, bases: Any, namespace: Any, *, table: str) -> None:
            super().__init__(name, bases, namespace)

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

        def __setattr__(cls, name: str, value: Any) -> None:
            raise TypeError("the class cannot be changed")

    class Table(written_out(base), metaclass=Meta, table="pages"):  # type: ignore[misc]
        __slots__ = ("note",)
        subclasses: ClassVar[list[Any]] = []

        def __init_subclass__(cls, **kwargs: Any) -> None:
            Table.subclasses.append(cls)

        def __class_getitem__(cls, item: Any) -> Any:
            return cls

        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value) if name == "note" else super().__setattr__(
                name, value
            )

    return Table


CLASSES: Final[dict[str, Callable[[Any], Any]]] = {
    made.__name__: made
    for made in (
        recipe,
        slotted,
        written_out,
        mixed_in,
        entries_first,
        munch,
        own_dict,
        meta_and_slots,
    )
}


def example(way: str, kind: str, name: str = "state") -> tuple[Any, Any, Any]:
    """A class on the persisted base, an object of it, and one of the same class on the builtin."""
    cls = CLASSES[way](PERSISTED[kind])
    return cls, cls(name), CLASSES[way](BUILTIN[kind])()


def both(state: Any, expected: Any, do: Callable[[Any], Any]) -> None:
    """Do the same to both, with the same result or error."""
    outcomes = []
    for target in (state, expected):
        try:
            outcomes.append(repr(do(target)))
        except Exception as error:
            outcomes.append(repr(type(error)))
    assert outcomes[0] == outcomes[1]
    assert dict(dict.items(state)) == dict(dict.items(expected))


STEPS: Final[list[Callable[[Any], Any]]] = [
    lambda d: setattr(d, "page", 1),
    lambda d: setattr(d, "page", d.page + 1),
    lambda d: d.page,
    lambda d: d["page"],
    lambda d: setattr(d, "maxlen", 5),
    lambda d: setattr(d, "default_factory", 6),
    lambda d: setattr(d, "tracker", 7),
    lambda d: delattr(d, "tracker"),
    lambda d: d.tracker,
    lambda d: hasattr(d, "missing"),
    lambda d: d.__deepcopy__,
    lambda d: setattr(d, "copy", 1),
    lambda d: setattr(d, "get", 1),
    lambda d: setattr(d, "items", 1),
    lambda d: setattr(d, "obj", 8),
    lambda d: d.__setitem__("n", 1),
    lambda d: d.pop("n"),
    dict.__len__,
    list,
]


@pytest.mark.parametrize("kind", MAPPINGS)
@pytest.mark.parametrize("way", CLASSES)
def test_it_works_as_it_does_on_the_builtin(way: str, kind: str) -> None:
    """Every step has the result that it has there, and what was saved comes back."""
    url = f"memory:attributes-{way}-{kind}"
    with autostate.open(url):
        cls, state, expected = example(way, kind)
        for _ in range(2):
            for step in STEPS:
                both(state, expected, step)
                autostate.flush()
        content = dict(dict.items(expected))
    with autostate.open(url):
        resumed = cls("state")
        assert dict(dict.items(resumed)) == content
        assert resumed.page == 2
        resumed.page = 7
    with autostate.open(url):
        assert dict.__getitem__(cls("state"), "page") == 7


@pytest.mark.parametrize("kind", MAPPINGS)
@pytest.mark.parametrize("way", CLASSES)
def test_attributes_are_saved_in_every_form_without_a_flush_that_compares(
    way: str, kind: str
) -> None:
    """Armed, disarmed and recording."""
    program = Program()
    cls = CLASSES[way](PERSISTED[kind])
    state = program.root("state", kind, cls=cls)
    if way == "own_dict":
        state.__dict__ = state
    forms = set()
    for number in range(MANY + 20):
        setattr(state, f"key{number}", number)
        if number % 3 == 0:
            delattr(state, f"key{number}")
        forms.add(form(state))
        if number % 50 == 0 or number > MANY:
            program.flush()
            assert not program.errors
            forms.add(form(state))
            stored = program.restart().root("state", kind)
            assert shape(stored) == shape(bare(state))
    expected = {f"key{number}": number for number in range(MANY + 20) if number % 3}
    assert dict(dict.items(state)) == expected
    with pytest.raises(ZeroDivisionError), program.tracker.atomic():
        state.key1 = "other"
        del state.key2
        raise ZeroDivisionError
    assert dict(dict.items(state)) == expected
    state[10_000] = 1
    forms.add(form(state))
    assert forms >= {"armed", "disarmed"}


@pytest.mark.parametrize("kind", ["list", "set", "deque"])
def test_the_other_kinds_keep_to_themselves(kind: str) -> None:
    """A class that takes all attributes, and one that refuses them."""
    base = PERSISTED[kind]

    class Taking(base):  # type: ignore[misc, valid-type]
        taken: ClassVar[list[str]] = []

        def __setattr__(self, name: str, value: Any) -> None:
            self.taken.append(name)

        def __getattr__(self, name: str) -> Any:
            return name

    class Refusing(base):  # type: ignore[misc, valid-type]
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("_") and not name.startswith("__"):
                raise LookupError(name)
            return super().__getattribute__(name)

    for cls in (Taking, Refusing):
        with autostate.open(f"memory:{cls.__name__}-{kind}"):
            state = cls("state")
            expected = bare(state)
            for number in range(MANY + 20):
                write(state, number)
                write(expected, number)
                if number % 100 == 0 or number > MANY + 15:
                    autostate.flush()
            assert shape(bare(state)) == shape(expected)
        with autostate.open(f"memory:{cls.__name__}-{kind}"):
            assert shape(bare(cls("state"))) == shape(expected)
    assert Taking.taken == []


def test_a_metaclass_makes_a_class_once() -> None:
    """The variants of a class are no classes of the program: no hook is called for them."""
    with autostate.open("memory:"):
        cls, state, _ = example("meta_and_slots", "dict")
        state.page = 1
        autostate.flush()
        state.page = 2
        state.note = "kept"
        assert type(cls).made[-1:] == ["pages"]
        assert len(type(cls).made) == len({*type(cls).made})
        assert cls.subclasses == []
        assert cls["anything"] is cls
        assert (state.note, dict(state)) == ("kept", {"page": 2})


@pytest.mark.parametrize("way", CLASSES)
def test_copies_are_plain(way: str) -> None:
    """Copies, deep ones and pickles hold the entries, and nothing else."""
    with autostate.open("memory:"):
        _, state, _ = example(way, "dict")
        state.page = 1
        state["inner"] = {"x": [1]}
        made = [copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))]
        made.append(state | {})
        for one in made:
            assert type(one) is dict
            assert one == {"page": 1, "inner": {"x": [1]}}
        assert made[1]["inner"] is not state["inner"]


@pytest.mark.parametrize("way", CLASSES)
def test_one_state_object_may_hold_another(way: str) -> None:
    """Referred to from another one, and from itself, such an object comes back as itself."""
    url = f"memory:nested-{way}"
    with autostate.open(url):
        cls, state, _ = example(way, "dict", "inner")
        outer = PersistedDict("outer", inner=state, again=[state])
        state.page = 1
        state["outer"] = outer
        autostate.flush()
        state.page = 2
    with autostate.open(url):
        state = cls("inner")
        outer = PersistedDict("outer")
        assert outer["inner"] is state
        assert outer["again"][0] is state
        assert state["outer"] is outer
        assert state.page == 2
        autostate.delete(state)
        assert state.page == 2
        state.page = 3
        assert dict.__getitem__(state, "page") == 3


def test_attributes_of_the_object_are_the_programs() -> None:
    """Whatever they are called, they do not disturb the library; they are not saved."""

    class Client(PersistedDict[str, Any]):
        def __init__(self, name: str, key: str) -> None:
            super().__init__(name)
            self._key = key
            self._node = self.node = self.tracker = "mine"

    with autostate.open("memory:client"):
        client = Client("client", "secret")
        client["page"] = 1
        assert (client._key, client._node) == ("secret", "mine")
        autostate.flush()
        client["page"] = 2
        assert autostate.info(client).name == "client"
        assert vars(client) == {
            "_key": "secret",
            **dict.fromkeys(("_node", "node", "tracker"), "mine"),
        }
    with autostate.open("memory:client"):
        assert Client("client", "other") == {"page": 2}


def test_ordinary_classes_are_left_alone() -> None:
    """Where attribute access is not redirected, reading a slot is one step of the interpreter."""

    class Cart(PersistedDict[str, Any]):
        pass

    with autostate.open("memory:"):
        cart = Cart("cart")
        cart["tea"] = 1
        autostate.flush()
        for form_of in type(cart).__mro__:
            if form_of is not object:
                assert "__setattr__" not in vars(form_of)
                assert not hasattr(form_of.__getattribute__, "__autostate_shield__")


@pytest.mark.parametrize("kind", MAPPINGS)
def test_names_of_attributes_are_free(kind: str) -> None:
    """`_node` and `_key` are as good as any other name."""
    for way in ("recipe", "written_out", "own_dict"):
        with autostate.open(f"memory:names-{way}-{kind}"):
            cls, state, _ = example(way, kind)
            state._node = 1
            state._key = 2
            autostate.flush()
            state._node += 1
        with autostate.open(f"memory:names-{way}-{kind}"):
            state = cls("state")
            assert dict(dict.items(state)) == {"_node": 2, "_key": 2}
            assert (state._node, state._key) == (2, 2)

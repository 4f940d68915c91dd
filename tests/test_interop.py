"""Other code takes the persisted containers for builtins, and users may subclass them."""

from __future__ import annotations

import copy
import heapq
import json
import pickle
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import orjson
import pydantic
import pytest

import autostate
from autostate.containers import PersistedCounter, PersistedDict, PersistedList, PersistedSet
from tests.conformance.parity_kit import VARIANTS, prepare
from tests.conformance.state_kit import BUILTIN, Program, form, shape

KINDS: Final = tuple(BUILTIN)

# -- plain results ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_plain_builtins(kind: str) -> None:
    """`copy`, `copy.copy`, `deepcopy` and pickles are cut loose from the store."""
    for shown in VARIANTS:
        target = prepare(Program(), kind, shown)
        copies = [target.copy(), copy.copy(target), copy.deepcopy(target)]
        copies += [pickle.loads(pickle.dumps(target, n)) for n in range(6)]
        for made in copies:
            assert type(made) is BUILTIN[kind]
            assert shape(made) == shape(target)
    nested = copy.deepcopy(Program().root("d", "dict", {"a": {"b": [1]}}))
    assert type(nested["a"]) is dict


def test_a_deep_copy_keeps_what_is_shared() -> None:
    """An object at two places is one object in the copy, and a cycle stays one."""
    program = Program()
    state = program.root("state")
    state["a"] = {"x": [1]}
    state["b"] = state["a"]
    state["self"] = state
    program.flush()
    assert shape(copy.deepcopy(state)) == shape(state)
    assert shape(pickle.loads(pickle.dumps(state))) == shape(state)


OPERATORS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "dict": {"__or__": ({"z": 1},), "__ror__": ({"z": 1},)},
    "list": {
        "__add__": ([1],),
        "__mul__": (2,),
        "__rmul__": (2,),
        "__getitem__": (slice(None),),
    },
    "set": {
        **{name: ({"a", "z"},) for name in ("__or__", "__and__", "__sub__", "__xor__")},
        **{name: ({"a", "z"},) for name in ("__ror__", "__rand__", "__rsub__", "__rxor__")},
        **{name: (["a", "z"],) for name in ("union", "intersection", "difference")},
        "symmetric_difference": (["a", "z"],),
    },
    "counter": {
        **{name: (Counter("az"),) for name in ("__or__", "__and__", "__sub__", "__add__")},
        "__pos__": (),
        "__neg__": (),
        "__ror__": ({"z": 1},),
    },
    "deque": {"__add__": (deque([1]),), "__mul__": (2,), "__rmul__": (2,), "__copy__": ()},
    "ordereddict": {"__or__": ({"z": 1},), "__ror__": ({"z": 1},)},
    "defaultdict": {"__or__": ({"z": 1},), "__ror__": ({"z": 1},), "__copy__": ()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_operators_give_plain_builtins(kind: str) -> None:
    """What an operator makes is of the type that it has for the builtin, in every form."""
    for shown in VARIANTS:
        target = prepare(Program(), kind, shown)
        plain = copy.copy(target)
        for name, args in OPERATORS[kind].items():
            made, expected = getattr(target, name)(*args), getattr(plain, name)(*args)
            assert type(made) is type(expected), name
            assert shape(made) == shape(expected), name


def test_operators_with_a_persisted_one_at_the_right_give_plain_builtins() -> None:
    """`plain | persisted` is plain too."""
    for shown in VARIANTS:
        numbers = prepare(Program(), "set", shown)
        for left in ({"a", "z"}, frozenset(["a", "z"])):
            made = [left | numbers, left & numbers, left - numbers, left ^ numbers]
            assert [type(one) for one in made] == [type(left)] * 4
            plain = set(numbers)
            assert made == [left | plain, left & plain, left - plain, left ^ plain]
        entries = prepare(Program(), "dict", shown)
        assert type({"z": 1} | entries) is dict
        assert list({"z": 1} | entries) == ["z", *entries]


def test_fromkeys_gives_plain_builtins() -> None:
    """The class method makes no state object; for a Counter it is refused as by Counter."""
    assert type(PersistedDict.fromkeys("ab", 1)) is dict
    assert PersistedDict.fromkeys("ab") == dict.fromkeys("ab")
    with pytest.raises(NotImplementedError):
        PersistedCounter.fromkeys("ab")


# -- other libraries --------------------------------------------------------------------------


def _document() -> tuple[Any, Any]:
    plain = {"page": 3, "links": ["a", {"b": [1.5, None, True]}], "words": {"x": 1}}
    program = Program()
    state = program.root("state", "dict", copy.deepcopy(plain))
    program.flush()
    assert isinstance(state["links"], PersistedList)
    return state, plain


def test_json_libraries_take_the_containers_for_builtins() -> None:
    """json, orjson and msgspec write what they write for plain ones, whatever the form."""
    state, plain = _document()
    for write in (lambda: None, lambda: state["links"].append(1), lambda: state.update(z=1)):
        write()
        current = copy.deepcopy(state)
        assert type(current) is dict
        assert json.dumps(state) == json.dumps(current)
        assert json.dumps(state, indent=1) == json.dumps(current, indent=1)
        assert orjson.dumps(state) == orjson.dumps(current)
        assert msgspec.json.encode(state) == msgspec.json.encode(current)
        assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(current)
    assert plain["page"] == 3


def test_patterns_match_the_containers() -> None:
    """`match` sees mappings and sequences."""
    state, _ = _document()
    match state:
        case {"page": int(page), "links": [first, {"b": [_, *rest]}]}:
            assert (page, first, rest) == (3, "a", [None, True])
        case _:
            pytest.fail("did not match")
    match state["links"]:
        case list(items):
            assert len(items) == 2


def test_unpacking_and_isinstance_see_builtins() -> None:
    """`**`, `*` and `isinstance` work as on the plain types."""
    state, plain = _document()
    assert dict(**state) == plain
    assert [*state["links"]] == plain["links"]
    assert isinstance(state["words"], dict)
    assert issubclass(PersistedCounter, Counter)
    assert issubclass(PersistedSet, set)
    assert f"{state}" == f"{plain}"


def test_sets_and_counters_look_like_builtins() -> None:
    """An converted container is invisible in what is printed, whatever its form."""
    program = Program()
    state = program.root("state", "dict", {"s": {1, 2}, "e": set(), "c": Counter("aab")})
    expected = repr(copy.deepcopy(state))
    program.flush()
    assert isinstance(state["s"], PersistedSet)
    assert repr(state) == expected
    state["s"].add(2)
    state["c"]["a"] = 2
    state["c"]["a"] = 2
    assert repr(state) == expected


def test_pydantic_takes_the_containers() -> None:
    """A model is validated from a state object, and dumps into one."""

    class Page(pydantic.BaseModel):
        page: int
        links: list[Any]
        words: dict[str, int]

    state, plain = _document()
    page = Page.model_validate(state)
    assert page.model_dump() == plain
    state.update(page.model_dump())
    assert state == plain
    assert pydantic.TypeAdapter(set[int]).validate_python(Program().root("s", "set", {1})) == {1}


def test_a_heap_can_live_in_a_list() -> None:
    """`heapq` writes past the barrier; it is saved by the next full compare."""
    program = Program()
    heap = program.root("heap", "list", [5, 3, 8])
    program.flush()
    heapq.heapify(heap)
    heapq.heappush(heap, 1)
    assert heapq.heappop(heap) == 1
    program.flush(full_compare=True)
    assert program.restart().root("heap", "list") == heap


# -- subclasses -------------------------------------------------------------------------------


def lowercase(base: Any) -> Any:
    """A class of dicts with methods of its own, based on dict or PersistedDict."""

    class Lowercase(base):  # type: ignore[misc]
        def __setitem__(self, key: str, value: Any) -> None:
            super().__setitem__(key.lower(), value)

        def __getitem__(self, key: str) -> Any:
            return "shown", super().__getitem__(key.lower())

        def __contains__(self, key: object) -> bool:
            return isinstance(key, str) and super().__contains__(key.lower())

        def __iter__(self) -> Iterator[str]:
            return iter(sorted(super().__iter__(), reverse=True))

        def __missing__(self, key: str) -> str:
            return key

        def keys(self) -> Any:
            return list(self)

        def items(self) -> Any:
            return [("none", 0)]

        def shout(self, key: str) -> Any:
            self[key.upper()] = "!"
            return self[key]

    return Lowercase


class Polite(PersistedList[str]):
    """A list with overridden mutating methods, a property and an attribute."""

    greeted = 0

    def append(self, item: str) -> None:
        self.greeted += 1
        super().append(f"please {item}")

    def __iter__(self) -> Iterator[str]:
        return iter(["overridden"])

    def __delitem__(self, index: Any) -> None:
        raise TypeError("never")

    @property
    def first(self) -> str:
        return self[0]


class Quiet(PersistedSet[str]):
    """A set that refuses to add and to discard through its methods."""

    def add(self, member: str) -> None:
        raise TypeError("never")

    def discard(self, member: object) -> None:
        raise TypeError("never")

    def __contains__(self, member: object) -> bool:
        return True


@pytest.mark.parametrize("many", [0, 300])
def test_a_subclass_with_overridden_methods_is_that_of_a_dict(many: int) -> None:
    """Each method does what it would do in the same subclass of dict, in every form."""
    program = Program()
    state = program.root("state", cls=lowercase(PersistedDict))
    plain = lowercase(dict)()
    for target in (state, plain):
        dict.update(target, {f"k{i}": i for i in range(many)})
    program.flush(full_compare=True)
    for step in range(3):
        for target in (state, plain):
            target[f"A{step}"] = [step]
            target.update({f"B{step}": step})
            target.update(kw=step)
            target |= {f"C{step}": step}
            target.setdefault(f"D{step}", {"x": 1})
            target.shout("e")
            target.pop("a0", None)
        assert shape(state) == shape(dict(dict.items(plain)))
        assert state.shout("f") == plain.shout("f")
        assert state["zzz"] == plain["zzz"]
        program.flush()
        assert not program.errors
        assert form(state) == "armed"
        assert shape(program.restart().root("state")) == shape(state)
        assert program.flush(full_compare=True) == []


def test_a_subclass_keeps_its_name_its_attributes_and_what_it_overrides() -> None:
    """The form shows nowhere: not in the name, not in `super()`, not in attributes."""
    program = Program()
    state = program.root("state", "list", ["a"], cls=Polite)
    for _ in range(3):
        program.flush()
        for item in ("b", "c"):
            state.append(item)
            assert isinstance(state, Polite)
            assert type(state).__name__ == "Polite"
        state.remove("please b")
        state.note = "kept"
        state.sort()
        assert state.first == "a"
    assert state.greeted == 6
    assert state.note == "kept"
    program.flush()
    assert shape(program.restart().root("state", "list")) == shape(["a", *["please c"] * 3])


@pytest.mark.parametrize("many", [0, 300])
def test_operations_in_place_do_not_call_overridden_methods(many: int) -> None:
    """`update` of a set does not call `add`, with few members and with many."""
    program = Program()
    members = {f"k{i}" for i in range(many)}
    state = program.root("state", "set", members, cls=Quiet)
    program.flush()
    for _ in range(2):
        state.update("ab")
        state |= {"c"}
        state -= {"a"}
        state.symmetric_difference_update({"d", "b"})
        program.flush()
        assert shape(program.restart().root("state", "set")) == shape(members | {"c", "d"})
        state.difference_update("cd")
        members -= {"c", "d"}


def test_a_subclass_may_ask_for_arguments_of_its_own() -> None:
    """`__init_subclass__` is the user's: it does not run for the forms."""
    made = []

    class Registered(PersistedDict[str, int]):
        __slots__ = ("extra",)

        def __init_subclass__(cls, *, tag: str) -> None:
            made.append(tag)

    class One(Registered, tag="one"):
        __slots__ = ()

    program = Program()
    state = program.root("state", cls=One)
    program.flush()
    state["a"] = 1
    state.extra = 2
    program.flush()
    assert state.extra == 2
    assert made == ["one"]
    assert program.restart().root("state") == {"a": 1}


def test_a_constructor_of_its_own_binds_and_takes_defaults() -> None:
    """A subclass whose `__init__` takes other arguments binds when it calls the persisted one."""

    class Crawl(PersistedDict[str, Any]):
        def __init__(self, start: list[str]) -> None:
            super().__init__("crawl", todo=start)
            self.started = True

    with autostate.open("memory:parity"):
        crawl = Crawl(["a"])
        crawl["todo"].append("b")
        autostate.flush()
    with autostate.open("memory:parity"):
        again = Crawl(["c"])
        assert again == {"todo": ["a", "b"]}
        assert again.started

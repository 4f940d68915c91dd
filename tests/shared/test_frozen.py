"""Frozen containers are the builtins, except that no method changes them."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any, Final, NamedTuple

import pytest

import autostate
from autostate import codec
from autostate.shared.frozen import MUTATING, Frozen, frozen
from tests.test_parity import FOREIGN, OBJECT, READING

VALUES: Final[dict[Any, Any]] = {
    dict: {"a": [1, {"b": {2}}], "c": 1},
    list: [1, [2, 3], {"a": "b"}],
    set: {1, "a", (2, 3)},
    deque: deque([1, [2], {"a": 3}], maxlen=5),
    Counter: Counter("abca"),
    OrderedDict: OrderedDict(b=[1], a={"x": 2}),
    defaultdict: defaultdict(list, a=[1], b=[]),
    bytearray: bytearray(b"abc"),
}
NEWER: Final = {"__xor__", "__ixor__"}
"""Methods of Counter that are newer than Python 3.14."""
READING_BYTES: Final = OBJECT | {
    *(name for name in dir(bytes) if name not in {"__getnewargs__", "__bytes__", "__hash__"}),
    *("copy", "__alloc__", "__buffer__", "__release_buffer__"),
}
REFERENCE: Final[dict[Any, set[str]]] = {
    dict: READING["dict"],
    list: READING["list"],
    set: READING["set"],
    Counter: READING["counter"],
    OrderedDict: READING["ordereddict"],
    deque: READING["deque"],
    bytearray: READING_BYTES,
    defaultdict: READING["defaultdict"] | {"__missing__", "default_factory"},
}


class Point(NamedTuple):
    """A named tuple that holds a container."""

    x: int
    path: list[int]


@pytest.mark.parametrize("builtin", VALUES)
def test_every_mutating_method_is_refused(builtin: Any) -> None:
    """A method that a newer Python adds fails here until somebody decides what it does."""
    unknown = set(dir(builtin)) - REFERENCE[builtin] - set(MUTATING[builtin]) - FOREIGN - NEWER
    assert not unknown
    value = frozen(VALUES[builtin])
    for name in MUTATING[builtin]:
        if hasattr(builtin, name):
            with pytest.raises(TypeError, match=r"a value inside a shared dict is one value: "):
                getattr(value, name)(1)
    assert value == VALUES[builtin]


@pytest.mark.parametrize("builtin", VALUES)
def test_a_frozen_container_is_the_builtin(builtin: Any) -> None:
    """It is equal, shown alike, and everything that it makes is plain."""
    plain = VALUES[builtin]
    value: Any = frozen(plain)
    assert issubclass(type(value), builtin)
    assert issubclass(type(value), Frozen)
    assert value == plain
    assert plain == value
    assert repr(value) == repr(plain)
    copies = [value.copy(), copy.copy(value), copy.deepcopy(value)]
    if builtin is not defaultdict:  # whose first argument is the factory
        copies.append(type(value)(value))
    copies += [pickle.loads(pickle.dumps(value, number)) for number in range(2, 6)]
    for made in copies:
        assert type(made) is builtin
        assert made == plain
    for name in ("maxlen", "default_factory"):
        assert getattr(copy.copy(value), name, None) == getattr(plain, name, None)
        assert getattr(value, name, None) == getattr(plain, name, None)
    assert "Frozen" not in repr(copy.deepcopy(value))
    assert b"autostate" not in pickle.dumps(value)
    assert hasattr(value, "__dict__") == hasattr(plain, "__dict__")


@pytest.mark.parametrize("builtin", [dict, list, Counter, OrderedDict])
def test_a_frozen_container_is_json(builtin: Any) -> None:
    """It is encoded as the plain one."""
    value = {"a": {"x": [1]}} if issubclass(builtin, dict) else [1, [2]]
    plain = builtin(value)
    assert json.dumps(frozen(plain)) == json.dumps(plain)


@pytest.mark.parametrize("builtin", VALUES)
def test_a_frozen_container_is_saved_as_the_plain_one(builtin: Any) -> None:
    """A state, or another shared dict, may hold a value of a shared dict."""
    saved = [codec.dump(codec.jsonable(value, lambda _: None)) for value in both(VALUES[builtin])]
    assert saved[0] == saved[1]
    states = autostate.PersistedDict("holds")
    states["value"] = frozen(VALUES[builtin])
    autostate.flush()


def both(value: Any) -> tuple[Any, Any]:
    """A value as it is, and frozen."""
    return value, frozen(value)


def test_results_of_operators_are_plain() -> None:
    """They can be changed."""
    items, tags, queue = frozen([1]), frozen({1}), frozen(deque([1]))
    table, raw = frozen({"a": 1}), frozen(bytearray(b"a"))
    results: list[Any] = [
        items.__add__([2]),
        items * 2,
        items[:1],
        tags | {2},
        tags - {1},
        {2} | tags,
    ]
    results += [tags.union([3]), queue + queue, queue * 2, table | {"b": 2}, raw + b"b", raw[:1]]
    results += [frozen(OrderedDict(a=1)) | {"b": 2}, frozen(Counter("a")) + Counter("b")]
    results += [frozen(defaultdict(int, a=1)) | {"b": 2}, dict.fromkeys("ab"), 2 * items]
    assert not any(isinstance(result, Frozen) for result in results)


def test_all_levels_are_frozen() -> None:
    """Also inside tuples and named tuples; a tuple of atoms stays the same object."""
    atoms = (1, "a", frozenset({2}))
    value = frozen({"a": [({"b": [1]},)], "p": Point(1, [2]), "t": atoms})
    assert value["t"] is atoms
    assert type(value["p"]) is Point
    for inner in (value["a"], value["a"][0][0], value["a"][0][0]["b"], value["p"].path):
        assert isinstance(inner, Frozen)
    assert frozen(value) is value


def test_a_frozen_value_is_another_object_than_its_source() -> None:
    """Later writes to the source do not show."""
    source = {"a": [1]}
    value = frozen(source)
    source["a"].append(2)
    source["b"] = []
    assert value == {"a": [1]}


def test_values_that_hold_themselves_can_be_frozen() -> None:
    """What is one object in the source is one object in the result."""
    ring: list[Any] = [1]
    ring.append(ring)
    value = frozen(ring)
    assert value[1] is value
    again = copy.deepcopy(value)
    assert again[1] is again
    assert repr(value) == repr(ring)
    queue: deque[Any] = deque()
    queue.append(queue)
    assert repr(frozen(queue)) == "deque([...])"
    assert type(again) is list
    same = [1]
    first, second = frozen([same, same])
    assert first is second


def test_a_frozen_defaultdict_puts_nothing() -> None:
    """A missing key gives what the factory makes, frozen; without a factory, KeyError."""
    value = frozen(defaultdict(list, a=[1]))
    with pytest.raises(TypeError, match="one value"):
        value["b"].append(1)
    assert dict(value) == {"a": [1]}
    with pytest.raises(TypeError, match="one value"):
        value.default_factory = int
    with pytest.raises(KeyError):
        frozen(defaultdict(None))["b"]
    with pytest.raises(KeyError):
        frozen({})["b"]


def test_other_objects_stay_as_they_are() -> None:
    """Atoms, frozensets and objects of classes."""
    for value in (1, "a", None, b"x", frozenset({1}), 1.5, object(), range(3)):
        assert frozen(value) is value

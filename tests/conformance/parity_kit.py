"""What the tests of parity try: containers in every form, and calls with good and bad arguments."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from autostate.containers.root import blank
from autostate.tracking.barrier import forms_of
from tests.conformance.state_kit import BUILTIN, PERSISTED, Program, form


class BrokenError(Exception):
    """Raised by an iterator half-way, or by the body of a block."""


class Made:
    """An argument that is made anew for every call, because it is used up."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def items(*given: Any) -> Made:
    """A generator that gives some items."""
    return Made(lambda: (item for item in given))


def breaking(*given: Any) -> Made:
    """A generator that gives some items, then raises."""

    def generate() -> Iterator[Any]:
        yield from given
        raise BrokenError

    return Made(generate)


class Pairs:
    """Not a dict, but `update` takes it for one."""

    def keys(self) -> list[str]:
        """Give the keys to take."""
        return ["p", "q", "a"]

    def __getitem__(self, key: str) -> str:
        return key * 2


class Index:
    """An index that is no int."""

    def __index__(self) -> int:
        return 1


class Swapped(dict[str, int]):
    """`dict.update` takes the entries of such a dict past its methods."""

    def __getitem__(self, key: str) -> int:
        return -1


class Call(NamedTuple):
    """A method and its arguments."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}{self.args}{self.kwargs}"

    def on(self, target: Any) -> Any:
        """Call the method of `target`, an operator by its sign; no two calls share an argument."""
        args = [arg.make() if isinstance(arg, Made) else copy.deepcopy(arg) for arg in self.args]
        if self.name.startswith("__") and hasattr(operator, self.name):
            return getattr(operator, self.name)(target, *args)
        return getattr(target, self.name)(*args, **copy.deepcopy(self.kwargs))


def case(name: str, /, *args: Any, **kwargs: Any) -> Call:
    """Describe a call."""
    return Call(name, args, kwargs)


def _dict_cases() -> Iterator[Call]:
    for key in ("a", "new", "c", 1, True, 1.0, None, (1, 2), "", "$set", 2**70):
        yield case("__setitem__", key, {"v": [1]})
        yield case("__delitem__", key)
        yield case("pop", key)
        yield case("pop", key, "default")
        yield case("setdefault", key, [1])
        yield case("setdefault", key)
    for name in ("__delitem__", "pop", "setdefault"):
        yield case(name)
        yield case(name, [])
    yield case("__setitem__", [], 1)
    yield case("__setitem__", "a")
    yield case("pop", [], 1)
    yield case("pop", "a", 1, 2)
    yield case("popitem")
    yield case("popitem", 1)
    yield case("clear")
    yield case("clear", 1)
    for name in ("update", "__ior__"):
        yield case(name, {"b": 5, "new": {"x": {1, 2}}, 1: 2})
        yield case(name, [("b", 5), ("new", 6), ["c", [7]]])
        yield case(name, items(("b", 5), ("z", 6), ("a", 1)))
        yield case(name, breaking(("b", 5), ("z", 6)))
        yield case(name, [("b", 5), ("bad",)])
        yield case(name, [("b", 5), 3])
        yield case(name, [("b", 5), ([], 3)])
        yield case(name, ["xy", "zw"])
        yield case(name, Pairs())
        yield case(name, Swapped(a=1, n=2))
        yield case(name, Counter("aab"))
        for bad in (5, None, "abc", [1], {1}):
            yield case(name, bad)
        yield case(name, {})
        yield case(name)
        yield case(name, {}, {})
    yield case("update", {"b": 1}, c=9, kw=[1, 2])
    yield case("update", kw=1, a=2)
    yield case("update", self=1, other=2)


def _counter_cases() -> Iterator[Call]:
    yield from (c for c in _dict_cases() if c.name not in ("update", "__ior__"))
    for name in ("update", "subtract"):
        yield case(name, "aabz")
        yield case(name, {"a": 2, "n": 3})
        yield case(name, Counter("aab"))
        yield case(name, items(*"abz"))
        yield case(name, breaking("a", "z"))
        yield case(name, ["a", []])
        yield case(name, {"a": "text"})
        yield case(name, 5)
        yield case(name, None)
        yield case(name, "ab", a=3, kw=1)
        yield case(name, kw=1)
        yield case(name, self=1, iterable=2)
    for name in ("__iadd__", "__isub__", "__ior__", "__iand__"):
        yield case(name, Counter(a=3, n=1, k=-5))
        yield case(name, Counter())
        yield case(name, {"a": 2})
        yield case(name, 5)
        yield case(name, {"a": "text"})
    yield case("_keep_positive")


_SLICES = [
    *(slice(None), slice(1, 2), slice(2, None), slice(None, -1), slice(None, None, 2)),
    *(slice(None, None, -1), slice(3, 1), slice(-2, None), slice(10_000, 10_001)),
    *(slice(1, None, 3), slice(-1, 0, -2), slice(0, 0), slice(-10_000, 1), slice(None, None, 0)),
    *(slice("a", None), slice(Index(), None)),
]


def _list_cases() -> Iterator[Call]:
    for index in (0, 1, -1, -3, 10_000, -10_000, Index(), True, "a", None, 1.0):
        yield case("__setitem__", index, {"v": 1})
        yield case("__delitem__", index)
        yield case("pop", index)
        yield case("insert", index, [5])
    for part in _SLICES:
        yield case("__delitem__", part)
        for values in ([], [9], [9, 8, 7], (1, 2), "xy"):
            yield case("__setitem__", part, values)
        yield case("__setitem__", part, items(7, [8]))
        yield case("__setitem__", part, breaking(7))
        yield case("__setitem__", part, 5)
    for name in ("pop", "append", "insert", "__delitem__", "__setitem__", "extend", "remove"):
        yield case(name)
        yield case(name, 1, 2, 3)
    yield case("append", [1, {"a": 1}])
    yield case("append", None)
    for name in ("extend", "__iadd__"):
        yield case(name, [1, [2]])
        yield case(name, items(1, 2))
        yield case(name, breaking(1, 2))
        yield case(name, [])
        yield case(name, {"k": 1})
        yield case(name, "xy")
        yield case(name, 5)
        yield case(name, None)
    for times in (0, 1, 2, -1, True, Index(), 1.5, "a", None):
        yield case("__imul__", times)
    for value in (3, 1, "missing", 2.0, True, float("nan"), [4]):
        yield case("remove", value)
    yield case("reverse")
    yield case("reverse", 1)
    yield case("clear")
    yield case("clear", 1)
    yield case("sort")
    yield case("sort", reverse=True)
    yield case("sort", key=repr)
    yield case("sort", key=repr, reverse=1)
    yield case("sort", key=len)
    yield case("sort", key=5)
    yield case("sort", repr)
    yield case("sort", cmp=1)


def _set_cases() -> Iterator[Call]:
    member: Any
    for member in ("a", "new", 1, True, 1.0, (1, 2), None, [], {}, {"b"}, frozenset("b")):
        yield case("add", member)
        yield case("discard", member)
        yield case("remove", member)
    for name in ("add", "discard", "remove"):
        yield case(name)
        yield case(name, 1, 2)
    yield case("pop", 1)
    yield case("clear")
    yield case("clear", 1)
    for name in ("update", "difference_update", "symmetric_difference_update"):
        yield from _set_operation(name)
    yield from _set_operation("intersection_update")
    for name in ("update", "difference_update", "intersection_update"):
        yield case(name, {"a"}, ["b", "new"], items("c"))
        yield case(name, {"a", "z"}, breaking("b"), {"never"})
        yield case(name, {"a", "z"}, 5)
    for name in ("__ior__", "__isub__", "__ixor__", "__iand__"):
        yield from _set_operation(name)


def _set_operation(name: str) -> Iterator[Call]:
    yield case(name, {"a", "new", 1})
    yield case(name, frozenset(["b", (1, 2)]))
    yield case(name, set())
    yield case(name, Made({"a": 1, "n": 2}.keys))
    yield case(name, {"a": 1, "n": 2})
    yield case(name, ["a", "a", "n"])
    yield case(name, items("a", "z"))
    yield case(name, breaking("a", "z"))
    yield case(name, ["a", []])
    yield case(name, 5)
    yield case(name)


CALLS: Final = {
    "dict": list(_dict_cases()),
    "counter": list(_counter_cases()),
    "list": list(_list_cases()),
    "set": list(_set_cases()),
}


FORMS: Final = ("unbound", "armed", "disarmed", "recording", "inline", "written", "grown")


def content(kind: str, many: int) -> Any:
    """What the container holds beforehand: a few entries to aim at, and `many` more."""
    if kind == "dict":
        few = {"a": 1, "b": [1, {"x": {2}}], "c": {"y": 1}, 1: "one", (1, 2): None}
        return few | {f"k{i}": i for i in range(many)}
    if kind == "counter":
        return Counter({"a": 1, "b": 2, "c": -3, 1: 5} | {f"k{i}": i + 1 for i in range(many)})
    if kind == "list":
        return [3, 1, 2, *range(100, 100 + many)]
    return {"a", "b", "c", 1, (1, 2), frozenset("b"), *(f"k{i}" for i in range(many))}


def _touch(target: Any, kind: str) -> None:
    """Write something with one of the methods in C."""
    write = {"dict": ("__setitem__", ("t", 1)), "counter": ("__setitem__", ("t", 1))}
    name, args = write.get(kind, ("append" if kind == "list" else "add", ("t",)))
    getattr(target, name)(*args)


def prepare(program: Program, kind: str, shown: str) -> Any:
    """Bring a container into a form; gives it and leaves everything else saved."""
    if shown == "unbound":
        target = blank(PERSISTED[kind], BUILTIN[kind])
        forms_of(PERSISTED[kind]).kind.fill(target, content(kind, 0))
        return target
    if shown in ("inline", "written"):
        outer = program.root("state", "dict", {"in": {"deep": content(kind, 0)}, "b": 1})
        program.flush()
        program.flush()
        target = outer["in"]["deep"]
    else:
        many = {"recording": 300, "grown": 253}.get(shown, 0)
        target = program.root("state", kind, content(kind, many))
        program.flush()
    assert form(target) == "armed"
    if shown in ("disarmed", "recording", "written", "grown"):
        _touch(target, kind)
        assert form(target) == ("recording" if len(target) > 256 else "disarmed")
    return target


def recovered(program: Program, kind: str, shown: str) -> Any:
    """The container as the next run would find it."""
    if shown in ("inline", "written"):
        return program.restart().root("state", "dict")["in"]["deep"]
    return program.restart().root("state", kind)

"""What the tests of parity try: containers in every form, and calls with good and bad arguments."""

from __future__ import annotations

import copy
import operator
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from autostate.containers.root import blank
from autostate.tracking.kind import KINDS
from tests.conformance.state_kit import BUILTIN, PERSISTED, ROOTS, Program, form


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


def _ordered_cases() -> Iterator[Call]:
    key: Any
    yield from _dict_cases()
    yield case("pop", key="a", default=3)
    yield case("pop", default=3)
    yield case("popitem", last=False)
    yield case("popitem", False)
    yield case("setdefault", key="new", default=[1])
    for key in ("a", "c", (1, 2), "new", True, []):
        yield case("move_to_end", key)
        yield case("move_to_end", key, False)
        yield case("move_to_end", key, last=False)
        yield case("move_to_end", key=key, last=True)
    yield case("move_to_end")
    yield case("move_to_end", "a", True, 1)
    yield case("__init__", {"b": 7, "n": 1}, kw=2)


def _default_cases() -> Iterator[Call]:
    key: Any
    yield from _dict_cases()
    for key in ("a", "new", 1, True, []):
        yield case("__getitem__", key)
        yield case("__missing__", key)
    for factory in (set, None, dict, "text"):
        yield case("__setattr__", "default_factory", factory)
    yield case("__delattr__", "default_factory")
    yield case("__delattr__", "default_factory")
    yield case("__init__", int, {"b": 7}, kw=2)
    yield case("__init__", {"b": 7})


def _deque_cases() -> Iterator[Call]:
    bad: Any
    indices = (0, 1, -1, -3, 10_000, -10_000, Index(), True, "a", None, 1.0, slice(1), 2**70)
    for index in indices:
        yield case("__setitem__", index, {"v": 1})
        yield case("__delitem__", index)
        yield case("insert", index, [5])
        yield case("rotate", index)
        yield case("pop", index)
    for name in ("append", "appendleft"):
        yield case(name, [1, {"a": 1}])
        yield case(name, None)
        yield case(name)
        yield case(name, 1, 2)
    for name in ("pop", "popleft", "clear", "reverse", "rotate"):
        yield case(name)
        yield case(name, 1, 2)
    for name in ("extend", "extendleft", "__iadd__"):
        yield case(name, [1, [2]])
        yield case(name, deque([1, [2]], 3))
        yield case(name, items(1, 2))
        yield case(name, breaking(1, 2))
        yield case(name, range(400))
        for bad in ([], {"k": 1}, "xy", 5, None):
            yield case(name, bad)
    for times in (0, 1, 2, -1, True, Index(), 1.5, "a", None):
        yield case("__imul__", times)
    for value in (3, 1, 2, "missing", 2.0, True, float("nan"), [4]):
        yield case("remove", value)


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
    "ordereddict": list(_ordered_cases()),
    "defaultdict": list(_default_cases()),
    "list": list(_list_cases()),
    "deque": list(_deque_cases()),
    "bounded": list(_deque_cases()),
    "set": list(_set_cases()),
}
"""By what is called: the kinds, and a deque that has room for one more item."""


VARIANTS: Final = ("unbound", "armed", "disarmed", "recording", "inline", "written", "grown")


def kind_of(called: str) -> str:
    """The kind of what is called."""
    return "deque" if called == "bounded" else called


def content(called: str, many: int) -> Any:
    """What the container holds beforehand: a few entries to aim at, and `many` more."""
    if called in ("dict", "ordereddict", "defaultdict"):
        few = {"a": 1, "b": [1, {"x": {2}}], "c": {"y": 1}, 1: "one", (1, 2): None}
        entries = few | {f"k{i}": i for i in range(many)}
        return defaultdict(list, entries) if called == "defaultdict" else BUILTIN[called](entries)
    if called == "counter":
        return Counter({"a": 1, "b": 2, "c": -3, 1: 5} | {f"k{i}": i + 1 for i in range(many)})
    if called == "list":
        return [3, 1, 2, *range(100, 100 + many)]
    if kind_of(called) == "deque":
        return deque([3, 1, 2, *range(100, 100 + many)], many + 4 if called == "bounded" else None)
    return {"a", "b", "c", 1, (1, 2), frozenset("b"), *(f"k{i}" for i in range(many))}


def _touch(target: Any, kind: str) -> None:
    """Write something with one of the methods in C."""
    write = {"list": "append", "deque": "append", "set": "add"}
    if kind in write:
        getattr(target, write[kind])("t")
    else:
        target["t"] = 1


def is_nested(called: str, shown: str) -> bool:
    """Whether the container is inside another one."""
    return shown in ("inline", "written") or kind_of(called) not in ROOTS


def prepare(program: Program, called: str, shown: str) -> Any:
    """Bring a container into a form; gives it and leaves everything else saved."""
    kind = kind_of(called)
    if shown == "unbound":
        cls = PERSISTED[kind] if kind in ROOTS else KINDS[kind].nested
        target = blank(cls)
        KINDS[kind].fill(target, content(called, 0))
        return target
    many = {"recording": 300, "grown": 253}.get(shown, 0)
    if is_nested(called, shown):
        outer = program.root("state", "dict", {"in": {"deep": content(called, many)}, "b": 1})
        program.flush()
        program.flush()
        target = outer["in"]["deep"]
    else:
        target = program.root("state", kind, content(called, many))
        program.flush()
    assert form(target) == "armed"
    if shown in ("disarmed", "recording", "written", "grown"):
        _touch(target, kind)
        is_keyed = len(target) > 256 and target._node_.obj is target
        assert form(target) == ("recording" if is_keyed else "disarmed")
    return target


def recovered(program: Program, called: str, shown: str) -> Any:
    """The container as the next run would find it."""
    if is_nested(called, shown):
        return program.restart().root("state", "dict")["in"]["deep"]
    return program.restart().root("state", kind_of(called))

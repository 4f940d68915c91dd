"""Deques as type checkers see them.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, MutableSequence
from typing import Any, TypeVar, assert_type

from autostate import PersistedDeque

T = TypeVar("T")

latest = PersistedDeque[str]("latest", maxlen=100)
assert_type(latest, PersistedDeque[str])
assert_type(PersistedDeque[str]("latest", ["a"]), PersistedDeque[str])
assert_type(PersistedDeque[str]("latest", ["a"], 100), PersistedDeque[str])
assert_type(PersistedDeque[str]("latest", ["a"], None), PersistedDeque[str])
assert_type(PersistedDeque("latest", ["a"]), PersistedDeque[str])
assert_type(PersistedDeque("latest", (n for n in (1, 2)), maxlen=1), PersistedDeque[int])
numbers: PersistedDeque[int] = PersistedDeque("numbers")
anything = PersistedDeque("anything", maxlen=10)
assert_type(anything, PersistedDeque[Any])
anything.append(1)
anything.append("a")
jobs = PersistedDeque[tuple[str, int]]("jobs")

assert_type(latest[0], str)
assert_type(latest.pop(), str)
assert_type(latest.popleft(), str)
assert_type(latest.maxlen, int | None)
assert_type(iter(latest), Iterator[str])
assert_type(list(reversed(latest)), list[str])
assert_type(list(latest), list[str])
assert_type("a" in latest, bool)
assert_type(len(latest), int)
assert_type(latest.count("a"), int)
assert_type(latest.index("a", 1), int)
assert_type(latest.copy(), deque[str])
assert_type(latest + deque("a"), deque[str])
assert_type(latest * 2, deque[str])
assert_type(2 * latest, deque[str])
assert_type(latest < deque("a"), bool)
latest.append("a")
latest.appendleft("a")
latest.extend("ab")
latest.extendleft(["a"])
latest.insert(0, "a")
latest.remove("a")
latest.rotate(-1)
latest.reverse()
latest.clear()
latest[0] = "a"
del latest[0]
latest += ["a"]
latest *= 2
assert_type(latest, PersistedDeque[str])
for url, depth in jobs:
    assert_type(url, str)
    assert_type(depth, int)

PersistedDeque()  # error
PersistedDeque(["a"])  # error
PersistedDeque("latest", 1)  # error
PersistedDeque("latest", maxlen="many")  # error
PersistedDeque[str]("latest", [1])  # error
PersistedDeque("latest", length=1)  # error


def wrong_deques(latest: PersistedDeque[str], jobs: PersistedDeque[tuple[str, int]]) -> None:
    """Use deques in ways that cannot be meant."""
    latest.append(1)  # error
    latest.extend([1])  # error
    latest[0] = 1  # error
    latest.maxlen = 2  # error
    str(latest["a"])  # error
    jobs.append(("a", "b"))  # error


def takes_builtins(a: deque[str], b: MutableSequence[str]) -> None:
    """Take what the builtin is."""


takes_builtins(latest, latest)
takes_builtins(numbers, latest)  # error


class Window(PersistedDeque[T]):
    """A deque with a method of its own."""

    def turn(self) -> T:
        """Take from one end to the other."""
        self.rotate(1)
        return self[0]


assert_type(Window[int]("window", [1]).turn(), int)

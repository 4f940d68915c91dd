"""Entries are merged in any order and grouping with one result."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from functools import reduce
from itertools import count
from math import isfinite
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, strategies as st

from autostate.errors import StateTypeError, UnsupportedTypeError
from autostate.shared.clock import HybridClock
from autostate.shared.handle import ABSENT
from autostate.shared.keys import key_of, text_of
from autostate.shared.kinds import COUNTER, SET, DictKind, Entry, Kind

KINDS: Final[dict[str, tuple[Kind, st.SearchStrategy[Any]]]] = {
    "counter": (COUNTER, st.integers(-3, 3)),
    "set": (SET, st.booleans()),
    "dict": (DictKind(), st.one_of(st.integers(0, 3), st.just(ABSENT))),
    "merged": (DictKind(min), st.integers(0, 9)),
}


class Level(IntEnum):
    """Of ints."""

    LOW = 1


class Status(StrEnum):
    """Of texts."""

    OK = "ok"


class Writer:
    """The origin of changes, with a clock that may be hours off."""

    def __init__(self, name: str, skew: float) -> None:
        self.id = name
        self.clock = HybridClock(lambda: 1e9 + skew)
        self._numbers = count(1)

    def next(self) -> int:
        return next(self._numbers)

    def stamp(self) -> int:
        return self.clock.stamp()


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_merging_is_commutative_and_associative(name: str, data: st.DataObject) -> None:
    """Entries of several writers, who have seen some of each other's."""
    kind, operations = KINDS[name]
    writers = [Writer(who, skew) for who, skew in (("a", 0.0), ("b", -9e4), ("c", 9e4))]
    entries: list[Entry] = []
    for operation in data.draw(st.lists(operations, min_size=2, max_size=8)):
        seen = data.draw(st.sets(st.sampled_from(range(len(entries))))) if entries else set()
        known = [entries[each] for each in sorted(seen)]
        view = reduce(lambda one, other: kind.merge("k", one, other), known) if known else None
        writer = data.draw(st.sampled_from(writers))
        entries.append(kind.entry("k", operation, view, writer))
    whole = reduce(lambda one, other: kind.merge("k", one, other), entries)
    rng = random.Random(data.draw(st.integers(0, 99)))
    while len(entries) > 1:  # in any grouping
        one = entries.pop(rng.randrange(len(entries)))
        other = entries.pop(rng.randrange(len(entries)))
        entries.append(kind.merge("k", one, other))
    assert entries == [whole]
    assert kind.show("k", entries[0]) == kind.show("k", whole)


def test_an_addition_that_a_removal_has_not_seen_wins() -> None:
    """Whatever the clocks say."""
    here, there = Writer("a", -1e6), Writer("b", 1e6)
    first = SET.entry("k", True, None, here)
    again = SET.entry("k", True, first, here)
    removal = SET.entry("k", False, first, there)
    assert SET.show("k", SET.merge("k", first, removal)) is ABSENT
    assert SET.show("k", SET.merge("k", SET.merge("k", first, removal), again)) is True


def test_a_change_that_knows_of_another_is_later() -> None:
    """Also if the clock of its machine is a day behind."""
    ahead, behind = Writer("a", 86_400.0), Writer("b", 0.0)
    kind = DictKind()
    first = kind.entry("k", 1, None, ahead)
    behind.clock.see(first[0])
    second = kind.entry("k", 2, first, behind)
    assert kind.show("k", kind.merge("k", second, first)) == 2
    deleted = kind.entry("k", ABSENT, second, behind)
    assert kind.show("k", kind.merge("k", first, deleted)) is ABSENT


def test_one_key_is_not_merged_in_two_ways() -> None:
    """The programs are told."""
    writer = Writer("a", 0.0)
    one, other = DictKind({"k": min}), DictKind()
    with pytest.raises(StateTypeError, match="in one program and not in another"):
        other.merge("k", one.entry("k", 1, None, writer), other.entry("k", 1, None, writer))
    entry = one.entry("k", 1, None, writer)
    with pytest.raises(StateTypeError, match="pass the same merge="):
        other.merge("k", entry, entry)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        "=",
        "=a",
        "\0",
        "é",
        "\ud800",
        5,
        -5,
        10**30,
        0.5,
        None,
        (1, "a"),
        b"x",
        datetime(2026, 1, 1, tzinfo=UTC),
    ],
)
def test_a_key_is_found_again(key: Any) -> None:
    """Each has a text of its own."""
    assert key_of(text_of(key)) == key
    assert type(key_of(text_of(key))) is type(key)
    text_of(key).encode()


class _Page(StrEnum):
    A = "page"


class _Number(IntEnum):
    ONE = 1


class _Point(NamedTuple):
    x: int


_EQUAL: tuple[tuple[Any, Any], ...] = (
    *((True, 1), (1.0, 1), (_Number.ONE, 1), (Decimal(1), 1), (Fraction(1, 2), 0.5)),
    *((Decimal("0.50"), Decimal("0.5")), (complex(0.5), 0.5), (_Page.A, "page")),
    *((_Point(1), (1,)), (("a", (True,)), ("a", (1,))), (frozenset({1.0}), frozenset({1}))),
    (
        datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 1, 1, tzinfo=UTC),
    ),
    (time(1, tzinfo=timezone(timedelta(hours=1))), time(0, tzinfo=UTC)),
    (datetime(2026, 1, 1, fold=1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
)


@pytest.mark.parametrize(("key", "other"), _EQUAL)
def test_keys_that_equal_others_are_refused(key: object, other: object) -> None:
    """Else a count would have two texts, of which a view shows one."""
    assert key == other
    with pytest.raises(UnsupportedTypeError, match="may be equal to"):
        text_of(key)


@pytest.mark.parametrize(
    "value",
    [
        *(Counter("aab"), OrderedDict(a=1), defaultdict(int, a=1), deque([1], 2), bytearray(b"x")),
        *({"a": 1}, [1], {1}),
    ],
)
def test_a_value_is_shown_as_what_it_was(value: Any) -> None:
    """Of the same type, but frozen."""
    kind = DictKind()
    found = kind.show("k", kind.entry("k", value, None, Writer("a", 0.0)))
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize("key", [float("nan"), ("a", float("nan"))])
def test_a_key_that_is_not_found_again_is_refused(key: object) -> None:
    """It is not equal to itself."""
    with pytest.raises(UnsupportedTypeError, match="not to itself"):
        text_of(key)


@pytest.mark.parametrize("count", [10**290, -(10**5000), 1e308], ids=["int", "long", "float"])
def test_counts_add_up_to_a_finite_number(count: float) -> None:
    """What no program could add to a float, or read again, is in no record."""
    writer = Writer("a", 0.0)
    with pytest.raises(OverflowError, match="too large"):
        COUNTER.entry("k", count, None, writer)
    largest = COUNTER.entry("k", 10**290 - 1, None, writer)
    assert isfinite(COUNTER.merge("k", 10**18 * largest, COUNTER.entry("k", 0.5, None, writer)))

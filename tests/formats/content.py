"""What is in the states: every kind of state object, and a value of every type that has a tag."""

from __future__ import annotations

import datetime
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, Final
from zoneinfo import ZoneInfo

import autostate
from autostate import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
    SharedCounter,
    SharedDict,
    SharedSet,
)

KEY: Final = "a key that is known to everybody, for tests alone"
LARGE: Final = {f"page {number}": [number, str(number) * 3] for number in range(600)}
"""More than 256 entries: a node, whose changed entries are written one by one."""


class Colour(Enum):
    """An enum, which is stored by name."""

    RED = 1


@dataclass
class Cart:
    """An object of a class, which is stored by its name."""

    owner: str
    items: list[str] = field(default_factory=list)


@autostate.persisted(name="shop of tests")
class Shop:
    """A state object of a class."""

    def __init__(self) -> None:
        self.page = 1
        self.seen = {"a"}


VALUES: Final[dict[Any, Any]] = {
    "plain": [None, True, 1, 2**70, -0.5, "text \u20ac", {"a": [1]}],
    "tuple": (1, ("a",)),
    "sets": [{1, 2}, frozenset({"a"})],
    "bytes": [b"\x00\xff", bytearray(b"a")],
    "numbers": [Decimal("1.10"), Fraction(1, 3), 1 + 2j, range(1, 9, 2), slice(1, None)],
    "containers": [
        deque([1, 2], maxlen=3),
        Counter(a=2),
        OrderedDict(b=1, a=2),
        defaultdict(list, {"a": [1]}),
    ],
    "times": [
        datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC),
        datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Prague"), fold=1),
        datetime.date(2026, 3, 1),
        datetime.time(12, 30),
        datetime.timedelta(days=1, microseconds=5),
    ],
    "names": [uuid.UUID(int=5), re.compile("a+", re.IGNORECASE), PurePosixPath("a/b"), Ellipsis],
    "classes": [Colour.RED, Cart("anna", ["tea"])],
    (1, "a key"): {2: "int key", None: "none"},
}


def write(url: str, **settings: Any) -> None:
    """Write a state with everything, in many commits."""
    with autostate.open(url, history=1000, **settings):
        PersistedDict("values", VALUES)
        large = PersistedDict[str, list[Any]]("large")
        words = PersistedCounter[str]("words")
        shop = Shop()
        for part in range(0, 600, 60):
            large.update(list(LARGE.items())[part : part + 60])
            words["part"] += 1
            shop.page = part
            autostate.flush()
        shop.seen.add("b")
        PersistedSet("seen", {1, "a", (2, 3)})
        PersistedDeque("newest", [3, 4], 2)
        shared = [1, 2]
        PersistedList[Any]("list").extend([shared, {"the same": shared}, Cart("eva")])
        for number in autostate.resume("loop", range(10)):
            if number == 4:
                break


def check(url: str, **settings: Any) -> None:
    """Compare a state with what was written."""
    with autostate.open(url, readonly=True, **settings):
        found = PersistedDict[Any, Any]("values")
        for name, value in VALUES.items():
            assert repr(found[name]) == repr(value), name
        assert PersistedDict("large") == LARGE
        assert PersistedCounter("words") == {"part": 10}
        assert PersistedSet("seen") == {1, "a", (2, 3)}
        newest = PersistedDeque[int]("newest")
        assert (list(newest), newest.maxlen) == ([3, 4], 2)
        one, other, cart = PersistedList[Any]("list")
        assert one == [1, 2]
        assert other["the same"] is one
        assert cart == Cart("eva")
        shop = Shop()
        assert (shop.page, shop.seen) == (540, {"a", "b"})


def write_shared(url: str) -> None:
    """Write shared objects of each kind."""
    with autostate.open("memory:", shared=url):
        SharedCounter("hits").update({"page": 3})
        SharedSet("seen").add((1, "a"))
        SharedDict("prices")["tea"] = Decimal("2.5")
        autostate.flush()


def check_shared(url: str) -> None:
    """Compare shared objects with what was written."""
    with autostate.open("memory:", shared=url):
        assert SharedCounter("hits") == {"page": 3}
        assert SharedSet("seen") == {(1, "a")}
        assert SharedDict("prices") == {"tea": Decimal("2.5")}


def urls(folder: Path) -> dict[str, dict[str, Any]]:
    """Give the URLs of the states in a folder, and their settings."""
    return {
        f"sqlite:///{folder}/plain.db": {},
        f"sqlite:///{folder}/signed.db": {"key": KEY},
        f"sqlite:///{folder}/encrypted.db": {"key": KEY, "encrypt": True},
        f"file://{folder}/folder?state=crawl": {},
    }

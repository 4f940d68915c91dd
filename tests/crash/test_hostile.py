"""Records of somebody who can write to a store and has no key: a state, or an error that names it.

Random changes are sealed as records and put into a database. Whatever they say, creating the state
objects either works or raises an error of the library, takes no longer than their size explains,
and no more than ten times as much memory. `CAMPAIGN_HOSTILE` says how many; the corpus of what was
once found is always tried.
"""

from __future__ import annotations

import contextlib
import random
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import codec
from autostate.errors import AutostateError, StateTypeError
from autostate.journal import Journal
from autostate.journal.head import Head
from autostate.stores.sqlite import SqliteStore
from tests.campaign import Tally, size
from tests.codec.test_codec import TAGS

CASES: Final = size("HOSTILE", 15)
ROOM: Final = 64 << 20
"""Bytes that opening any store may take, beside ten times its size."""

SECONDS: Final = 30
"""After which one case hangs."""


@dataclass
class Visit:
    """An object of the program."""

    url: str = ""
    rest: list[Any] = field(default_factory=list)
    again: Any = None


@dataclass(frozen=True)
class Point:
    """One that can be a key."""

    x: Any = 0


@autostate.persisted(name="shop")
class Shop:
    """A class of state objects."""

    def __init__(self) -> None:
        self.page = 1
        self.seen = [1]

    def save(self) -> str:
        return "saved"


NAMES: Final = ["root", "other", "shop"]
MAKE: Final[dict[str, Callable[[str], Any]]] = {
    "dict": autostate.PersistedDict,
    "list": autostate.PersistedList,
    "set": autostate.PersistedSet,
    "counter": autostate.PersistedCounter,
    "deque": autostate.PersistedDeque,
    "object": lambda _: Shop(),
}
KINDS: Final = [*MAKE, "ordereddict", "defaultdict", "proxy", "shared_object", "loop", "unreadable"]
CLASSES: Final = [f"{cls.__module__}:{cls.__qualname__}" for cls in (Visit, Point, Shop)]


class Hostile:
    """Makes changes at random.

    Args:
        rng: Decides.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def pick(self, *choices: Any) -> Any:
        """One of some values, or of what some functions give."""
        chosen = self.rng.choice(choices)
        return chosen() if callable(chosen) else chosen

    def number(self) -> Any:
        """A number of a node or an item, or none."""
        usual = self.rng.randrange(-2, 7)
        return self.pick(
            *[usual] * 12, -(2**63), 2**63, 2**64, 10**15, 10**40, 1.0, "1", None, True
        )

    def atom(self) -> Any:
        """A scalar."""
        long = "x" * self.rng.choice([*[9] * 20, 70_000])
        return self.pick(
            *(None, True, 0, -1, 2**64, 10**400, 1.5, -0.0, 1e308),
            *("", "a", "$set", "\x00", "é", long, "value", "$ref"),
        )

    def value(self, depth: int = 0) -> Any:
        """Any JSON, often tagged."""
        if depth > 3 or self.rng.random() < 0.4:
            return self.atom()

        def inner() -> Any:
            return self.value(depth + 1)

        def several() -> list[Any]:
            return [inner() for _ in range(self.rng.randrange(4))]

        return self.pick(
            lambda: {"$ref": self.number()},
            lambda: {"$ref": self.number()},
            lambda: {self.rng.choice(TAGS): self.pick(inner, several)},
            lambda: {self.rng.choice(TAGS): self.pick(inner, several)},
            lambda: {"$object": [self.pick(*CLASSES, "os:system", inner), self.fields(inner)]},
            lambda: {"$object": [self.pick(*CLASSES), self.fields(inner)]},
            lambda: {self.pick("$dict", "$defaultdict", "$x"): [several() for _ in range(2)]},
            lambda: {f"{self.atom()}"[:9]: inner() for _ in range(3)},
            several,
            lambda: [[inner(), inner()] for _ in range(3)],
        )

    def fields(self, inner: Callable[[], Any]) -> Any:
        """Fields of an object."""
        names = ["url", "rest", "again", "x", "page", "save", "__class__", "seen", "$unset"]
        fields = {self.rng.choice(names): inner() for _ in range(self.rng.randrange(4))}
        return self.pick(*[fields] * 6, inner)

    def key(self) -> Any:
        """What may be meant as a key or a member."""
        return self.pick(self.atom, self.atom, self.value)

    def pairs(self) -> Any:
        """Entries."""
        return self.pick(
            lambda: {f"{self.atom()}"[:9]: self.value() for _ in range(self.rng.randrange(5))},
            lambda: [[self.key(), self.value()] for _ in range(self.rng.randrange(5))],
            lambda: [self.key() for _ in range(self.rng.randrange(5))],
            lambda: {"value": self.value()},
            self.value,
        )

    def ranges(self) -> Any:
        """Ranges of items."""
        ranges = [[self.number(), self.number()] for _ in range(self.rng.randrange(1, 4))]
        return self.pick(ranges, ranges, self.value)

    def metadata(self, kind: Any) -> Any:
        """What is said about a kind."""
        shop = {"class": CLASSES[2], "version": self.pick(1, 1, 1, 2, "1"), "fields": ["page"]}
        usual = {"deque": 3, "defaultdict": "builtins:list", "object": shop}.get(str(kind))
        return self.pick(*[usual] * 5, self.value)

    def change(self) -> dict[str, Any]:
        """One change of one node."""
        kind = self.pick(*KINDS, *["dict", "list", "set", "shared_object"] * 2, *([self.value] * 1))
        change: dict[str, Any] = {"id": self.number()}
        if self.rng.random() < 0.8:
            change["kind"] = kind
        if self.rng.random() < 0.6:
            change["name"] = self.pick(*NAMES * 4, self.atom)
        if self.rng.random() < 0.5:
            change["metadata"] = self.metadata(kind)
        for name, make in {
            "defaults": lambda: [self.key()],
            "more_defaults": lambda: [self.key()],
            "assign": self.pairs,
            "put": self.pairs,
            "drop": lambda: [self.key()],
            "trim": lambda: self.pick([self.number(), self.number()], self.value),
            "cut": self.ranges,
            "at": self.number,
            "items": lambda: [self.value() for _ in range(self.rng.randrange(4))],
            "insert": lambda: self.pick(True, False, 1),
            "delete": lambda: self.pick(True, False),
            "more_of_it": self.value,
        }.items():
            if self.rng.random() < (0.02 if name in {"delete", "more_of_it"} else 0.2):
                change[name] = self.pick(*[make] * 20, self.value)
        return change

    def changes(self) -> list[dict[str, Any]]:
        """A commit, in which some roots begin as they should."""
        usual = []
        for number, name in enumerate(NAMES, 1):
            kind = "object" if name == "shop" else self.pick("dict", "list", "set", "deque")
            change = {"id": number, "kind": kind, "name": name, "metadata": self.metadata(kind)}
            if self.rng.random() < 0.8:
                some = [self.value(2) for _ in range(self.rng.randrange(4))]
                by_name = {f"a{index}": value for index, value in enumerate(some)}
                usual_content = {"set": [1, "a"], "list": some, "deque": some}.get(kind, by_name)
                change["assign"] = usual_content
            usual.append(change)
        return [*usual, *(self.change() for _ in range(self.rng.randrange(2)))]


class Unchecked(Journal):
    """Seals what it is given, as somebody does who can write to a store."""

    def _with(self, changes: list[bytes]) -> tuple[Head, dict[str, bytes]]:
        refs, puts = self._writer.segments(changes, [])
        return Head(1.0, (), refs), puts


@contextlib.contextmanager
def no_hang(what: object) -> Iterator[None]:
    """Say what hangs."""

    def alarm(*_: object) -> None:
        raise AssertionError(f"it hangs: {what!r:.2000}")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def load(path: Path, changes: list[bytes]) -> list[str]:
    """Put changes into a store, and create what it may hold; return the errors."""
    path.unlink(missing_ok=True)
    store = SqliteStore(path)
    journal = Unchecked(store)
    journal.recover()
    journal.commit(changes)
    store.close()
    told = []
    with contextlib.ExitStack() as stack:
        try:
            manager = stack.enter_context(autostate.open(f"sqlite:///{path}"))
            for name in NAMES:
                for make in [MAKE["object"]] if name == "shop" else MAKE.values():
                    try:
                        made = make(name)
                    except StateTypeError:
                        continue
                    except AutostateError as error:
                        told.append(str(error))
                    else:
                        with contextlib.suppress(RecursionError):  # as of any that is so deep
                            repr(made)
                        break
            manager.flush()
        except AutostateError as error:
            told.append(str(error))
    return told


def try_with(path: Path, changes: list[dict[str, Any]]) -> list[str]:
    """Load changes: whatever they are, in bounded time and memory."""
    lines = [codec.dumps(change) for change in changes]
    size = sum(map(len, lines))
    with no_hang(changes):
        tracemalloc.start()
        try:
            told = load(path, lines)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert most < ROOM + 10 * size, f"{most} bytes for {size}: {changes!r:.2000}"
    assert all(told), "an error without a text"
    return told


def root(kind: str = "dict", **change: Any) -> dict[str, Any]:
    """A root."""
    return {"id": 1, "kind": kind, "name": "root", **change}


CORPUS: Final[dict[str, list[dict[str, Any]]]] = {
    "a name of a megabyte": [{"id": 1, "kind": "dict", "name": "n" * 1_000_000}],
    "a class with a name of a megabyte": [
        root(put={"a": {"$object": ["m:" + "n" * 1_000_000, {}]}})
    ],
    "a kind with a name of a megabyte": [root("k" * 1_000_000)],
    "a tag of a megabyte": [root(put={"a": {"$" + "n" * 1_000_000: 1}})],
    "a cut of 10**15 items": [root("list", assign=[1]), {"id": 1, "cut": [[0, 10**15]]}],
    "cuts that overlap": [root("list", assign=[1, 2, 3]), {"id": 1, "cut": [[0, 2], [1, 3]]}],
    "a trim below": [root("list", assign=[1]), {"id": 1, "trim": [-5, 1]}],
    "a trim backwards": [root("list", assign=[1, 2]), {"id": 1, "trim": [2, 0]}],
    "items far beyond the end": [root("list", at=10**15, items=[1])],
    "items far before": [root("list", assign=[1]), {"id": 1, "at": -(10**15), "items": [1]}],
    "first items far away": [root("list", assign=[1], at=2**62)],
    "a deque of 10**15": [root("deque", metadata=10**15, assign=[1])],
    "a deque of less than none": [root("deque", metadata=-1, assign=[1])],
    "a node that holds itself": [root("list", assign=[{"$ref": 1}])],
    "an object that holds itself": [
        root(put={"a": {"$ref": 2}}),
        {"id": 2, "kind": "shared_object", "put": {"value": {"$ref": 2}}},
    ],
    "objects that hold each other": [
        root(put={"a": {"$ref": 2}}),
        {
            "id": 2,
            "kind": "shared_object",
            "put": {"value": {"$object": [CLASSES[0], {"url": {"$ref": 3}}]}},
        },
        {"id": 3, "kind": "shared_object", "put": {"value": {"$tuple": [{"$ref": 2}]}}},
    ],
    "an object without a value": [root(put={"a": {"$ref": 2}}), {"id": 2, "kind": "shared_object"}],
    "an object that is none": [
        root(put={"a": {"$ref": 2}}),
        {"id": 2, "kind": "shared_object", "put": {"value": [{"$ref": 2}]}},
    ],
    "a chain of objects": [
        root(put={"a": {"$ref": 2}}),
        *(
            {
                "id": n,
                "kind": "shared_object",
                "put": {"value": {"$object": [CLASSES[0], {"again": {"$ref": n + 1}}]}},
            }
            for n in range(2, 1_000)
        ),
    ],
    "a chain of lists": [
        root("list", assign=[{"$ref": 2}]),
        *({"id": n, "kind": "list", "assign": [{"$ref": n + 1}]} for n in range(2, 800)),
        {"id": 800, "kind": "list", "assign": []},
    ],
    "a reference to nothing": [root(put={"a": {"$ref": 9}})],
    "a reference to a root of another kind": [
        root(put={"a": {"$ref": 2}}),
        {"id": 2, "kind": "object", "name": "shop", "metadata": {}},
    ],
    "a reference as a key": [root(put=[[{"$ref": 1}, 1]])],
    "a reference as a member": [root("set", put=[{"$ref": 1}])],
    "a list in a set": [root("set", put=[{"$set": [[1]]}])],
    "one name for two": [root(), {"id": 2, "kind": "list", "name": "root", "assign": [1]}],
    "a root without a kind": [{"id": 1, "name": "root"}],
    "a dict with items": [root(items=[1], at=0)],
    "a list with entries": [root("list", put={"a": 1})],
    "a list with entries for all": [root("list", assign={"a": 1})],
    "numbers beyond 64 bits": [root(put={"a": 1}), {"id": 2**64, "kind": "dict", "name": "other"}],
    "a class in place of a name": [root(put={"a": {"$object": [{"$set": []}, {}]}})],
}


@pytest.mark.parametrize("what", CORPUS)
def test_a_known_case_is_a_state_or_an_error(what: str, isolated: Path) -> None:
    """What was thought of, or found."""
    for told in try_with(isolated / "hostile.db", CORPUS[what]):
        assert len(told) < 2_000, "a message that long"


@pytest.mark.campaign(name="hostile")
def test_random_changes_are_a_state_or_an_error(
    isolated: Path, rng: random.Random, tally: Tally
) -> None:
    """Each is tried by itself; some have to be readable, or this would show nothing."""
    hostile = Hostile(rng)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(CASES):
        told = try_with(isolated / "hostile.db", hostile.changes())
        outcomes["refused" if told else "read"] += 1
        tally.found("")
    tally.kinds.update(outcomes)
    assert min(outcomes.values()) >= CASES // 50


@pytest.mark.parametrize("digits", ["9" * 5_000, "9" * 18, "\u0663" * 8])
@pytest.mark.parametrize("kind", ["head", "seg"])
def test_a_name_of_a_record_is_no_way_to_stop_a_program(
    isolated: Path, digits: str, kind: str
) -> None:
    """A number that is too long is no name of ours; one that nobody can get past is an error."""
    with autostate.open("sqlite:///state.db"):
        autostate.PersistedDict("root", n=1)
    store = SqliteStore("state.db")
    store.write({f"autostate-{kind}-{digits}-a-claim": b"{}"})
    store.close()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(autostate.open("sqlite:///state.db"))
            assert autostate.PersistedDict("root") == {"n": 1}
        except AutostateError as error:
            assert "somebody else has changed" in str(error)  # noqa: PT017 - or there is none

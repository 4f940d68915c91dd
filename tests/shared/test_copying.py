"""Copies of shared states: whole, on every store, whatever processes do meanwhile."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import SharedCounter, SharedSet
from autostate.errors import CorruptStateError, StoreError
from autostate.runtime.place import SHARED_KEYS
from autostate.settings import Settings
from autostate.shared import patience
from autostate.shared.copying import fill
from autostate.shared.kinds import COUNTER
from autostate.shared.replica import Replica, Shared
from autostate.shared.shelf import CLOSED, Shelf
from autostate.shared.stored import read_shared
from autostate.stores import open_store
from autostate.stores.wrapping import StoreAround


class Process:
    """A process that counts."""

    def __init__(self, url: str) -> None:
        self.replica = Replica(open_store(url))
        self.made: list[Shared] = []
        self.replica.open("hits", COUNTER, self._make)

    def _make(self, shared: Shared) -> Counter[str]:
        self.made.append(shared)
        return Counter()

    def count(self, number: int) -> None:
        """Count, and publish."""
        self.made[0].write({"page": number})
        self.replica.flush(10.0)


def counted(url: str) -> dict[str, object]:
    """What is stored."""
    found = read_shared(url, Settings.for_store(url))
    assert found is not None
    return found.objects["hits"].content


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the place of a process that has folded and is gone soon."""
    monkeypatch.setattr(patience, "PATIENCE", 0.05)


@pytest.fixture
def processes() -> Iterator[Callable[[str], Process]]:
    """Makes processes."""
    with contextlib.ExitStack() as made:

        def make(url: str) -> Process:
            process = Process(url)
            made.callback(process.replica.close)
            return process

        yield make


URLS = ("memory:{}", "sqlite:///{}.db", "apify:{}", "file://{here}?state={}")


@pytest.mark.parametrize("to", URLS)
@pytest.mark.parametrize("from_", URLS)
def test_from_any_store_to_any_other(
    isolated: Path, processes: Callable[[str], Process], from_: str, to: str
) -> None:
    """Base, lineages and marks, beside a state that the same store holds; and it goes on there."""
    name = isolated.name.replace("_", "-")
    source, target = from_.format(f"{name}-1", here=isolated), to.format(f"{name}-2", here=isolated)
    with autostate.open(source):
        autostate.PersistedDict("progress", page=7)
    one, other = processes(source), processes(source)
    one.count(1)
    other.count(10)
    assert one.replica._fold(10.0)
    other.count(100)
    one.replica.shelf.close_generation(2)  # by a process that was killed before it could go on
    third = processes(source)
    third.count(1000)  # in the generation after that
    made = autostate.copy(source, target)
    third.count(100_000)
    assert counted(made) == {"page": 1111}
    with contextlib.closing(open_store(made)) as store:
        assert Shelf(store).read().generation == 3
    with autostate.open(made, readonly=True):
        assert autostate.PersistedDict("progress") == {"page": 7}
    processes(made).count(10_000)
    assert counted(made) == {"page": 11_111}
    assert counted(source) == {"page": 101_111}
    with pytest.raises((StoreError, FileExistsError), match=r"holds a|is there already"):
        autostate.copy(source, target)


class Hooked(StoreAround):
    """A store at whose steps something happens."""

    def __init__(self, url: str, at: Callable[[str, str], None]) -> None:
        super().__init__(open_store(url))
        self._at = at

    def list(self, prefix: str, *, timeout: float | None = None) -> list[str]:
        """List the keys."""
        self._at("list", prefix)
        return self.store.list(prefix, timeout=timeout)

    def write(self, puts: Any, deletes: Any = (), **how: Any) -> None:
        """Write records."""
        self._at("write", " ".join(puts))
        self.store.write(puts, deletes, **how)


def test_a_fold_in_the_midst_of_a_copy(processes: Callable[[str], Process]) -> None:
    """What was folded meanwhile counts once, and nothing is missing."""
    one, other = processes("memory:midst"), processes("memory:midst")
    one.count(1)
    assert one.replica._fold(10.0)
    one.count(10)

    def at(_what: str, prefix: str) -> None:
        if prefix == SHARED_KEYS + CLOSED and one.made:  # the lineages are read, the base is not
            one.made.clear()
            other.count(100)
            assert other.replica._fold(10.0)
            other.count(1000)

    with (
        contextlib.closing(Hooked("memory:midst", at)) as source,
        contextlib.closing(open_store("memory:midst-copy")) as target,
    ):
        fill(source, target, 10.0)
    assert not one.made
    assert counted("memory:midst-copy") == {"page": 111}


@pytest.mark.parametrize("at_write", range(6))
def test_a_copy_that_fails_leaves_nothing(
    processes: Callable[[str], Process], at_write: int
) -> None:
    """In a store that writes several records as a whole, the last write makes it a state."""
    one, other = processes("memory:fails"), processes("memory:fails")
    one.count(1)
    assert one.replica._fold(10.0)
    other.count(10)
    expected = counted("memory:fails")
    left = at_write

    def at(what: str, _keys: str) -> None:
        nonlocal left
        left -= what == "write"
        if left < 0:
            raise StoreError("the disk is full")

    target = f"memory:fails-{at_write}"
    failed = False
    with (
        contextlib.closing(open_store("memory:fails")) as source,
        contextlib.closing(Hooked(target, at)) as made,
    ):
        try:
            fill(source, made, 10.0)
        except StoreError:
            failed = True
    found = read_shared(target, Settings.for_store(target))
    if failed:
        assert found is None or not found.objects
    else:
        assert counted(target) == expected
    assert failed == (at_write < 2)


def test_a_store_that_returns_something_else_is_found_out(
    processes: Callable[[str], Process],
) -> None:
    """The copy is read again, and compared."""
    processes("memory:lies").count(1)

    class Lying(Hooked):
        def read_many(self, keys: Any, *, timeout: float | None = None) -> Iterator[bytes | None]:
            return (b"{}" for _ in keys)

    with (
        contextlib.closing(open_store("memory:lies")) as source,
        contextlib.closing(Lying("memory:lies-copy", lambda *_: None)) as target,
        pytest.raises(CorruptStateError, match="does not return what was written"),
    ):
        fill(source, target, 10.0)


def test_what_this_process_has_not_published_is_copied(isolated: Path) -> None:
    """As unsaved changes of its own state are."""
    autostate.configure("memory:", shared=isolated / "s.db", debounce=1000)
    hits = SharedCounter[str]("hits")
    SharedSet[int]("seen").add(1)
    hits["page"] += 1
    assert counted(autostate.copy(isolated / "s.db", "memory:unpublished")) == {"page": 1}
    assert counted(autostate.backup("copy.db", isolated / "s.db")) == {"page": 1}

"""State objects that are created in a block: what the block writes to them is its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import autostate
from autostate import PersistedDeque, PersistedDict, PersistedList
from autostate.runtime.api import current_manager
from autostate.stores import memory
from autostate.tracking import defaults
from autostate.tracking.unit import Unit
from tests.atomic.blocks import WAIT

Write = tuple[Callable[[], Any], Callable[[], Any]]


@autostate.persisted(name="shop {number}")
@dataclass
class Shop:
    """One of many."""

    number: int
    visits: int = 0
    pages: list[int] = field(default_factory=list)
    tags: dict[str, set[int]] = field(default_factory=lambda: {"seen": set()})


@autostate.persisted(name="slotted {number}")
@dataclass(slots=True)
class Slotted:
    """Without a dict."""

    number: int
    pages: list[int] = field(default_factory=list)


@autostate.persisted
@dataclass
class Totals:
    """The only one."""

    counts: dict[str, int] = field(default_factory=dict)


def a_dict() -> PersistedDict[str, Any]:
    """Make a dict with nested defaults."""
    return PersistedDict("dict", {"pages": [], "deep": {"seen": {0}}, "n": 0}, more=[[]])


def write_to_dict() -> None:
    """Write at each depth, each time in the same statement as the creation."""
    a_dict()["pages"].append(1)
    a_dict()["deep"]["seen"].add(1)
    a_dict()["more"][0].append(1)
    a_dict()["n"] += 1


def a_list() -> PersistedList[Any]:
    """Make a list of containers."""
    return PersistedList("list", [[], {"pages": []}])


def write_to_list() -> None:
    """Write to its items."""
    a_list()[0].append(1)
    a_list()[1]["pages"].append(1)
    a_list().append([1])


def a_deque() -> PersistedDeque[Any]:
    """Make a bounded deque."""
    return PersistedDeque("deque", [[]], maxlen=3)


def write_to_shop() -> None:
    """Write to containers in fields, and to a field."""
    Shop(1).pages.append(1)
    Shop(1).tags["seen"].add(1)
    Shop(1).visits += 1


def write_to_totals() -> None:
    """Write to a container in a field, in place."""
    counts = Totals().counts
    counts[f"page {len(counts)}"] = 1


CREATED: dict[str, Write] = {
    "dict": (a_dict, write_to_dict),
    "list": (a_list, write_to_list),
    "deque": (a_deque, lambda: a_deque()[0].append(1)),
    "many objects": (lambda: Shop(1), write_to_shop),
    "slots": (lambda: Slotted(1), lambda: Slotted(1).pages.append(1)),
    "one object": (Totals, write_to_totals),
}


@pytest.fixture(params=CREATED)
def created(request: pytest.FixtureRequest) -> Write:
    """Give how to create a state object, and how to write to it."""
    return CREATED[request.param]


@pytest.fixture(params=["new", "rehydrated"])
def former(request: pytest.FixtureRequest, created: Write, url: str) -> Iterator[str]:
    """Open a store, where a former process may have stored the object; show what it holds."""
    create, write = created
    shown = stored(url, create)
    if request.param == "rehydrated":
        with autostate.open(url):
            write()
            shown = repr(create())
    with autostate.open(url, debounce=3600, max_delay=3600):
        yield shown


def stored(url: str, create: Callable[[], Any]) -> str:
    """Show what a process that begins now would find."""
    memory._shared["copy"] = memory._Records()
    memory._shared["copy"].update(memory._shared.get(url.removeprefix("memory:"), {}))
    with autostate.open("memory:copy"):
        return repr(create())


def test_what_is_written_to_it_is_undone(created: Write, former: str) -> None:
    """Nested containers included; it is as it was when it was created."""
    create, write = created
    with contextlib.suppress(ZeroDivisionError), autostate.atomic():
        write()
        raise ZeroDivisionError
    assert repr(create()) == former


def test_a_save_in_the_midst_has_nothing_of_that(created: Write, former: str, url: str) -> None:
    """A process that is killed then leaves the object as it was when it was created."""
    create, write = created

    async def main() -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with Unit(current_manager()._tracker):
                write()
                inside.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        await autostate.durable(WAIT)
        assert stored(url, create) == former != repr(create())
        over.set()
        await task
        await autostate.durable(WAIT)
        assert stored(url, create) == repr(create()) != former

    asyncio.run(main())


def test_what_other_blocks_write_to_it_stays(state: Any) -> None:
    """To the same containers, which one of them has made."""

    async def work(number: int) -> None:
        with autostate.atomic():
            await asyncio.sleep(0)
            a_dict()["pages"].append(number)
            Shop(1).pages.append(number)
            await asyncio.sleep(0)
            if number % 2 == 0:
                raise ValueError(number)

    async def main() -> None:
        await asyncio.gather(*map(work, range(6)), return_exceptions=True)

    asyncio.run(main())
    assert (a_dict()["pages"], Shop(1).pages) == ([1, 3, 5], [1, 3, 5])
    assert isinstance(state, PersistedDict)


def test_a_container_in_the_defaults_that_the_program_holds_is_not_copied(
    state: Any, url: str
) -> None:
    """What the program writes to it is in the state, as in a plain dict."""
    held: list[int] = []
    made = PersistedDict("held", {"deep": {"one": held}}, two=held)
    more = PersistedList("more", [held, [held]])
    held.append(1)
    assert made == {"deep": {"one": [1]}, "two": [1]}
    assert more == [[1], [[1]]]
    autostate.flush()
    held.append(2)
    autostate.flush()
    assert stored(url, lambda: PersistedList("more")) == "[[1, 2], [[1, 2]]]"
    assert isinstance(state, PersistedDict)


def test_what_a_variable_of_the_caller_holds_is_told_from_what_nobody_holds(
    state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where both have as many references, as in Python 3.14."""
    alone, is_ambiguous = defaults._by_keyword()
    monkeypatch.setattr(defaults, "_by_keyword", lambda: (alone + (not is_ambiguous), True))
    held: list[int] = []
    made = PersistedDict("made", held=held, free=[])
    assert made["held"] is held
    assert type(made["free"]) is not list
    assert isinstance(state, PersistedDict)


def test_a_save_waits_where_a_block_has_given_a_held_container(url: str) -> None:
    """What the block writes to it cannot be left out; alone, it is undone."""

    async def main() -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            held: list[int] = []
            with autostate.atomic():
                PersistedDict("held", one=held)
                held.append(1)
                inside.set()
                await over.wait()
                raise ZeroDivisionError

        task = asyncio.create_task(work())
        await inside.wait()
        with pytest.raises(autostate.FlushError, match="atomic"):
            await autostate.durable(0.5)
        over.set()
        with pytest.raises(ZeroDivisionError):
            await task
        await autostate.durable(WAIT)

    with autostate.open(url, debounce=3600, max_delay=3600):
        asyncio.run(main())
    assert stored(url, lambda: PersistedDict("held")) == "{'one': []}"

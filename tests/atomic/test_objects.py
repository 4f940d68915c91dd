"""Fields of objects of `@persisted` classes in blocks: like entries of a dict."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any

import pytest

import autostate
from autostate import PersistedDict
from autostate.runtime.api import current_manager
from tests.atomic.blocks import WAIT, Actor
from tests.atomic.test_saves import stored

NAMES = ("a", "b", "c")


def _plain_class() -> Any:
    @autostate.persisted(name="counts")
    class Counts:
        def __init__(self) -> None:
            self.a = self.b = self.c = 0

    return Counts


def _slotted_class() -> Any:
    @autostate.persisted(name="counts")
    @dataclasses.dataclass(slots=True)
    class Counts:
        a: Any = 0
        b: Any = 0
        c: Any = 0

    return Counts


def _class_with_setattr() -> Any:
    @autostate.persisted(name="counts")
    class Counts:
        def __init__(self) -> None:
            self.a = self.b = self.c = 0

        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

    return Counts


@pytest.fixture(params=[_plain_class, _slotted_class, _class_with_setattr])
def make(request: pytest.FixtureRequest, state: Any) -> Any:
    """Makes an object, in the store of `state`."""
    return request.param()


def _fields(obj: Any) -> dict[str, Any]:
    return {name: getattr(obj, name) for name in NAMES if hasattr(obj, name)}


def test_a_block_that_fails_takes_back_its_own_writes(make: Any) -> None:
    """Numbers as differences, and fields that it has made or deleted."""
    counts, bad, good = make(), Actor(), Actor()
    bad.begin()
    good.begin()
    bad.do(setattr, counts, "a", 5)
    bad.do(delattr, counts, "b")
    good.do(setattr, counts, "a", counts.a + 1)
    good.do(setattr, counts, "c", 7)
    bad.end(fails=True)
    good.end()
    assert _fields(counts) == {"a": 1, "b": 0, "c": 7}


def test_a_save_leaves_out_what_open_blocks_have_written(make: Any, url: str) -> None:
    """Also to objects alone, and has what others wrote to the same fields."""
    counts = make()

    async def main() -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with autostate.atomic():
                counts.a += 1
                counts.b = "half"
                inside.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        counts.a += 10
        await autostate.durable(WAIT)
        assert _fields(counts) == {"a": 11, "b": "half", "c": 0}
        assert _stored(url, make) == {"a": 10, "b": 0, "c": 0}
        over.set()
        await task
        await autostate.durable(WAIT)
        assert _stored(url, make) == {"a": 11, "b": "half", "c": 0}

    asyncio.run(main())


def _stored(url: str, make: Any) -> dict[str, Any]:
    """What a process that begins now would find in the object."""
    stored(url)  # makes the copy
    with autostate.open("memory:copy"):
        return _fields(make())


def test_objects_and_dicts_are_undone_alike(make: Any, state: Any, rng: random.Random) -> None:
    """Random blocks of several tasks write the same to both."""
    counts = make()
    state.clear()
    state.update(_fields(counts))
    actors = [Actor() for _ in range(4)]

    def write() -> None:
        name, what = rng.choice(NAMES), rng.randrange(5)
        if what < 3 and isinstance(state.get(name), int):
            state[name] += what + 1
            setattr(counts, name, getattr(counts, name) + what + 1)
        elif what == 3 and name in state:
            del state[name]
            delattr(counts, name)
        else:
            state[name] = value = rng.choice([rng.randrange(100), "text"])
            setattr(counts, name, value)

    for _ in range(300):
        actor = rng.choice(actors)
        step = rng.random()
        if step < 0.2 and actor.depth < 2:
            actor.begin()
        elif step < 0.35 and actor.depth:
            actor.end(fails=rng.random() < 0.5)
        elif step < 0.4:
            capture = current_manager()._tracker().cut()
            assert capture is not None
            list(capture.encode())
            capture.failed()
        else:
            actor.do(write)
        assert _fields(counts) == state
    for actor in actors:
        while actor.depth:
            actor.end(fails=True)
    assert _fields(counts) == state


def test_writes_past_the_class_are_undone_with_the_block(state: Any) -> None:
    """Nobody knows who has written them; what others have assigned stays."""
    counts, mine, other = _plain_class()(), Actor(), Actor()
    mine.begin()
    mine.do(vars(counts).update, {"a": 5, "new": 1})
    other.do(setattr, counts, "b", 2)
    mine.end(fails=True)
    assert vars(counts) == {"a": 0, "b": 2, "c": 0}
    assert state == {"n": 0}


def test_a_class_is_as_it_was_after_the_first_save_without_blocks(state: Any) -> None:
    """Assignments cost nothing more then."""
    cls = _plain_class()
    counts = cls()
    with autostate.atomic():
        assert "__setattr__" in vars(cls)
        counts.a = 1
        assert state["n"] == 0
    autostate.flush()
    assert "__setattr__" not in vars(cls)


def test_saves_come_while_blocks_overlap(state: Any, url: str) -> None:
    """A block that is open, and holds what it has put into the state, does not hinder them."""
    counts = _plain_class()()

    async def main() -> None:
        over = asyncio.Event()

        async def work(number: int, begun: asyncio.Event) -> None:
            with autostate.atomic():
                counts.a += 1
                held = {"page": number}
                state[f"page {number}"] = held
                held["more"] = number
                begun.set()
                await over.wait()

        tasks = []
        for number in range(3):
            begun = asyncio.Event()
            tasks.append(asyncio.create_task(work(number, begun)))
            await begun.wait()
            state["n"] += 1
            await autostate.durable(WAIT)
            assert stored(url) == {"n": number + 1}
        over.set()
        await asyncio.gather(*tasks)
        await autostate.durable(WAIT)
        assert stored(url)["page 2"] == {"page": 2, "more": 2}

    asyncio.run(main())


def test_a_container_in_a_field_is_undone_too(state: Any) -> None:
    """By its own entries."""
    counts, bad, good = _plain_class()(), Actor(), Actor()
    counts.a = {"seen": 0}
    autostate.flush()
    bad.begin()
    good.begin()

    def add(name: str) -> None:
        counts.a["seen"] += 1
        counts.a[name] = True

    bad.do(add, "bad")
    good.do(add, "good")
    bad.end(fails=True)
    good.end()
    assert counts.a == {"seen": 1, "good": True}
    assert isinstance(state, PersistedDict)


def test_a_field_that_two_blocks_assign_alike_keeps_the_number(make: Any) -> None:
    """And what one of them adds is a difference, also if it is nothing."""
    obj = make()
    mine, others = Actor(), Actor()
    for actor in (mine, others):
        actor.begin()
        actor.do(setattr, obj, "a", 1234.5)
    mine.do(_add, obj, 5)
    others.do(_add, obj, 0)
    mine.end(fails=True)
    assert _fields(obj) == {"a": 1234.5, "b": 0, "c": 0}
    others.end(fails=True)
    assert _fields(obj) == {"a": 0, "b": 0, "c": 0}


def _add(obj: Any, number: int) -> None:
    obj.b += number

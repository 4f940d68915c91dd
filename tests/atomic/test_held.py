"""Containers that a variable of the program holds, or that lie at two places."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

import autostate
from autostate import PersistedDict
from autostate.tracking.unit import Unit
from tests.atomic.blocks import WAIT, Actor
from tests.conformance.state_kit import Program

TASKS = 40
AT_ONCE = 20


@autostate.persisted
@dataclass
class Stats:
    """With containers in its fields."""

    counts: dict[str, int] = field(default_factory=dict)
    pages: list[int] = field(default_factory=list)


def test_tasks_write_to_what_variables_hold(state: Any, rng: random.Random) -> None:
    """Each failed attempt is undone alone, also where others have written to the same entries."""
    made: Any = PersistedDict("made", {"counts": {}, "deep": {"pages": []}}, seen=set())
    counts, pages, seen = made["counts"], made["deep"]["pages"], made["seen"]
    stats = Stats()
    in_field, listed = stats.counts, stats.pages
    tracker = made._node_.tracker

    async def attempt(number: int, *, fails: bool) -> None:
        with Unit(lambda: tracker):
            for each in (counts, in_field):
                each["n"] = each.get("n", 0) + 1
                await asyncio.sleep(0)
            for items in (pages, listed):
                items.append(number)
                await asyncio.sleep(0)
            seen.add(number)
            await asyncio.sleep(0)
            if fails:
                raise ValueError(number)

    async def work(number: int, room: asyncio.Semaphore) -> None:
        async with room:
            for _ in range(rng.randrange(3)):
                with pytest.raises(ValueError, match=str(number)):
                    await attempt(number, fails=True)
            await attempt(number, fails=False)

    async def main() -> None:
        room = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(work(number, room) for number in range(TASKS)))
        await autostate.durable(WAIT)

    asyncio.run(main())
    assert counts == in_field == {"n": TASKS}
    assert sorted(pages) == sorted(listed) == sorted(seen) == [*range(TASKS)]
    assert made["counts"] is counts
    assert isinstance(state, PersistedDict)


def test_what_others_may_have_written_to_a_plain_container_is_not_taken_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told once, with the place and the way out."""
    program = Program()
    held: dict[str, int] = {"n": 0}
    program.root("state").update(counts=held)
    program.flush()
    good, bad = (Actor(program.tracker.atomic) for _ in range(2))
    for _ in range(2):
        good.begin()
        bad.begin()
        good.do(held.update, {"good": 1})
        bad.do(held.update, {"n": 1})
        good.end()
        bad.end(fails=True)
        assert held == {"n": 1, "good": 1}
        held["good"] = 0
    [record] = [record for record in caplog.records if "not undone" in record.message]
    assert 'state["counts"]' in record.message


def test_blocks_inside_and_around_are_no_others() -> None:
    """A plain container is put back by a block that was open alone, with those inside it."""
    program = Program()
    held: list[int] = []
    program.root("state").update(pages=held)
    program.flush()
    task = Actor(program.tracker.atomic)
    task.begin()
    held.append(1)
    task.begin()
    held.append(2)
    task.end(fails=True)
    assert held == [1]
    task.end(fails=True)
    assert held == []


def test_a_container_that_nobody_holds_any_more_is_converted_while_blocks_overlap() -> None:
    """Blocks keep a copy of its content, and let go of it at each save."""
    program = Program()
    state = program.root("state")
    one: list[int] = []
    state.update(one=one, two=one, three=[])
    held = state["three"]
    actors = [Actor(program.tracker.atomic) for _ in range(2)]
    actors[0].begin()
    del one, held
    actors[1].begin()
    actors[0].end()
    actors[0].begin()
    program.flush()
    assert type(state["one"]) is not list
    assert type(state["three"]) is not list
    for actor in actors:
        actor.do(state["two"].append, 1)
        actor.do(state["three"].append, 1)
    actors[0].end(fails=True)
    actors[1].end()
    assert state == {"one": [1], "two": [1], "three": [1]}
    assert state["one"] is state["two"]


def test_what_lies_at_two_places_is_undone_by_entry() -> None:
    """Also where nothing was saved since it was put there."""
    program = Program()
    state = program.root("state")
    state["one"] = {"n": 0, "pages": []}
    state["two"] = state["one"]
    good, bad = (Actor(program.tracker.atomic) for _ in range(2))
    for actor in (good, bad):
        actor.begin()

    def write() -> None:
        state["one"]["n"] += 1
        state["two"]["pages"].append(1)

    bad.do(write)
    good.do(write)
    program.flush()
    stored = program.restart().root("state")
    assert stored == {"one": {"n": 0, "pages": []}, "two": {"n": 0, "pages": []}}
    bad.end(fails=True)
    good.end()
    assert state["one"] is state["two"]
    assert state["one"] == {"n": 1, "pages": [1]}

"""Units of work: blocks that the library makes around the work of the program."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict
from autostate.runtime.api import current_manager
from autostate.tracking.unit import Unit


@pytest.fixture
def counts() -> Any:
    """A counter."""
    return PersistedCounter("counts")


@autostate.persisted
class _Thing:
    n: int = 0


def _unit() -> Unit:
    return Unit(current_manager()._tracker)


def test_what_is_written_before_the_beginning_does_not_belong_to_it(counts: Any) -> None:
    """It is entered first, so that its context is known, and begins later."""
    unit = _unit()
    unit.enter()
    counts["before"] += 1
    contextvars.copy_context().run(unit.begin)  # as in a task of its own
    counts["inside"] += 1
    unit.end(kept=False)
    counts["after"] += 1
    unit.leave()
    assert counts == {"before": 1, "after": 1}


def test_it_ends_in_another_context(counts: Any) -> None:
    """What other contexts have written stays."""
    context = contextvars.copy_context()
    unit = _unit()

    def work() -> None:
        unit.enter()
        unit.begin()
        counts["n"] += 1

    context.run(work)
    counts["n"] += 10
    unit.end(kept=False)
    assert counts["n"] == 10


def test_a_unit_beside_another_one_is_not_inside_it(counts: Any) -> None:
    """A task that was started in the first one goes on there."""
    first, second = _unit(), _unit()
    first.enter()
    first.begin()
    task = contextvars.copy_context()
    second.enter(beside=first)
    second.begin()
    counts["second"] += 1
    task.run(counts.update, ["first"])
    second.end(kept=True)
    first.end(kept=False)
    second.leave()
    assert counts == {"second": 1}


def test_it_takes_over_what_another_one_has_written(counts: Any) -> None:
    """And decides what becomes of it; the other one may begin again."""
    first, second = _unit(), _unit()
    first.enter()
    first.begin()
    second.enter(beside=first)
    second.begin()
    counts["second"] += 1
    first.take_over(second)
    second.begin()
    counts["again"] += 1
    first.end(kept=False)
    second.end(kept=True)
    second.leave()
    assert counts == {"again": 1}


def test_an_attempt_is_undone_alone(counts: Any) -> None:
    """What the unit around it has written stays."""
    with _unit():
        counts["unit"] += 1
        with pytest.raises(ValueError, match="fails"), _unit():
            counts["unit"] += 1
            counts["attempt"] += 1
            raise ValueError("this attempt fails")
        counts["unit"] += 1
    assert counts == {"unit": 2}


def test_a_closed_unit_refuses_what_its_contexts_write_later(counts: Any) -> None:
    """A thread that an attempt has left behind would write for nobody."""
    unit = _unit()
    unit.enter()
    unit.begin()
    counts["attempt"] += 1
    left_behind = contextvars.copy_context()
    unit.close()
    with pytest.raises(autostate.LateWriteError):
        left_behind.run(counts.update, ["late"])
    counts["after"] += 1
    assert counts == {"after": 1}


def test_a_closed_unit_refuses_writes_in_every_way(counts: Any) -> None:
    """Also to containers that were written since, in blocks, and to objects."""
    many = autostate.PersistedDict("many", dict.fromkeys(range(300)))
    queue = autostate.PersistedDeque("queue", [1])
    thing = _Thing()
    autostate.flush()
    unit = _unit()
    unit.enter()
    unit.begin()
    left_behind = contextvars.copy_context()
    unit.close()
    many[0] = queue[0] = thing.n = counts["n"] = 1

    def in_block() -> None:
        with autostate.atomic():
            counts["n"] = 2

    for write in (
        lambda: many.__setitem__(0, 2),
        lambda: many.pop(1),
        lambda: queue.append(2),
        lambda: setattr(thing, "n", 2),
        in_block,
    ):
        with pytest.raises(autostate.LateWriteError):
            left_behind.run(write)
    assert (many[0], len(many), [*queue], thing.n, counts["n"]) == (1, 300, [1], 1, 1)


def test_a_block_inside_a_closed_unit_is_undone(counts: Any) -> None:
    """A thread may be in the middle of one."""
    unit = _unit()
    unit.enter()
    unit.begin()
    block = autostate.atomic()
    thread = contextvars.copy_context()
    thread.run(block.__enter__)
    thread.run(counts.update, ["inside"])
    unit.close()
    assert counts == {}
    thread.run(block.__exit__, None, None, None)
    assert counts == {}


def test_a_closed_unit_is_forgotten_with_its_contexts(counts: Any) -> None:
    """From then on writes are as fast as before."""
    tracker = current_manager()._tracker()
    unit = _unit()
    unit.enter()
    unit.begin()
    counts["n"] += 1
    left_behind = contextvars.copy_context()
    unit.close()
    assert tracker.savepoints
    del left_behind
    gc.collect()
    autostate.flush()
    assert not tracker.savepoints


def test_a_dropped_unit_is_undone(counts: Any) -> None:
    """Nobody can end it any more."""
    unit = _unit()
    unit.enter()
    unit.begin()
    counts["n"] += 1
    unit.leave()
    del unit
    gc.collect()
    autostate.flush()
    assert counts == {}


def test_saving_inside_saves_everything_else(counts: Any) -> None:
    """Unlike in a block of the program, where it raises."""

    async def main() -> None:
        with _unit():
            counts["n"] += 1
            await autostate.durable()
            autostate.flush()
            with autostate.atomic(), pytest.raises(RuntimeError, match="inside"):
                autostate.flush()

    asyncio.run(main())
    assert counts == {"n": 1}


def test_saving_inside_is_refused_if_it_would_wait_for_the_end(counts: Any) -> None:
    """No cut can leave out what a thread has written: see `Blocks.step_back`."""

    async def main() -> None:
        with _unit():
            await asyncio.to_thread(counts.update, ["thread"])
            with pytest.raises(RuntimeError, match="several threads"):
                await autostate.durable()
            with pytest.raises(RuntimeError, match="several threads"):
                await asyncio.to_thread(autostate.flush)
        await autostate.durable()

    asyncio.run(main())
    assert counts == {"thread": 1}


def test_units_that_are_open_at_the_end_are_not_called_blocks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The program has written none: a crawler that is left has requests in work."""
    caplog.set_level("INFO", "autostate")
    with autostate.open("memory:units"):
        counts = PersistedCounter[str]("counts")
        units = [_unit(), _unit()]
        for unit in units:
            unit.enter()
            unit.begin()
            counts["n"] += 1
            unit.leave()
        counts["rest"] += 1
    assert "atomic()" not in caplog.text
    assert "leaves out what 2 pieces of work that are unfinished" in caplog.text
    with autostate.open("memory:units"):
        assert PersistedCounter[str]("counts") == {"rest": 1}


def test_a_container_that_was_put_between_two_units_holds_up_no_cut(counts: Any) -> None:
    """The copies that the second unit has of it are no reason to take it for somebody's."""
    tracker = current_manager()._tracker()
    state: PersistedDict[str, Any] = PersistedDict("state")
    units = [_unit(), _unit()]
    contexts = [contextvars.copy_context() for _ in units]

    def begin(unit: Unit) -> None:
        unit.enter()
        unit.begin()
        state[str(unit)] = 1

    contexts[0].run(begin, units[0])
    held = {"page": 1}
    contextvars.Context().run(state.__setitem__, "place", held)
    contexts[1].run(begin, units[1])
    assert tracker.cut() is None  # somebody may write to it
    del held
    cut = tracker.cut()
    assert cut is not None
    cut.failed()
    for unit in units:
        unit.end(kept=False)
    assert state == {"place": {"page": 1}}


def test_a_container_that_an_ended_unit_has_seen_holds_up_no_cut(counts: Any) -> None:
    """Its context lives on, and with it what the unit remembers."""
    tracker = current_manager()._tracker()
    state: PersistedDict[str, Any] = PersistedDict("state")
    context = contextvars.Context()
    with _unit():
        counts["n"] += 1
        held = {"page": 1}
        contextvars.Context().run(state.__setitem__, "place", held)
        unit = _unit()
        context.run(unit.__enter__)
        unit.end(kept=True)
        del held
        cut = tracker.cut()
        assert cut is not None
        cut.failed()


def test_a_container_that_somebody_held_at_a_cut_holds_up_no_later_one(counts: Any) -> None:
    """The first cut has noted its content, and with it the container."""
    tracker = current_manager()._tracker()
    state: PersistedDict[str, Any] = PersistedDict("state")
    with _unit():
        counts["n"] += 1
        held = {"page": 1}
        contextvars.Context().run(state.__setitem__, "place", held)
        for _ in range(3):
            cut = tracker.cut()
            assert cut is not None
            cut.encode(None)
            cut.saved()
            held = {}


async def test_a_save_that_comes_to_wait_for_the_unit_of_its_caller_raises(counts: Any) -> None:
    """A thread has written in the unit while the save waited for something else."""
    other, context = _unit(), contextvars.Context()
    context.run(other.enter)
    context.run(other.begin)
    await asyncio.to_thread(context.run, counts.update, {"other": 1})  # no save leaves it out
    with _unit():
        counts["n"] += 1
        saving = asyncio.create_task(autostate.durable(20))
        await asyncio.sleep(0)
        await asyncio.to_thread(counts.update, {"thread": 1})
        with pytest.raises(RuntimeError, match="several threads"):
            await saving
    other.end(kept=False)

"""Units of work: blocks that the library makes around the work of the program."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter
from autostate.runtime.api import current_manager
from autostate.tracking.unit import Unit


@pytest.fixture
def counts() -> Any:
    """A counter."""
    return PersistedCounter("counts")


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

"""What is pending, and which of it is durable."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable

import pytest

import autostate
from autostate import StateManager
from autostate.delivery.ledger import Ledger
from autostate.tracking.unit import Unit
from tests.delivery.conftest import Bench, Shelf

Make = Callable[[Shelf], Bench]


@pytest.fixture
def ledger(manager: StateManager) -> Ledger:
    """A ledger that tells nobody."""
    return Ledger(manager, "box", lambda: None)


def positions(ledger: Ledger) -> list[int]:
    """Those of the items that may be delivered."""
    return [position for position, _ in ledger.ready(None)]


def test_an_item_is_ready_after_the_save_that_has_it(manager: StateManager, ledger: Ledger) -> None:
    """Not before, and in the order in which items were put."""
    ledger.put(["a", "b"])
    assert (positions(ledger), len(ledger)) == ([], 2)
    manager.flush()
    ledger.put(["c"])
    assert ledger.ready(None) == [(0, "a"), (1, "b")]
    manager.flush()
    assert ledger.ready(None) == [(0, "a"), (1, "b"), (2, "c")]


def test_items_of_a_block_that_raises_are_gone(manager: StateManager, ledger: Ledger) -> None:
    """They are not counted, never ready, and their positions are used for no other item."""
    with pytest.raises(ZeroDivisionError), manager.atomic():
        ledger.put(["bad"])
        assert len(ledger) == 1
        raise ZeroDivisionError
    ledger.put(["good"])
    manager.flush()
    assert ledger.ready(None) == [(1, "good")]
    assert not ledger.waits


def test_the_id_outlives_a_block_that_raises(manager: StateManager) -> None:
    """An outbox may be used first in such a block; the next process goes on with the same id."""
    with contextlib.suppress(ZeroDivisionError), manager.atomic():
        ledger = Ledger(manager, "box", lambda: None)
        raise ZeroDivisionError
    ledger.put(["item"])
    manager.flush()
    assert ledger.state["id"] == ledger.id


async def test_an_item_of_an_open_block_waits_for_the_block(
    manager: StateManager, ledger: Ledger
) -> None:
    """A save that comes meanwhile does not have it, and what came after it is ready first."""
    inside, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        with manager.atomic():
            ledger.put(["in a block"])
            inside.set()
            await over.wait()

    task = asyncio.create_task(work())
    await inside.wait()
    ledger.put(["outside"])
    await manager.durable()
    assert (positions(ledger), ledger.waits) == ([1], True)
    over.set()
    await task
    await manager.durable()
    assert (positions(ledger), ledger.waits) == ([1, 0], False)


def test_the_size_of_a_batch_is_limited(manager: StateManager, ledger: Ledger) -> None:
    """By the number of items and of characters; one item alone may have more."""
    ledger.put(["x" * 100] * 5)
    manager.flush()
    assert len(ledger.ready(3)) == 3
    assert len(ledger.ready(5, 250)) == 2
    assert len(ledger.ready(5, 10)) == 1
    assert len(ledger.ready(None)) == 5


def test_items_that_have_arrived_out_of_order_are_left_out(
    manager: StateManager, ledger: Ledger
) -> None:
    """Those between them stay, and no list is searched for each of them."""
    ledger.put(map(str, range(1_000)))
    manager.flush()
    ledger.delivered(range(1, 1_000), place=None)
    assert positions(ledger) == [0]
    ledger.delivered([0], place=None)
    assert (positions(ledger), len(ledger)) == ([], 0)
    assert len(ledger._ready) == 0


def test_a_position_is_never_used_twice(manager: StateManager) -> None:
    """Not even when all items were delivered before the process ended."""
    first = Ledger(manager, "box", lambda: None)
    first.put(["a", "b"])
    manager.flush()
    first.delivered([0, 1], place=None)
    manager.flush()
    again = Ledger(manager, "box", lambda: None)
    assert again.put(["c"]) == [2]
    assert again.id == first.id


def test_items_set_aside_are_no_longer_pending(manager: StateManager, ledger: Ledger) -> None:
    """They are kept with their errors, until they are put again, or deleted."""
    ledger.put(["a", "b"])
    manager.flush()
    ledger.set_aside(0, "ValueError: " + "no" * 1_000)
    assert (positions(ledger), len(ledger)) == ([1], 1)
    [(position, text, error)] = ledger.aside()
    assert (position, text, len(error)) == (0, "a", 1_000)
    ledger.retry_aside()
    assert (ledger.aside(), len(ledger)) == ([], 2)
    manager.flush()
    assert ledger.ready(None) == [(1, "b"), (2, "a")]
    ledger.set_aside(1, "no")
    ledger.forget_aside()
    assert (ledger.aside(), len(ledger)) == ([], 1)


def test_what_a_block_does_to_items_set_aside_is_undone(
    manager: StateManager, ledger: Ledger
) -> None:
    """The numbers of pending items and of those set aside are right again."""
    ledger.put(["a", "b"])
    manager.flush()
    ledger.set_aside(0, "no")
    with pytest.raises(ZeroDivisionError), manager.atomic():
        ledger.retry_aside()
        assert len(ledger) == 2
        raise ZeroDivisionError
    assert (len(ledger.aside()), len(ledger)) == (1, 1)


def test_the_owner_is_checked_only_while_something_waits(
    manager: StateManager, ledger: Ledger
) -> None:
    """Where each check is a request, a save without items costs none."""
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((ledger.waits, ledger.has_place))

    look()
    ledger.put(["a"])
    look()
    manager.flush()
    look()
    ledger.set_place(7)
    look()
    manager.flush()
    look()
    assert seen == [(False, False), (True, False), (False, False), (True, False), (False, True)]


def test_the_thread_is_told_of_what_is_durable(bench: Make) -> None:
    """A save with nothing for it wakes nobody."""
    made = bench(Shelf())
    made.manager.flush()
    assert made.told == 0
    made.put("a")
    assert made.told == 1


def test_a_deleted_outbox_takes_nothing(manager: StateManager) -> None:
    """What would not be kept is an error; and the ledger follows no cuts any more."""
    box: autostate.Outbox[str] = autostate.outbox("box", print)
    autostate.delete(box)
    with pytest.raises(RuntimeError, match="was deleted"):
        box.put("lost")
    assert manager._tracker().followers == []
    assert autostate.outbox("box", len)._ledger.id != box._ledger.id


def test_a_place_that_the_destination_holds_holds_up_no_save(
    manager: StateManager, ledger: Ledger
) -> None:
    """Units of work that overlap a delivery may all wait for a save."""
    units = [Unit(manager._tracker) for _ in range(2)]
    contexts = [contextvars.copy_context() for _ in units]

    def begin(unit: Unit) -> None:
        unit.enter()
        unit.begin()
        ledger.put(["item"])

    contexts[0].run(begin, units[0])
    ledger.set_place(place := {"page": 1})
    contexts[1].run(begin, units[1])
    cut = manager._tracker().cut()
    assert cut is not None
    cut.failed()
    assert ledger.place is place
    for unit in units:
        unit.end(kept=False)

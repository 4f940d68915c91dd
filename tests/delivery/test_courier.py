"""Attempts, pauses, questions what has arrived, and items that are set aside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import autostate
from autostate.delivery.destination import (
    Destination,
    FunctionDestination,
    OutboxItem,
    RetryLaterError,
)
from autostate.errors import DeliveryRefusedError
from tests.delivery.conftest import Bench, FindingShelf, Shelf, nothing

Make = Callable[[Destination[Any]], Bench]


def refusing(*values: Any, error: type[BaseException] = ValueError) -> Callable[..., None]:
    """Raise an error for a batch that has one of some values."""

    def check(items: Sequence[OutboxItem[Any]]) -> None:
        if any(item.value in values for item in items):
            raise error("not this one")

    return check


def test_items_are_delivered_in_order(bench: Make) -> None:
    """In batches, and none again."""
    shelf = Shelf(batch=4)
    made = bench(shelf)
    made.put(*range(10))
    made.run()
    assert shelf.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (len(made.ledger), made.courier.delivered) == (0, 10)


def test_one_bad_item_among_a_thousand_is_found_in_a_few_attempts(bench: Make) -> None:
    """The items before it do not wait for it, and few are sent twice."""
    shelf = Shelf()
    shelf.fails = refusing(555)
    made = bench(shelf)
    made.put(*range(1_000))
    made.run()
    assert sorted(shelf.values) == [value for value in range(1_000) if value != 555]
    assert [item[0] for item in made.ledger.aside()] == [555]
    assert len(shelf.calls) < 40


@pytest.mark.parametrize("failures", [1, 2])
def test_a_short_failure_is_one_line_of_the_log(
    bench: Make, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Which says that it is tried again; that it has gone well is told after more failures."""
    shelf = Shelf()
    left = [ConnectionResetError("a")] * failures

    def check(_: object) -> None:
        if left:
            raise left.pop()

    shelf.fails = check
    made = bench(shelf)
    made.put("a")
    made.run()
    assert shelf.values == ["a"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (1 if failures == 1 else 3)
    assert sum("2 times in a row" in each for each in told) == failures - 1


def test_an_error_of_the_connection_counts_against_no_item(bench: Make) -> None:
    """However often it comes."""
    shelf = Shelf()
    shelf.fails = refusing("a", error=ConnectionResetError)
    made = bench(shelf)
    made.put("a")
    made.run()
    assert len(shelf.calls) > 10
    assert made.ledger.aside() == []
    shelf.fails = nothing
    made.run()
    assert shelf.values == ["a"]


def test_a_destination_that_takes_nothing_gets_few_items_set_aside(bench: Make) -> None:
    """And as soon as it takes one, bad items are set aside again."""
    shelf = Shelf()
    shelf.fails = refusing(*range(50))
    made = bench(shelf)
    made.put(*range(20))
    made.run(5_000)
    assert len(made.ledger.aside()) == 3
    made.put("good")
    made.run(50_000)
    assert shelf.values == ["good"]
    assert len(made.ledger.aside()) > 3


def test_pauses_double_and_a_success_ends_them(bench: Make, failures: list[dict[str, Any]]) -> None:
    """Up to a minute; the hub tells each failure."""
    shelf = Shelf()
    shelf.fails = refusing("a", error=TimeoutError)
    made = bench(shelf)
    made.put("a")
    pauses = []
    for _ in range(12):
        assert made.step() == 0.0
        pause = made.step()
        assert pause is not None
        pauses.append(pause)
        made.clock.now += pause
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses[:7]))
    assert max(pauses) <= 60
    assert [told["failures"] for told in failures] == [*range(1, 13)]
    assert isinstance(made.courier.error, TimeoutError)


def test_a_pause_that_the_destination_asks_for_is_kept(bench: Make) -> None:
    """Not even a hurry shortens it."""
    shelf = Shelf()

    def later(items: Sequence[OutboxItem[Any]]) -> None:
        raise RetryLaterError("busy", seconds=100)

    shelf.fails = later
    made = bench(shelf)
    made.put("a")
    made.step()
    made.courier._stopped = True  # no thread
    made.courier.hurry(10)
    assert made.step() == 100
    made.courier._stopped = False
    shelf.fails = nothing
    made.clock.now += 100
    made.run()
    assert (shelf.values, made.ledger.aside()) == (["a"], [])


def test_while_somebody_waits_pauses_are_short(bench: Make) -> None:
    """Two seconds at most, however often it has failed."""
    shelf = Shelf()
    shelf.fails = refusing("a", error=ConnectionResetError)
    made = bench(shelf)
    made.put("a")
    made.run(300)
    made.courier._stopped = True  # no thread
    made.courier.hurry(100)
    made.courier._stopped = False
    assert made.step() == 0.0
    pause = made.step()
    assert pause is not None
    assert pause <= 2


def test_the_child_of_a_fork_waits_for_no_lock_of_its_parent(bench: Make) -> None:
    """And does not know what the parent has sent since."""
    made = bench(FindingShelf())
    made.step()
    made.put("a", "b")
    made.courier._unsure = [0]
    made.courier._starting.acquire()
    made.courier._process = 0  # as it is after a fork
    made.manager._tracker().set_gate(lambda: None)
    made.courier.wake()
    assert made.courier._unsure == [0, 1]
    made.courier.stop(10)


def test_after_an_error_the_destination_is_asked_first(bench: Make) -> None:
    """When what may be under way has settled; what has arrived is not sent again."""
    shelf = FindingShelf(batch=2)
    shelf.loses = refusing("b", error=ConnectionResetError)
    made = bench(shelf)
    made.put("a", "b", "c")
    while made.step() == 0.0:  # the place is durable first
        made.manager.flush()
    made.manager.flush()
    assert made.step() == 0.0
    made.clock.now += 1
    pause = made.step()
    assert pause == pytest.approx(4.0)
    shelf.loses = nothing
    made.run()
    assert shelf.values == ["a", "b", "c"]
    assert shelf.asked == [[0, 1]]


def test_all_that_a_former_process_has_left_is_asked_about_at_once(bench: Make) -> None:
    """Also if it is more than one batch: the place that is returned lies behind all of it."""
    shelf = FindingShelf()
    shelf.batch_bytes = 10
    made = bench(shelf)
    made.step()
    made.put(*range(5_000))
    shelf.values += range(4_000)  # killed before the deliveries were recorded
    again = bench(shelf)
    again.run()
    assert shelf.values == [*range(5_000)]
    assert len(shelf.asked) == 1


def test_equal_values_before_the_first_place_are_others(bench: Make) -> None:
    """Nothing is sent before a place is durable, so nothing is looked for in front of it."""
    shelf = FindingShelf()
    shelf.values = ["a"]
    made = bench(shelf)
    made.put("a")  # killed now: durable without a place
    again = bench(shelf)
    assert again.step() is None
    again.manager.flush()
    again.run()
    assert (shelf.values, shelf.asked) == (["a", "a"], [])


def test_another_destination_begins_at_a_place_of_its_own(bench: Make) -> None:
    """The former one has none, so nothing is looked for in front of the new one's first place."""
    shelf = FindingShelf()
    made = bench(shelf)
    made.step()
    made.manager.flush()
    plain = bench(FunctionDestination(list))
    plain.put("a")
    plain.run()  # its place is None
    shelf.values = ["b"]
    plain.put("b")
    again = bench(shelf)
    assert again.step() is None
    again.manager.flush()
    again.run()
    assert (shelf.values, shelf.asked) == (["b", "b"], [])


def test_an_item_that_has_arrived_after_all_is_not_set_aside(bench: Make) -> None:
    """Its last attempt may have been the one that arrived."""
    shelf = FindingShelf()
    calls: list[int] = []

    def lost(items: Sequence[OutboxItem[Any]]) -> None:
        calls.append(1)
        if len(calls) < 3:
            shelf.values.remove("a")
        raise ValueError("who knows")

    shelf.loses = lost
    made = bench(shelf)
    made.put("a")
    made.step()
    made.manager.flush()
    made.run()
    assert (shelf.values, made.ledger.aside(), len(made.ledger)) == (["a"], [], 0)


def test_an_item_that_cannot_be_decoded_does_not_stop_the_others(bench: Make) -> None:
    """It is set aside like one that cannot be delivered."""
    shelf = Shelf()
    made = bench(shelf)
    made.put("a")
    made.ledger.put(['{"$nobody":"knows"}'])
    made.put("b")
    made.run()
    assert shelf.values == ["a", "b"]
    assert [item[0] for item in made.ledger.aside()] == [1]


def test_a_destination_that_refuses_stops_the_outbox(
    bench: Make, failures: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Loudly, and keeps the items."""
    shelf = Shelf()
    shelf.fails = refusing("a", error=DeliveryRefusedError)
    made = bench(shelf)
    made.put("a")
    made.step()
    assert made.courier.refused
    assert len(made.ledger) == 1
    assert "has stopped" in caplog.text
    assert len(failures) == 1


def test_sys_exit_in_a_function_is_a_failure_like_others(bench: Make) -> None:
    """It ends neither the thread nor the outbox."""
    shelf = Shelf()
    shelf.fails = refusing("a", error=SystemExit)
    made = bench(shelf)
    made.put("a")
    assert made.step() == 0.0
    assert made.courier._failures == 1


def test_a_process_that_is_not_the_owner_delivers_nothing(bench: Make) -> None:
    """The owner does."""
    shelf = Shelf()
    made = bench(shelf)
    made.put("a")
    made.manager._tracker().set_gate(lambda: None)
    assert made.step() is None
    assert shelf.calls == []
    made.manager._tracker().set_gate(None)
    made.run()
    assert shelf.values == ["a"]


async def test_a_coroutine_function_runs_in_the_loop_of_the_outbox() -> None:
    """In the thread of the loop, which goes on meanwhile."""
    seen: list[tuple[Any, int]] = []

    async def send(items: Sequence[OutboxItem[Any]]) -> None:
        await asyncio.sleep(0)
        seen.append((items[0].value, threading.get_ident()))

    async with autostate.open("memory:"):
        box = autostate.outbox("box", send)
        box.put("a")
        assert await box.drain_async()
    assert seen == [("a", threading.get_ident())]


def test_a_coroutine_function_outlives_the_loop_of_the_outbox() -> None:
    """The thread has a loop of its own for the rest, and a cancelled delivery is tried again."""
    begun = threading.Event()
    got: list[Any] = []

    async def send(items: Sequence[OutboxItem[Any]]) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(3600)
        got.extend(item.value for item in items)

    async def main() -> autostate.Outbox[Any]:
        box = autostate.outbox("box", send, attempts=1)
        box.put("a")
        autostate.flush()
        await asyncio.to_thread(begun.wait, 10)
        return box

    with autostate.open("memory:"):
        box = asyncio.run(main())
        assert box.drain()
        assert box.aside() == []
    assert got == ["a"]


def test_a_function_that_was_defined_again_replaces_the_former_one() -> None:
    """As in a notebook; another function is another destination."""

    def other(items: Any) -> None: ...

    first = FunctionDestination[Any](refusing)
    again = FunctionDestination[Any](bench_like())
    assert first.is_same(again)
    assert first.function is again.function
    assert not first.is_same(FunctionDestination[Any](other))
    assert not FunctionDestination[Any](lambda items: items).is_same(
        FunctionDestination[Any](lambda items: items[0])
    )


def bench_like() -> Any:
    """Another function of the name `refusing`."""

    def made(items: Any) -> None: ...

    made.__qualname__ = "refusing"
    return made

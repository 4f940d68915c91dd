"""Destinations that do what they should not, and what they may do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import autostate
from autostate import OutboxItem, PersistedCounter, PersistedDict
from autostate.delivery.destination import Destination
from tests import programs
from tests.delivery.conftest import Bench, Shelf

Make = Callable[[Destination[Any]], Bench]
Items = Sequence[OutboxItem[Any]]


@pytest.mark.parametrize(
    "kind", [BaseException, KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
def test_no_exception_ends_the_thread(bench: Make, kind: type[BaseException]) -> None:
    """An item for which one is raised again and again is set aside, like for any other error."""
    shelf = Shelf(batch=1)

    def check(items: Items) -> None:
        if items[0].value == "bad":
            raise kind

    shelf.fails = check
    made = bench(shelf)
    made.put("bad", "good")
    made.run()
    assert shelf.values == ["good"]
    assert [error.partition(":")[0] for _, _, error in made.ledger.aside()] == [kind.__name__]


def test_a_destination_that_hangs_holds_up_its_outbox_alone() -> None:
    """`drain` and `put` come back in time, other outboxes deliver, and the process ends."""
    done = programs.run(
        """
import threading
import autostate
def hang(items):
    print("hangs", flush=True)
    threading.Event().wait()
with autostate.open("sqlite:///state.db", flush_timeout=2):
    good = []
    box, other = autostate.outbox("box", hang, capacity=1), autostate.outbox("other", good.extend)
    box.put("a")
    other.put("b")
    assert not box.drain(0.2)
    assert other.drain(30)
    try:
        box.put("c", timeout=0.2)
    except autostate.OutboxFullError:
        print("full", flush=True)
with autostate.open("sqlite:///state.db", readonly=True):
    print(len(autostate.outbox("box", hang)), "kept")
"""
    )
    assert (done.returncode, done.stdout.split("\n")) == (0, ["hangs", "full", "1 kept", ""])


def test_a_call_that_does_not_return_is_told_once(
    bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """When the next items become durable, or somebody waits."""
    shelf = Shelf()
    made = bench(shelf)

    def hang(_items: Items) -> None:
        made.courier._stopped = True  # no thread
        for seconds in (100, 300, 300):
            made.clock.now += seconds
            made.courier.wake()
        made.courier._stopped = False

    shelf.fails = hang
    made.put("a")
    made.step()
    assert caplog.text.count("has waited for its destination for 400 s") == 1
    assert caplog.text.count("has waited") == 1


def test_what_delivers_may_save_and_write_state_and_put() -> None:
    """Its writes are saved with the next save; what it puts is delivered after that."""
    got: list[Any] = []

    def send(items: Items) -> None:
        for item in items:
            got.append(item.value)
            sent["n"] += 1
            if item.value < 3:
                box.put(item.value + 1)
        autostate.flush()

    with autostate.open("sqlite:///state.db"):
        sent = PersistedCounter[str]("sent")
        box: autostate.Outbox[int] = autostate.outbox("box", send)
        box.put(1)
        assert box.drain()
        box.put(3)  # delivered at the end
    assert got == [1, 2, 3, 3]
    with autostate.open("sqlite:///state.db"):
        assert PersistedCounter[str]("sent") == {"n": 4}


async def test_what_delivers_may_await_a_save_and_objects_of_its_loop() -> None:
    """A coroutine function runs in the loop of the program, with what belongs to that."""
    lock, seen = asyncio.Lock(), PersistedDict[str, int]("seen")
    box: autostate.Outbox[int]

    async def send(items: Items) -> None:
        async with lock:
            seen.update({item.id: item.value for item in items})
            await autostate.durable()
            if len(seen) == 1:
                await box.put_async(2)

    box = autostate.outbox("box", send)
    box.put(1)
    async with lock:
        assert not await box.drain_async(0.05)  # the program has the lock
    assert await box.drain_async()
    assert sorted(seen.values()) == [1, 2]


def test_objects_of_a_loop_that_is_gone_are_an_error_that_loses_nothing() -> None:
    """A session of the program is of no use after its loop; the next process delivers."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def send(items: Items) -> None:
            if asyncio.get_running_loop() is not loop:
                raise RuntimeError("attached to a different loop")
            got.extend(item.value for item in items)

        autostate.outbox("box", send).put("a")

    def take(items: Items) -> None:
        got.extend(item.value for item in items)

    got: list[str] = []
    with autostate.open("sqlite:///state.db", flush_timeout=0.3):
        asyncio.run(main())
    assert got == []
    with autostate.open("sqlite:///state.db"):
        assert autostate.outbox("box", take).drain()
    assert got == ["a"]


def test_a_block_in_what_delivers_is_its_own() -> None:
    """It is undone if the delivery raises, and the program's blocks are no part of it."""
    failed = threading.Event()

    def send(items: Items) -> None:
        with autostate.atomic():
            sent["n"] += 1
            if not failed.is_set():
                failed.set()
                raise OSError("not now")

    with autostate.open("memory:"):
        sent = PersistedCounter[str]("sent")
        box: autostate.Outbox[str] = autostate.outbox("box", send)
        box.put("a")
        with autostate.atomic():
            sent["others"] += 1
        assert box.drain()
        assert sent == {"n": 1, "others": 1}

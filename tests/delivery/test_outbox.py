"""Outboxes as programs use them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import OutboxFullError, OutboxItem, PersistedDict, StateTypeError, hub
from autostate.delivery.courier import Courier
from autostate.delivery.destination import Destination
from autostate.runtime.api import current_manager
from autostate.saving.policy import FlushPolicy
from autostate.tracking.unit import Unit
from tests import programs
from tests.campaign import sampled
from tests.counting import called
from tests.delivery.conftest import FindingShelf, Shelf, nothing
from tests.interrupting import Interrupt


@pytest.fixture(autouse=True)
def state() -> Iterator[None]:
    """A state that is saved when something asks for it."""
    with autostate.open("memory:", debounce=60, max_delay=60):
        yield


class Gate(Shelf):
    """A destination that takes nothing before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.called = threading.Event()

    def deliver(self, items: Sequence[OutboxItem[Any]], place: Any) -> Any:
        self.called.set()
        self.opened.wait(10)
        return super().deliver(items, place)


def refuse(items: Any) -> None:
    """Take nothing."""
    raise autostate.DeliveryRefusedError("no")


def no_good(items: Sequence[OutboxItem[Any]]) -> None:
    """Take no batch that holds a bad item."""
    if any(item.value.startswith("bad") for item in items):
        raise ValueError("no good")


def test_items_are_delivered_after_they_are_durable() -> None:
    """With ids that tell them apart, and as they were when they were put."""
    got: list[OutboxItem[Any]] = []
    box = autostate.outbox("box", got.extend)
    value = {"n": 1}
    box.put(value, {"n": 2})
    value["n"] = 3
    assert got == []
    assert box.drain()
    assert [item.value for item in got] == [{"n": 1}, {"n": 2}]
    assert [item.position for item in got] == [0, 1]
    assert len({item.id for item in got}) == 2
    assert (len(box), box.delivered, bool(box)) == (0, 2, True)
    assert autostate.info(box).kind == "outbox"


def test_the_last_items_are_delivered_at_the_end() -> None:
    """Before the last save, though the manager takes nothing new any more."""
    got: list[OutboxItem[Any]] = []
    with autostate.open("memory:"):
        autostate.outbox("box", got.extend).put("last")
    assert [item.value for item in got] == ["last"]


def test_an_end_does_not_wait_for_a_destination_that_refuses() -> None:
    """What it has not taken stays in the state, and the next process tries again."""
    with autostate.open("sqlite:///state.db"):
        box = autostate.outbox("box", refuse)
        box.put("a")
        with pytest.raises(autostate.DeliveryRefusedError, match="no"):
            box.drain()
    got: list[OutboxItem[Any]] = []
    with autostate.open("sqlite:///state.db"):
        assert autostate.outbox("box", got.extend).drain()
    assert [item.value for item in got] == ["a"]


def test_the_same_name_is_the_same_outbox() -> None:
    """With another destination it is an error, and so is the name of something else."""
    got: list[Any] = []
    box = autostate.outbox("box", got.extend)
    assert autostate.outbox("box", got.extend) is box
    with pytest.raises(ValueError, match="delivers to something else"):
        autostate.outbox("box", got.append)
    with pytest.raises(StateTypeError):
        PersistedDict("box")
    PersistedDict("pages")
    with pytest.raises(StateTypeError):
        autostate.outbox("pages", got.extend)
    with pytest.raises(TypeError):
        autostate.outbox("other", "https://example.com")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        autostate.outbox("other", Shelf(), batch=1)


def test_a_function_gets_batches_of_the_size_that_is_asked_for() -> None:
    """So a function that sends one item at a time repeats one at a time."""
    sizes: list[int] = []
    box: autostate.Outbox[int] = autostate.outbox(
        "box", lambda items: sizes.append(len(items)), batch=2
    )
    box.put(1, 2, 3, 4, 5)
    assert box.drain()
    assert sizes == [2, 2, 1]


def test_a_full_outbox_makes_the_caller_wait() -> None:
    """Until items are delivered; the save that this needs comes at once."""
    shelf = Gate()
    box = autostate.outbox("box", shelf, capacity=2)
    box.put("a", "b")
    waiting = threading.Thread(target=box.put, args=("c",))
    waiting.start()
    assert shelf.called.wait(10)
    assert len(box) == 2
    shelf.opened.set()
    waiting.join(10)
    assert box.drain()
    assert shelf.values == ["a", "b", "c"]


def test_a_full_outbox_is_an_error_when_it_gets_no_room_in_time() -> None:
    """It names the reason; nothing was added."""
    shelf = Gate()
    box = autostate.outbox("box", shelf, capacity=2)
    box.put("a", "b")
    with pytest.raises(OutboxFullError, match="room for 2"):
        box.put("c", timeout=0.01)
    assert len(box) == 2
    shelf.opened.set()
    assert box.drain()


def test_a_block_waits_for_what_is_saved_and_not_for_its_own_end() -> None:
    """It may put any number of items; many blocks may not."""
    shelf = Gate()
    box = autostate.outbox("box", shelf, capacity=2)
    with autostate.atomic():
        for number in range(6):
            box.put(number)
    with pytest.raises(OutboxFullError):
        for number in range(6, 100_000):  # the first of them may be in the save of the others
            with autostate.atomic():
                box.put(number, timeout=0.01)
    waiting = threading.Thread(target=put_in_a_block, args=(box, "last"))
    waiting.start()
    assert shelf.called.wait(10)
    shelf.opened.set()
    waiting.join(10)
    assert box.drain()
    assert shelf.values[:6] == [*range(6)]
    assert shelf.values[-1] == "last"


def put_in_a_block(box: Any, value: str) -> None:
    """Put an item as a part of a block."""
    with autostate.atomic():
        box.put(value)


def test_bytes_are_bounded_as_items_are() -> None:
    """Those of the encoded values, in UTF-8; items of blocks that were undone do not count."""
    shelf = Gate()
    box = autostate.outbox("box", shelf, capacity_bytes=1_000)
    with contextlib.suppress(ZeroDivisionError), autostate.atomic():
        box.put("a block does not wait for itself" * 100)
        raise ZeroDivisionError
    box.put("x" * 400, "é" * 200)
    assert box.pending_bytes == 804
    with pytest.raises(
        OutboxFullError, match=r"2 items of 804 bytes .* room for .* of 1,000 bytes"
    ):
        box.put("x" * 400, timeout=0.01)
    box.put("x" * 100, timeout=0.01)
    assert len(box) == 3
    shelf.opened.set()
    assert box.drain()
    assert box.pending_bytes == 0
    box.put("x" * 2_000)  # alone it may have more
    with pytest.raises(OutboxFullError):
        shelf.opened.clear()
        box.put("a", timeout=0.01)
    shelf.opened.set()


def test_the_cost_of_put_does_not_grow_with_what_is_pending() -> None:
    """Counted in calls of functions."""
    box = autostate.outbox("box", refuse)

    def calls() -> int:
        return len(called(lambda: box.put("x")))

    box.put("x")
    few = calls()
    box.put(*map(str, range(5_000)))
    assert calls() == few


def test_bytes_that_a_former_process_has_left_count() -> None:
    """They are in the state, and so in memory."""
    with autostate.open("sqlite:///state.db"):
        box = autostate.outbox("box", refuse)
        box.put("x" * 400, "y")
        with pytest.raises(autostate.DeliveryRefusedError):
            box.drain()
    with autostate.open("sqlite:///state.db", readonly=True):
        assert autostate.outbox("box", refuse).pending_bytes == 405


async def test_who_works_on_one_request_does_not_wait_for_its_end() -> None:
    """It may put more than there is room for, when all others are delivered."""
    shelf = Shelf()
    box = autostate.outbox("box", shelf, capacity=3)
    box.put("of another", "and another")
    with Unit(current_manager()._tracker):
        for number in range(6):  # of which the fourth waits for a save
            await box.put_async(number)
        assert len(box) == 6
        with pytest.raises(OutboxFullError):
            box.put("in a loop it raises when it would wait")
    with pytest.raises(OutboxFullError):
        await box.put_async("outside of a unit", timeout=0)
    assert await box.drain_async()
    assert shelf.values == ["of another", "and another", *range(6)]


def test_items_that_were_set_aside_take_room() -> None:
    """An outbox whose items are all bad does not grow for ever: it says where they are."""
    shelf = Shelf()
    shelf.fails = no_good
    box = autostate.outbox("box", shelf, capacity=3, attempts=1)
    for number in range(3):
        box.put(f"bad {number}", f"good {number}")
        assert box.drain()
    assert len(box.aside()) == 3
    with pytest.raises(OutboxFullError, match=r"besides 3 that are set aside \(21 bytes"):
        box.put("more", timeout=60)  # no wait brings room
    box.forget_aside()
    box.put("good")
    assert box.drain()
    assert shelf.values == ["good 0", "good 1", "good 2", "good"]


async def test_a_full_outbox_does_not_block_an_event_loop() -> None:
    """`put` raises there, `put_async` waits."""
    shelf = Gate()
    box = autostate.outbox("box", shelf, capacity=1)
    box.put("a")
    with pytest.raises(OutboxFullError, match="put_async"):
        box.put("b")
    task = asyncio.create_task(box.put_async("b"))
    await asyncio.to_thread(shelf.called.wait, 10)
    shelf.opened.set()
    await task
    with pytest.raises(OutboxFullError):
        shelf.opened.clear()
        await box.put_async("c", timeout=0.01)
    shelf.opened.set()
    assert await box.drain_async()
    assert shelf.values == ["a", "b"]


async def test_drain_does_not_block_the_loop_that_it_needs() -> None:
    """It says which call does not."""

    async def send(items: Any) -> None: ...

    box = autostate.outbox("box", send)
    box.put("a")
    with pytest.raises(RuntimeError, match="drain_async"):
        box.drain()
    assert await box.drain_async()


async def test_an_end_does_not_wait_for_the_loop_that_it_blocks() -> None:
    """What is under way there cannot go on before the end is over; the next process has it."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def send(items: Any) -> None:
        begun.set()
        await over.wait()

    with autostate.open("memory:", flush_timeout=3_600):
        box = autostate.outbox("box", send)
        box.put("a")
        autostate.flush()
        await begun.wait()
    over.set()
    await asyncio.to_thread(box._courier.stop, 10)


def test_what_delivers_cannot_wait_for_itself() -> None:
    """An error instead of waiting for ever."""
    errors: list[BaseException] = []

    def send(items: Any) -> None:
        for call in (lambda: box.put("b", "c"), box.drain):
            try:
                call()
            except (RuntimeError, OutboxFullError) as error:
                errors.append(error)

    box = autostate.outbox("box", send, capacity=1)
    box.put("a")
    assert box.drain()
    assert [type(error) for error in errors] == [OutboxFullError, RuntimeError]


def test_items_of_a_block_that_raises_are_not_delivered() -> None:
    """They go with the rest of the block."""
    got: list[OutboxItem[Any]] = []
    box, pages = autostate.outbox("box", got.extend), PersistedDict("pages")
    with contextlib.suppress(ZeroDivisionError), autostate.atomic():
        pages["n"] = 1
        box.put("bad")
        raise ZeroDivisionError
    with autostate.atomic():
        pages["m"] = 1
        box.put("good")
    assert box.drain()
    assert ([item.value for item in got], pages) == (["good"], {"m": 1})


def test_items_set_aside_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When what was wrong with them, or with the destination, is mended."""
    monkeypatch.setattr("autostate.delivery.courier.FIRST_PAUSE", 0.001)
    shelf = Shelf()
    wrong = [True]

    def check(items: Sequence[OutboxItem[Any]]) -> None:
        if wrong and items[0].value == "a":
            raise ValueError("bad")

    shelf.fails = check
    box = autostate.outbox("box", shelf, attempts=2)
    box.put("a", "b")
    assert box.drain()
    [kept] = box.aside()
    assert (kept.item.value, kept.error) == ("a", "ValueError: bad")
    wrong.clear()
    box.retry_aside()
    assert box.drain()
    assert (shelf.values, box.aside()) == (["b", "a"], [])


def test_what_cannot_be_kept_is_refused_when_it_is_put() -> None:
    """Nothing of the call is added."""
    box = autostate.outbox("box", Gate())
    with pytest.raises(autostate.UnsupportedTypeError, match="the item"):
        box.put("fine", object())
    assert len(box) == 0


async def test_a_value_that_cannot_be_saved_holds_up_no_delivery() -> None:
    """All else is durable: it is delivered, and the error is raised afterwards."""
    shelf = Shelf()
    with autostate.open("memory:", debounce=60, max_delay=60):
        box = autostate.outbox("box", shelf)
        PersistedDict[str, Any]("other")["bad"] = object()
        for value, drain in (("a", box.drain), ("b", box.drain_async)):
            box.put(value)
            with pytest.raises(autostate.UnsupportedTypeError, match="bad"):
                drained = drain()
                assert not isinstance(drained, bool)
                await drained
            assert (shelf.values[-1], len(box)) == (value, 0)
        box.put("c")
        with pytest.raises(autostate.UnsupportedTypeError, match="bad"):
            current_manager().close()
    assert shelf.values == ["a", "b", "c"]


def test_a_drain_does_not_wait_long_for_a_save_of_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the first item will arrive becomes known after the save of `drain`."""
    is_hurried = threading.Event()

    class Placed(FindingShelf):
        def begin(self) -> int:
            is_hurried.wait(10)
            return super().begin()

    def hurry(courier: Courier[Any], seconds: float) -> None:
        plain(courier, seconds)
        is_hurried.set()

    plain = Courier.hurry
    monkeypatch.setattr(Courier, "hurry", hurry)
    box = autostate.outbox("box", shelf := Placed())
    box.put("a")
    assert box.drain(10)
    assert shelf.values == ["a"]


def test_an_announced_kill_ends_a_pause() -> None:
    """There may be no other process for long."""
    shelf = Gate()

    def fail(items: Any) -> None:
        failed.set()
        raise ConnectionResetError

    failed = threading.Event()
    shelf.fails = fail
    shelf.opened.set()
    box = autostate.outbox("box", shelf)
    box._courier._failures = 10  # the next pause is a minute
    box.put("a")
    autostate.flush()
    assert failed.wait(10)
    while not box._courier._not_before:
        pass
    shelf.fails = nothing
    hub.migrating.send(time_remaining=30)
    assert box._courier.wait_until(lambda: not len(box), 10)


def test_a_destination_is_closed_with_its_outbox() -> None:
    """In the thread that has used it."""
    threads: list[int] = []

    class Closing(Destination[Any]):
        def deliver(self, items: Any, place: Any) -> None:
            threads.append(threading.get_ident())

        def close(self) -> None:
            threads.append(threading.get_ident())

    with autostate.open("memory:"):
        autostate.outbox("box", Closing()).put("a")
    assert len(threads) == 2
    assert len(set(threads)) == 1


def test_what_was_saved_just_now_is_delivered_without_a_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The save itself has told who the owner is."""
    questions: list[FlushPolicy] = []
    monkeypatch.setattr("autostate.delivery.courier.CONFIRMED", 3_600.0)  # however busy this is
    monkeypatch.setattr(FlushPolicy, "check_soon", questions.append)
    box = autostate.outbox("box", Shelf())
    for number in range(5):
        box.put(number)
        assert box.drain()
    assert questions == []


REPLACED = """
import sys
import autostate
from autostate.delivery import Destination, courier
courier.CONFIRMED = 0.0
class Slow(Destination):
    batch = 2
    def deliver(self, items, place):
        print(*[item.value for item in items], flush=True)
        sys.stdin.readline()
manager = autostate.open({url!r}, debounce=0.5, check_interval=0.5)
manager.__enter__()
box = autostate.outbox("box", Slow())
box.put(*range(6))
autostate.flush()
while manager.fenced is None:
    pass
"""
REPLACING = """
import autostate
def send(items):
    print(*[item.value for item in items])
autostate.configure({url!r}, takeover=True)
assert autostate.outbox("box", send).drain()
"""


@pytest.mark.parametrize("url", ["sqlite:///state.db", "apify:shop"])
def test_a_process_that_was_replaced_delivers_no_other_batch(url: str) -> None:
    """One may be under way when another process takes over; the rest is the new owner's."""
    with subprocess.Popen(
        [sys.executable, "-c", REPLACED.format(url=url)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as replaced:
        assert replaced.stdout is not None
        assert replaced.stdin is not None
        assert replaced.stdout.readline() == "0 1\n"
        done = programs.run(REPLACING.format(url=url))
        replaced.stdin.write("\n" * 3)
        replaced.stdin.close()
        assert replaced.stdout.read() == ""
    assert (done.returncode, done.stdout) == (0, "0 1 2 3 4 5\n"), done.stderr


CHILD = """
import os, sys
import autostate
def send(items):
    with open("sent", "a") as file:
        file.write("".join(f"{os.getpid()} {item.value}\\n" for item in items))
autostate.configure("sqlite:///state.db")
box = autostate.outbox("box", send)
"""


def sent() -> list[str]:
    """What was delivered."""
    with Path("sent").open() as file:
        return [line.split()[1] for line in file]


def test_the_child_of_a_fork_delivers_nothing_of_its_parent() -> None:
    """Neither by `drain` nor at its end; it may not put, either."""
    done = programs.run(
        CHILD
        + """
box.put(*range(100))
if not os.fork():
    try:
        box.drain(5)
    except autostate.StateInUseError:
        pass
    else:
        raise SystemExit("it has drained")
    try:
        box.put(1)
    except autostate.StateInUseError:
        sys.exit()
    raise SystemExit("it has put")
status = os.wait()[1]
box.drain()
sys.exit(status)
"""
    )
    assert done.returncode == 0, done.stderr
    assert sent() == [str(number) for number in range(100)]


def test_a_process_that_only_reads_delivers_nothing() -> None:
    """It sees what is pending."""
    with autostate.open("sqlite:///state.db"):
        box = autostate.outbox("box", refuse)
        box.put("a")
    shelf = Shelf()
    with autostate.open("sqlite:///state.db", readonly=True):
        box = autostate.outbox("box", shelf)
        assert len(box) == 1
        with pytest.raises(autostate.ReadOnlyError):
            box.drain()
        with pytest.raises(autostate.ReadOnlyError):
            box.put("b")
    assert shelf.calls == []


@pytest.mark.parametrize("ours", ["/autostate/", "/threading.py"])
def test_ctrl_c_loses_nothing_and_stops_nothing(ours: str, rng: random.Random) -> None:
    """Wherever it strikes in `put` and `drain`: all items that are there are delivered once."""
    shelf = Shelf()
    box = autostate.outbox("box", shelf)
    box.put("first")
    assert box.drain()
    expected, interrupt = ["first"], None
    for number in sampled(rng, range(1, 1_000), 100):
        interrupt = Interrupt(number, ours=ours)
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            box.put(number, -number)
            box.drain()
        expected.append(f"after {number}")
        box.put(expected[-1])
        assert box.drain(10), interrupt.at
        if not interrupt.at:
            break
    assert [value for value in shelf.values if isinstance(value, str)] == expected
    assert len(shelf.values) == len(set(shelf.values))

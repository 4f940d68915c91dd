"""`resume`: what counts as done, where loops go on, and how saving and loops meet."""

from __future__ import annotations

import asyncio
import collections
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, hub, resume
from autostate.testing import LocalPlatform
from tests.loops.loops import URL, leave, numbers, process, take

pytestmark = pytest.mark.usefixtures("forked_actors")


WAIT = 120.0


# -- when an item is done --------------------------------------------------------------------------


def test_a_body_that_was_completed_is_not_run_again() -> None:
    """`continue` included; and at the end there is nothing left."""

    def run() -> list[int]:
        seen = []
        for number in resume("loop", range(5)):
            seen.append(number)
            if number % 2:
                continue
        return seen

    assert process(run) == [0, 1, 2, 3, 4]
    assert process(run) == []


def test_an_item_whose_body_raised_comes_again() -> None:
    """What the body wrote before that stays, unless it was inside `atomic()`."""

    def run(broken: bool) -> None:
        tries, total = PersistedCounter[int]("tries"), PersistedDict("total", n=0)
        for number in resume("loop", range(4)):
            tries[number] += 1
            with autostate.atomic():
                total["n"] += number
                if broken and number == 2:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process(lambda: run(broken=True))
    process(lambda: run(broken=False))
    tries = process(lambda: dict(PersistedCounter[int]("tries")))
    assert tries == {0: 1, 1: 1, 2: 2, 3: 1}
    assert process(lambda: PersistedDict("total")["n"]) == 6


@pytest.mark.parametrize("way", ["break", "return", "closed"])
def test_an_item_comes_again_whose_body_left_the_loop(way: str) -> None:
    """By `break`, by `return`, or because a generator around the loop was closed."""

    def generator() -> Generator[int, None, None]:
        yield from resume("loop", range(9))

    def run() -> int:
        if way == "closed":
            inside = generator()
            number = [next(inside) for _ in range(3)][-1]
            inside.close()
            return number
        number = -1
        for number in resume("loop", range(9)):
            if number == 2 and way == "return":
                return number
            if number == 2:
                break
        return number

    assert process(run) == 2
    assert process(lambda: list(resume("loop", range(9)))) == list(range(2, 9))


async def test_an_item_comes_again_whose_task_was_cancelled() -> None:
    """In the middle of its body, or while it waited for the item after it, which is not done."""

    async def run(stop: int, reached: asyncio.Event) -> None:
        async for number in resume("loop", numbers(9)):
            if number == stop:
                reached.set()
                await asyncio.Event().wait()

    async with autostate.open(URL):
        reached = asyncio.Event()
        task = asyncio.create_task(run(4, reached))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with autostate.open(URL):
        assert [number async for number in resume("loop", numbers(9))] == [4, 5, 6, 7, 8]


def test_wrappers_that_ask_for_one_item_at_a_time_change_nothing() -> None:
    """enumerate() for example; an item is done when the next one is asked for."""

    def run() -> list[tuple[int, str]]:
        return take(enumerate(resume("loop", "abcd")), 2)

    assert process(run) == [(0, "a"), (1, "b")]
    assert process(run) == [(0, "b"), (1, "c")]


def test_done_counts_the_item_in_work_with_what_is_written_beside_it() -> None:
    """Together in one `atomic()`: neither alone, and nothing if the block raises."""

    def run(fail: bool) -> None:
        total = PersistedDict("total", n=0)
        loop = resume("loop", [1, 2, 3])
        for number in loop:
            with autostate.atomic():
                total["n"] += number
                loop.done()
                if fail and number == 2:
                    raise ZeroDivisionError
            if number == 3:
                break  # although its body was left, it counts

    with pytest.raises(ZeroDivisionError):
        process(lambda: run(fail=True))
    assert process(lambda: PersistedDict("total")["n"]) == 1
    process(lambda: run(fail=False))
    assert process(lambda: PersistedDict("total")["n"]) == 6
    assert process(lambda: list(resume("loop", [1, 2, 3]))) == []


def test_done_outside_a_body_is_refused() -> None:
    """There is no item that could be counted."""
    loop = resume("loop", [1])
    with pytest.raises(RuntimeError, match="outside the body of the loop 'loop'"):
        loop.done()
    assert list(loop) == [1]
    with pytest.raises(RuntimeError, match="outside the body"):
        loop.done()


# -- in one process --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [list, iter])
def test_a_loop_that_was_left_goes_on(make: Callable[[list[int]], Iterable[int]]) -> None:
    """With the item that was in work, also over an iterator, which gives each item once."""
    loop = resume("loop", make([1, 2, 3, 4]))
    assert take(loop, 2) == [1, 2]
    assert list(loop) == [2, 3, 4]
    assert list(loop) == []


async def test_an_asynchronous_loop_that_was_left_goes_on() -> None:
    """With the item that was in work."""
    loop = resume("loop", numbers(4))
    async for number in loop:
        if number == 1:
            break
    assert [number async for number in loop] == [1, 2, 3]


def test_a_loop_runs_once_at_a_time() -> None:
    """A second one of that name is refused while the first runs, and is not when it was left."""
    for _ in resume("loop", range(3)):
        with pytest.raises(autostate.ResumeError, match="'loop' is running already"):
            list(resume("loop", range(3)))
        break
    assert list(resume("loop", range(3))) == [0, 1, 2]


def test_an_iterator_that_only_a_traceback_has_kept_has_been_left() -> None:
    """In a notebook a loop that was interrupted could not begin again until a collection."""

    def interrupted() -> None:
        items = iter(resume("loop", range(3)))
        next(items)
        raise KeyboardInterrupt

    kept: list[object] = []
    try:
        interrupted()
    except KeyboardInterrupt as error:
        kept += error, kept
    with pytest.raises(autostate.ResumeError, match="run this cell once more"):
        list(resume("loop", range(3)))
    del kept
    assert list(resume("loop", range(3))) == [0, 1, 2]


def test_a_loop_runs_in_one_thread_at_a_time() -> None:
    """Two threads cannot share a position."""
    errors: list[Exception] = []

    def other() -> None:
        try:
            list(resume("loop", range(3)))
        except autostate.ResumeError as error:
            errors.append(error)

    for _ in resume("loop", range(2)):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(errors) == 2


def test_restart_and_again_begin_with_the_first_item() -> None:
    """`restart` always, `again` only if the loop came to its end the last time."""
    assert leave(lambda: [1, 2, 3], 2, again=True) == [1, 2]
    assert leave(lambda: [1, 2, 3], 9, again=True) == [2, 3]
    assert leave(lambda: [4, 5, 6], 2, again=True) == [4, 5]
    assert leave(lambda: [4, 5, 6], 2) == [5, 6]
    assert leave(lambda: [7, 8], 9, restart=True) == [7, 8]
    process(lambda: autostate.delete("loop"))
    assert leave(lambda: [9], 9) == [9]


def test_again_goes_on_with_what_was_added_when_that_was_interrupted() -> None:
    """A loop that has begun with what is new has not come to its end any more."""
    assert leave(lambda: [1], 9) == [1]
    assert leave(lambda: [1, 2, 3], 2) == [2, 3]
    assert leave(lambda: [1, 2, 3], 9, again=True) == [3]


def test_beginners_mistakes_are_told() -> None:
    """No name, and `for` where only `async for` can go over it."""
    with pytest.raises(TypeError, match="the name of the loop, a str, not list"):
        resume(["a"], "urls")  # type: ignore[call-overload]

    async def pages() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="'loop' goes over an asynchronous iterable: `async for`"):
        list(resume("loop", pages()))  # type: ignore[call-overload]


def test_the_position_is_a_state_object() -> None:
    """Seen by `info`, forgotten by `delete`, and refused where the name is another's."""
    assert take(resume("loop", "abc"), 2) == ["a", "b"]
    assert autostate.info("loop").kind == "loop"
    with pytest.raises(autostate.StateTypeError, match="'loop' is a state object of the kind"):
        PersistedDict("loop", page=1)
    assert take(resume("loop", "abc"), 1) == ["b"]
    PersistedDict("mine", page=1)
    with pytest.raises(autostate.StateTypeError, match="'mine' is a state object of the kind"):
        list(resume("mine", "abc"))
    assert PersistedDict("mine") == {"page": 1}
    PersistedList("list")
    with pytest.raises(autostate.StateTypeError):
        list(resume("list", "abc"))
    with pytest.raises(ValueError, match="name"):
        resume("", "abc")


# -- how saving and loops meet ---------------------------------------------------------------------


def test_flush_in_a_body_does_not_wait_for_its_end() -> None:
    """What the body has written is durable when `flush` returns."""
    with autostate.open(URL, debounce=3600, max_delay=3600):
        seen = PersistedList[int]("seen")
        for number in resume("loop", range(2)):
            seen.append(number)
            autostate.flush(timeout=3600)
            with autostate.open(URL):
                assert PersistedList("seen") == seen


async def test_durable_in_a_body_does_not_wait_for_its_end() -> None:
    """Nor does what runs in another thread for it."""
    async with autostate.open(URL, debounce=3600, max_delay=3600):
        seen = PersistedList[int]("seen")
        async for number in resume("loop", numbers(2)):
            seen.append(number)
            await autostate.durable(timeout=3600)
            seen.append(number)
            await asyncio.to_thread(autostate.flush, 3600)
        assert seen == [0, 0, 1, 1]


def test_a_long_body_is_saved_half_way() -> None:
    """When it takes longer than `max_delay`; the item comes again then."""
    flushed = threading.Event()

    @hub.flushed.connect
    def note(sender: object, **details: Any) -> None:
        flushed.set()

    with autostate.open(URL, debounce=0.0, max_delay=0.05):
        seen = PersistedList[int]("seen")
        autostate.flush()
        for number in resume("loop", range(2)):
            flushed.clear()
            seen.append(number)
            assert flushed.wait(WAIT)


def test_a_loop_without_a_store_goes_on() -> None:
    """When its store is closed, or its position deleted, under it."""
    seen = []
    with autostate.open("memory:"):
        items = iter(resume("loop", range(4)))
        seen.append(next(items))
    seen += list(items)
    for number in resume("other", range(4)):
        seen.append(number)
        if number == 1:
            autostate.delete("other")
    assert seen == [0, 1, 2, 3] * 2


def test_one_entry_is_written_for_many_items() -> None:
    """However many items were done since the last save."""
    with autostate.open(URL, debounce=3600, max_delay=3600) as manager:
        loop = iter(resume("loop", range(10_000)))
        next(loop)
        for count in (1, 10, 5_000):
            manager.flush()
            before = manager.statistics().entries
            collections.deque(itertools.islice(loop, count), maxlen=0)
            manager.flush()
            changes = manager.statistics().entries - before
            assert changes == 1


ACTOR = """
import asyncio
import autostate

@autostate.actor
async def main(seen: autostate.PersistedList[int], total: autostate.PersistedCounter[str]) -> None:
    async for number in autostate.resume("loop", range(150)):
        seen.append(number)
        await asyncio.sleep(0.02)
        total["sum"] += number
        print("item", number, flush=True)
    print("all:", seen == list(range(150)), total == {"sum": sum(range(150))}, flush=True)

asyncio.run(main())
"""


# -- in Actors -------------------------------------------------------------------------------------


def test_a_loop_in_an_actor_goes_on_after_a_migration(tmp_path: Path) -> None:
    """In an entry point; what the bodies did to its state is there once."""
    (tmp_path / "my_actor.py").write_text(ACTOR)
    with LocalPlatform() as platform:
        run = platform.start_run([sys.executable, str(tmp_path / "my_actor.py")])
        for items in (10, 5):
            run.container.wait_for_output("item", count=items)
            run.migrate(notice=1.0)
        assert run.wait() == 0, run.output
        assert len(run.containers) == 3
        assert "all: True True" in run.container.output
        first = run.container.output.index("item")
        assert not run.container.output[first:].startswith("item 0\n")

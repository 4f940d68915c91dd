"""`resume`: what counts as done, where loops go on, what they run over, and how they nest."""

from __future__ import annotations

import asyncio
import collections
import functools
import io
import itertools
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, hub, resume
from autostate.containers.position import position
from autostate.runtime.api import current_manager
from autostate.testing import LocalPlatform

pytestmark = pytest.mark.usefixtures("forked_actors")

URL = "sqlite:///loops.db"
WAIT = 120.0


opened: list[Any] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the files that a test opened."""
    yield
    while opened:
        opened.pop().close()


def process(run: Callable[[], Any]) -> Any:
    """Run a part of a program as a process of its own would: on what was saved."""
    with autostate.open(URL, debounce=3600, max_delay=3600):
        return run()


def take(loop: Iterable[Any], count: int) -> list[Any]:
    """Take so many items, then leave the loop in the body of the last."""
    taken = []
    for item in loop:
        taken.append(item)
        if len(taken) == count:
            break
    return taken


def leave(make: Callable[[], Iterable[Any]], count: int, **options: Any) -> list[Any]:
    """Take items from a loop over what `make` gives, in a process of its own."""
    return list(process(lambda: take(resume("loop", make(), **options), count)))


async def numbers(end: int) -> AsyncIterator[int]:
    """Count, as an asynchronous generator."""
    for number in range(end):
        await asyncio.sleep(0)
        yield number


def lines(mode: str) -> Any:
    """Open a file of nine lines, which is made at the first time."""
    path = Path("lines.txt")
    if not path.exists():
        path.write_bytes("".join(f"é{number}\n" for number in range(9)).encode())
    opened.append(path.open(mode))
    return opened[-1]


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


# -- what is looped over ---------------------------------------------------------------------------

KINDS: dict[str, Callable[[], Iterable[Any]]] = {
    "list": lambda: list(range(9)),
    "tuple": lambda: tuple(range(9)),
    "range": lambda: range(9),
    "large range": lambda: range(2**70, 2**70 + 9),
    "str": lambda: "abcdefghé",
    "bytes": lambda: b"abcdefghi",
    "array": lambda: np.arange(18).reshape(9, 2).tolist(),
    "deque": lambda: collections.deque(range(9)),
    "dict": lambda: dict.fromkeys("abcdefghi"),
    "items": {str(number): number for number in range(9)}.items,
    "iterator": lambda: iter(range(9)),
    "generator": lambda: (number for number in range(9)),
    "map": lambda: map(str, range(9)),
    "UserList": lambda: collections.UserList(range(9)),
    "StringIO": lambda: io.StringIO("a\nb\nc\nd\ne\nf\ng\nh\ni"),
    "BytesIO": lambda: io.BytesIO(b"a\nb\nc\nd\ne\nf\ng\nh\ni"),
    "state object": lambda: PersistedList("queue", range(9)),
    "text file": lambda: lines("r"),
    "binary file": lambda: lines("rb"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_goes_on_over(kind: str) -> None:
    """Each kind of iterable, from process to process, to its end and not beyond."""
    make = KINDS[kind]
    everything = process(lambda: list(make()))
    found = leave(make, 3)[:2] + leave(make, 1)[:0] + leave(make, 4)[:3] + leave(make, 99)
    assert found == everything
    assert leave(make, 99) == []


def test_a_numpy_array_is_not_read_from_the_beginning() -> None:
    """Its rows are found by index."""
    rows = np.arange(18).reshape(9, 2)
    assert [row[0] for row in leave(lambda: rows, 3)] == [0, 2, 4]
    assert [row[0] for row in leave(lambda: rows, 99)] == [4, 6, 8, 10, 12, 14, 16]


def test_infinite_generators_work() -> None:
    """There is no need for an end."""
    assert leave(itertools.count, 5) == [0, 1, 2, 3, 4]
    assert leave(itertools.count, 2) == [4, 5]


class Looked(list[int]):
    """A list that notes which items were asked for, as a sequence without an iterator of C."""

    def __init__(self, end: int) -> None:
        super().__init__(range(end))
        self.asked: list[int] = []

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


def test_of_a_sequence_only_what_is_compared_is_asked_for() -> None:
    """The items before the position are not read again, however many there are."""
    leave(lambda: range(10_000), 10_000)
    found = Looked(10_002)
    assert leave(lambda: found, 99) == [9_999, 10_000, 10_001]
    assert len([index for index in found.asked if index < 9_999]) == 2


class Queue(collections.deque[int]):
    """A deque of which no item is asked for by index: in its middle that is slow."""

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError


def test_a_place_far_in_a_sequence_is_found_at_once() -> None:
    """To count up to it would not end."""
    position(current_manager(), "loop")["position"] = (10**15 - 2, None, None)
    assert list(resume("loop", range(10**15))) == [10**15 - 2, 10**15 - 1]
    assert leave(lambda: Queue(range(5)), 3) == [0, 1, 2]
    assert leave(lambda: Queue(range(5)), 9) == [2, 3, 4]


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_a_file_is_not_read_from_the_beginning(mode: str) -> None:
    """The next process seeks to a line that was remembered."""

    def make() -> Any:
        return lines(mode)

    assert len(leave(make, 9)) == 9
    before = process(lambda: position(current_manager(), "loop")["position"])
    assert before[:1] == (8,)
    assert before[2][0] == 7
    assert before[2][2] == len("é0\n".encode()) * 7
    with Path("lines.txt").open("r+b") as file:
        file.seek(len("é0\n".encode()) * 3 + 2)
        file.write(b"X")  # a line that is neither read nor compared
    assert leave(make, 9) == list(make())[8:]


def test_a_file_goes_on_after_its_header() -> None:
    """What was read before the loop is read before it in the next process too."""
    Path("table.csv").write_text("name\na\nb\nc\n")

    def run() -> list[str]:
        with Path("table.csv").open() as file:
            assert file.readline() == "name\n"
            return take(resume("loop", file), 2)

    def run_with_next() -> list[str]:
        with Path("table.csv").open() as file:
            assert next(file) == "name\n"  # from here on it does not tell where it is
            return take(resume("next", file), 2)

    assert process(run) == ["a\n", "b\n"]
    assert process(run) == ["b\n", "c\n"]
    assert process(run_with_next) == ["a\n", "b\n"]
    assert process(run_with_next) == ["b\n", "c\n"]


def test_what_is_added_at_the_end_is_gone_over_too() -> None:
    """A loop that came to its end gives what is new after it, and nothing else."""
    assert leave(lambda: [1, 2], 9) == [1, 2]
    assert leave(lambda: [1, 2, 3], 9) == [3]
    assert leave(lambda: (number for number in (1, 2, 3, 4)), 9) == [4]


async def test_an_asynchronous_iterable_goes_on() -> None:
    """And anything else can be gone over by `async for`."""
    found: list[int] = []
    for make in (lambda: numbers(6), lambda: range(6)):
        for stop in (2, 4, 99):
            async with autostate.open(URL):
                async for number in resume("loop", make()):
                    if number == stop:
                        break
                    found.append(number)
        assert found == [0, 1, 2, 3, 4, 5]
        found.clear()
        async with autostate.open(URL) as manager:
            manager.delete("loop")


@pytest.mark.parametrize("wrong", [{1, 2}, frozenset("ab"), 5, None])
def test_what_has_no_order_or_cannot_be_iterated_is_refused(wrong: Any) -> None:
    """A set's order is another one in each process."""
    with pytest.raises(TypeError, match="'loop'"):
        resume("loop", wrong)


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


# -- inner loops -----------------------------------------------------------------------------------


def test_an_inner_loop_goes_on_and_is_forgotten_with_its_item() -> None:
    """So the same name serves for each item of the outer loop."""

    def run(stop: int) -> list[str]:
        seen = []
        for shop in resume("shops", "abc"):
            for page in resume("pages", range(3)):
                seen.append(f"{shop}{page}")
                if len(seen) == stop:
                    return seen
        return seen

    assert process(lambda: run(5)) == ["a0", "a1", "a2", "b0", "b1"]
    assert process(lambda: run(99)) == ["b1", "b2", "c0", "c1", "c2"]
    assert process(lambda: run(99)) == []
    with pytest.raises(LookupError):
        process(lambda: autostate.delete("pages"))


def test_an_inner_loop_that_was_left_begins_anew_for_the_next_item() -> None:
    """Also the loops in its body, and also when the outer body does not come to it again."""

    def run(*, inner: bool, stop: bool) -> list[Any]:
        seen: list[Any] = []
        for shop in resume("shops", "ab"):
            for page in resume("pages", range(3)) if inner or shop == "b" else ():
                for product in resume("products", range(3)):
                    seen.append((shop, page, product))
                    if product == 1:
                        break
                if page == 1:
                    break
            if stop:
                return seen
        return seen

    assert process(lambda: run(inner=True, stop=True))[-1] == ("a", 1, 1)
    assert process(lambda: run(inner=False, stop=False))[0] == ("b", 0, 0)
    for name in ("pages", "products"):
        with pytest.raises(LookupError):
            process(functools.partial(autostate.delete, name))


def test_an_inner_loop_is_forgotten_also_if_the_process_ended_after_done() -> None:
    """Before the outer loop asked for its next item."""

    def run() -> list[str]:
        seen = []
        shops = resume("shops", "ab")
        for shop in shops:
            seen += [f"{shop}{page}" for page in resume("pages", range(2))]
            shops.done()
            break
        return seen

    assert process(run) == ["a0", "a1"]
    assert process(run) == ["b0", "b1"]


def test_a_save_keeps_an_inner_loop_that_is_forgotten_before_it_is_written() -> None:
    """A kill after it finds the loops as they were at the cut, with what their bodies had done."""
    captures: list[Any] = []

    def pages(shop: str, cut: Callable[[], Any] | None) -> Iterator[int]:
        for page in range(3):
            yield page
            if cut is not None and (shop, page) == ("b", 0):
                captures.append(cut())  # the loop has asked for the next: between two items

    def run(cut: Callable[[], Any] | None = None) -> list[str]:
        log = PersistedList[str]("log")
        for shop in resume("shops", "abc"):
            for page in resume("pages", pages(shop, cut)):
                log.append(f"{shop}{page}")
        return [*log]

    with autostate.open(URL, debounce=3600, max_delay=3600) as manager:
        PersistedList[str]("log")
        incarnation = manager._incarnation
        assert incarnation is not None
        once = run(incarnation.tracker.cut)
        incarnation._journal.commit(captures[0].encode())
        shutil.copytree(".", "killed")
        captures[0].saved()
    with autostate.open("sqlite:///killed/loops.db"):
        assert PersistedList("log") == ["a0", "a1", "a2", "b0"]
        assert run() == once == [f"{shop}{page}" for shop in "abc" for page in range(3)]


def test_loops_after_each_other_are_not_inner_loops() -> None:
    """Also after one that was left, and when the first goes on later."""
    first = resume("first", range(4))
    assert take(first, 2) == [0, 1]
    assert list(resume("second", range(2))) == [0, 1]
    assert list(first) == [1, 2, 3]
    assert list(resume("second", range(2))) == []


async def test_loops_in_tasks_of_a_body_are_inner_loops() -> None:
    """Context variables tell, so each is forgotten with the item."""

    async def pages(name: str) -> int:
        return len([page async for page in resume(name, numbers(3))])

    async with autostate.open(URL) as manager:
        for shop in resume("shops", "ab"):
            assert set(await asyncio.gather(pages("left"), pages("right"))) == {3}, shop
        for name in ("left", "right"):
            with pytest.raises(LookupError):
                manager.info(name)


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


# -- in Actors -------------------------------------------------------------------------------------


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

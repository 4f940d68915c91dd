"""How saves and blocks give way to each other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, hub
from autostate.stores import memory
from tests.atomic.blocks import LARGE, WAIT, Actor
from tests.conformance.state_kit import Program


def stored(url: str) -> Any:
    """What a process that begins now would find."""
    memory._shared["copy"] = memory._Records()
    memory._shared["copy"].update(memory._shared[url.removeprefix("memory:")])
    with autostate.open("memory:copy"):
        return PersistedDict("state")


def test_a_save_leaves_out_what_waiting_tasks_have_written(state: Any, url: str) -> None:
    """And has all that others wrote, to the same entries too."""

    async def main() -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with autostate.atomic():
                state["n"] += 1
                state["half"] = True
                inside.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        state["n"] += 10
        await autostate.durable(WAIT)
        assert stored(url) == {"n": 10}
        assert state == {"n": 11, "half": True}
        autostate.flush(WAIT)  # the loop stands still meanwhile
        over.set()
        await task
        await autostate.durable(WAIT)
        assert stored(url) == {"n": 11, "half": True}

    asyncio.run(main())


def test_a_save_waits_for_what_cannot_be_left_out() -> None:
    """An object that was changed in a block, past its class, is saved after it."""

    @autostate.persisted(name="shop")
    class Shop:
        def __init__(self) -> None:
            self.visits = 0

    async def main(shop: Any) -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with autostate.atomic():
                vars(shop)["visits"] += 1
                inside.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        with pytest.raises(autostate.FlushError, match="atomic"):
            await autostate.durable(0.5)
        over.set()
        await task
        await autostate.durable(WAIT)

    with autostate.open("memory:shop", debounce=3600, max_delay=3600):
        asyncio.run(main(Shop()))
    with autostate.open("memory:shop"):
        assert Shop().visits == 1


def test_a_save_waits_where_a_held_container_came_while_a_block_is_open(
    state: Any, url: str
) -> None:
    """The block may have written to it, which nothing tells."""
    held: list[str] = []

    async def main() -> None:
        inside, go, written, over = (asyncio.Event() for _ in range(4))

        async def work() -> None:
            with autostate.atomic():
                inside.set()
                await go.wait()
                held.append("half")
                written.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        state["held"] = held
        go.set()
        await written.wait()
        with pytest.raises(autostate.FlushError, match="atomic"):
            await autostate.durable(0.5)
        over.set()
        await task
        await autostate.durable(WAIT)
        assert stored(url) == {"n": 0, "held": ["half"]}

    asyncio.run(main())


def test_what_others_write_to_what_they_put_in_stays() -> None:
    """Into the state, while a block is open: it is not taken for the block's, held or not."""
    program = Program()
    state = program.root("state")
    mine, others = (Actor(program.tracker.atomic) for _ in range(2))
    mine.begin()
    held: list[str] = ["others"]
    others.do(state.__setitem__, "held", held)
    program.flush()
    others.do(held.append, "others too")
    del held
    program.tracker.prepare(lambda: None)
    others.do(lambda: state["held"].append("others three"))
    mine.end(fails=True)
    assert state == {"held": ["others", "others too", "others three"]}
    program.flush()
    assert program.restart().root("state") == state


def test_a_block_looks_once_at_what_is_held_and_shares_its_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However large a list is that the program holds too, and however many blocks are open."""
    from autostate.tracking import search
    from autostate.tracking.blocks import Blocks

    program = Program()
    held: list[Any] = list(range(LARGE))
    program.root("state").update(held=held, n=0)
    program.flush()
    looked: list[Any] = []
    values_of = search._values_of

    def looking(container: Any) -> list[Any]:
        looked.append(container)
        return values_of(container)

    monkeypatch.setattr(search, "_values_of", looking)
    actors = [Actor(program.tracker.atomic) for _ in range(3)]
    for actor in actors:
        looked.clear()
        actor.begin()
        assert sum(one is held for one in looked) <= 1
    copies = {
        id(content) for point in program.tracker.part(Blocks).open for _, content in point.plain
    }
    assert len(copies) == 1
    for actor in actors:
        actor.end()
    alone = Actor(program.tracker.atomic)
    alone.begin()
    alone.do(held.append, "half")
    alone.end(fails=True)
    assert held == list(range(LARGE))


@contextlib.contextmanager
def until_saved(times: int) -> Iterator[Callable[[], bool]]:
    """Give what tells whether so many saves are still to come."""
    saves: list[Any] = []

    def note(_: Any, **counts: Any) -> None:
        saves.append(counts)

    hub.flushed.connect(note)
    try:
        yield lambda: len(saves) < times
    finally:
        hub.flushed.disconnect(note)


def test_blocks_that_follow_each_other_let_saves_pass() -> None:
    """In one thread, and in several that are hardly ever outside at the same time."""
    for threads in (1, 3):
        with (
            autostate.open("memory:", debounce=0.01, max_delay=0.05),
            until_saved(5) as waiting,
        ):
            state = PersistedCounter[int]("state")
            pause = threading.Event()

            def work(number: int, state: Any = state, waiting: Any = waiting) -> None:
                while waiting():
                    with autostate.atomic():
                        state[number] += 1
                        pause.wait(0.02)  # noqa: B023 - as long as the block is open

            workers = [
                threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(WAIT)
                assert not worker.is_alive(), "nothing is saved"


def test_tasks_that_overlap_let_saves_pass() -> None:
    """At each moment some of them are inside, across an await."""

    async def main() -> None:
        state = PersistedCounter[int]("state")
        with until_saved(5) as waiting:

            async def work(number: int) -> None:
                while waiting():
                    with autostate.atomic():
                        state[number] += 1
                        await asyncio.sleep(0.01)

            async with asyncio.timeout(WAIT):
                await asyncio.gather(*map(work, range(10)))

    with autostate.open("memory:", debounce=0.01, max_delay=0.05):
        asyncio.run(main())

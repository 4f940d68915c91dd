"""Blocks of `atomic()` publish as a whole what they change in shared objects, or take it back.

In a program with a state of its own, and in one without.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate.errors import StoreUnavailableError
from autostate.runtime.api import current_manager
from autostate.shared.counter import SharedCounter
from autostate.shared.dict import SharedDict
from autostate.shared.home import home
from autostate.shared.kinds import COUNTER, SET, DictKind
from autostate.shared.replica import Replica
from autostate.shared.set import SharedSet
from autostate.stores import open_store
from autostate.tracking.savepoint import Savepoint
from autostate.tracking.unit import Unit
from tests.interrupting import Interrupt


@pytest.fixture(autouse=True)
def _home(shared_here: None, isolated: Path) -> None:
    """Nothing is published by itself: each test says when."""
    autostate.configure(f"sqlite:///{isolated}/own.db", debounce=100.0, max_delay=100.0)


@pytest.fixture(params=["own state", "no own state"])
def progress(request: pytest.FixtureRequest) -> dict[str, int]:
    """A state of the program's own, or a plain dict."""
    if request.param == "own state":
        return autostate.PersistedDict("progress", page=0)
    return {"page": 0}


def stored() -> dict[str, Any]:
    """What is published, as another process reads it."""
    replica = Replica(open_store(home().url))
    try:
        return {
            "hits": replica.open("hits", COUNTER, lambda _: Counter()),
            "seen": replica.open("seen", SET, lambda _: set()),
            "best": replica.open("best", DictKind(), lambda _: {}),
        }
    finally:
        replica.close()


def change(number: int) -> None:
    """Change a counter, a set and a dict."""
    SharedCounter[str]("hits").update({"all": 1, f"page-{number}": 1})
    SharedSet[int]("seen").add(number)
    SharedDict[str, int]("best")["last"] = number


def test_a_block_that_raises_takes_its_changes_back(progress: dict[str, int]) -> None:
    """From the view at once; what others have changed meanwhile stays."""
    change(0)
    other = threading.Thread(target=change, args=(1,))
    with contextlib.suppress(KeyError), autostate.atomic():
        change(2)
        progress["page"] += 1
        assert SharedCounter[str]("hits")["all"] == 2
        SharedSet[int]("seen").discard(0)
        other.start()
        other.join()
        raise KeyError
    assert SharedCounter[str]("hits") == {"all": 2, "page-0": 1, "page-1": 1}
    assert SharedSet[int]("seen") == {0, 1}
    assert SharedDict[str, int]("best") == {"last": 1}
    autostate.flush()
    assert stored() == {
        "hits": {"all": 2, "page-0": 1, "page-1": 1},
        "seen": {0, 1},
        "best": {"last": 1},
    }


def test_an_inner_block_is_taken_back_alone(progress: dict[str, int]) -> None:
    """And with the outer one what an inner block has kept."""
    with autostate.atomic():
        change(1)
        with contextlib.suppress(KeyError), autostate.atomic():
            change(2)
            raise KeyError
        with autostate.atomic():
            change(3)
        progress["page"] += 1
    with contextlib.suppress(KeyError), autostate.atomic():
        with autostate.atomic():
            change(4)
        raise KeyError
    autostate.flush()
    expected = {"all": 2, "page-1": 1, "page-3": 1}
    assert SharedCounter[str]("hits") == expected
    assert stored() == {"hits": expected, "seen": {1, 3}, "best": {"last": 3}}


def test_what_others_change_is_published_while_a_block_is_open(progress: dict[str, int]) -> None:
    """It does not wait for the block, nor does the block lose its own changes by that."""

    async def slow(may_end: asyncio.Event) -> None:
        with autostate.atomic():
            change(1)
            progress["page"] += 1
            await may_end.wait()

    async def main() -> None:
        may_end = asyncio.Event()
        task = asyncio.create_task(slow(may_end))
        await asyncio.sleep(0)
        change(2)
        await autostate.durable()
        assert stored()["hits"] == {"all": 1, "page-2": 1}
        assert SharedCounter[str]("hits")["all"] == 2
        may_end.set()
        await task
        await autostate.durable()

    asyncio.run(main())
    both = {"all": 2, "page-1": 1, "page-2": 1}
    assert stored()["hits"] == both
    assert stored()["seen"] == {1, 2}


def test_threads_of_a_block_belong_to_it(progress: dict[str, int]) -> None:
    """Those that were started with its context."""
    with contextlib.suppress(KeyError), autostate.atomic():
        progress["page"] += 1
        context = contextvars.copy_context()
        inside = threading.Thread(target=context.run, args=(change, 1))
        inside.start()
        inside.join()
        raise KeyError
    assert SharedCounter[str]("hits") == {}
    autostate.flush()
    assert stored()["hits"] == {}


def test_nobody_flushes_inside_a_block(progress: dict[str, int]) -> None:
    """It would publish half of it."""
    with autostate.atomic():
        change(1)
        progress["page"] += 1
        with pytest.raises(RuntimeError, match="would save half of the block"):
            autostate.flush()
        assert stored()["hits"] == {}
    autostate.flush()
    assert stored()["hits"] == {"all": 1, "page-1": 1}


def test_a_block_opens_no_state_for_a_program_that_only_shares() -> None:
    """Another process of the program could not open it then."""
    change(1)
    with autostate.atomic():
        change(2)
    assert current_manager()._incarnation is None


@pytest.mark.parametrize("first", ["own", "shared", "nothing"])
def test_a_block_covers_what_is_made_inside(first: str) -> None:
    """The first shared object, and the first state object of a program that shares something."""
    progress = {"page": 0}
    if first == "shared":
        change(1)
    elif first == "own":
        autostate.PersistedDict("other")
    with contextlib.suppress(KeyError), autostate.atomic():
        if first != "nothing":
            progress = autostate.PersistedDict("progress", page=0)
            progress["page"] += 1
        change(2)
        raise KeyError
    assert progress == {"page": 0}
    autostate.flush()
    assert 2 not in stored()["seen"]
    assert 2 not in SharedSet[int]("seen")


@pytest.mark.parametrize("kept", [True, False])
def test_a_unit_of_work_is_published_when_it_is_kept(kept: bool) -> None:
    """A flush inside publishes everything else."""

    async def main() -> None:
        autostate.PersistedDict("progress")
        unit = Unit(current_manager()._tracker)
        unit.enter()
        unit.begin()
        change(1)
        await autostate.durable()
        assert stored()["hits"] == {}
        unit.end(kept=kept)
        unit.leave()
        await autostate.durable()

    asyncio.run(main())
    assert stored()["hits"] == ({"all": 1, "page-1": 1} if kept else {})
    assert SharedSet[int]("seen") == ({1} if kept else set())


def test_a_block_that_is_undone_is_shown_no_longer_though_others_read() -> None:
    """Another thread holds the lock of the shared objects while the block ends."""
    autostate.PersistedDict("progress")
    change(1)
    held, may_release = threading.Event(), threading.Event()

    def hold() -> None:
        with home().replica.lock:
            held.set()
            may_release.wait()

    def fail() -> None:
        with contextlib.suppress(KeyError), autostate.atomic():
            change(2)
            other.start()
            held.wait()
            threading.Timer(0.05, may_release.set).start()
            raise KeyError
        views.append(set(SharedSet[int]("seen")))

    views: list[set[int]] = []
    other = threading.Thread(target=hold)
    fail()
    other.join()
    assert views == [{1}]


def test_a_block_of_an_ended_context_takes_back_what_is_its_own(
    progress: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a dependency of FastAPI that is no coroutine: its context ends before it does."""

    def fail(*_: object) -> None:
        raise StoreUnavailableError("no answer")

    async def main() -> None:
        change(1)
        block = autostate.atomic()
        contextvars.copy_context().run(block.__enter__)
        change(2)
        progress["page"] += 1
        with monkeypatch.context() as patch:
            patch.setattr(home().replica, "publish", fail)
            await current_manager().durable()
            block.__exit__(KeyError, KeyError(), None)
        await autostate.durable()

    asyncio.run(main())
    assert stored()["seen"] == SharedSet[int]("seen") == {1}
    change(3)
    autostate.flush()
    assert stored()["seen"] == SharedSet[int]("seen") == {1, 3}


def test_a_publication_completes_what_ctrl_c_has_interrupted() -> None:
    """Another thread may publish before the block is ended again."""
    change(0)
    replica, number, interrupt = home().replica, 0, None
    while interrupt is None or interrupt.left <= 0:
        number += 1
        interrupt, block = Interrupt(number), autostate.atomic()
        block.__enter__()
        change(number)
        [point] = replica.tracker.savepoints
        assert isinstance(point, Savepoint)
        point.outcome = True
        with contextlib.suppress(KeyboardInterrupt), replica.lock, interrupt:
            point.when_ended[0](None)
        replica.flush(10.0)
        block.__exit__(None, None, None)
    replica.flush(10.0)
    assert stored()["hits"]["all"] == SharedCounter[str]("hits")["all"] == number + 1 > 20


@pytest.mark.parametrize("kept", [True, False])
def test_ctrl_c_loses_and_doubles_no_block(
    progress: dict[str, int], rng: random.Random, kept: bool
) -> None:
    """At any place of it: what it has changed is there as a whole, or not at all."""
    hits = SharedCounter[str]("hits")

    def block() -> None:
        with autostate.atomic():
            hits.update({"all": 1, "other": 1})
            progress["page"] += 1
            if not kept:
                raise KeyError

    number, done, interrupt = 0, 0, None
    while interrupt is None or interrupt.left <= 0:
        number += rng.randrange(1, 9)
        interrupt = Interrupt(number)
        with contextlib.suppress(KeyError, KeyboardInterrupt), interrupt:
            block()
            done += 1
    assert number > 50
    autostate.flush()
    hits.refresh()
    count = hits["all"]
    published = stored()["hits"]
    assert hits == published
    assert hits["other"] == count >= done
    if isinstance(progress, autostate.PersistedDict):
        assert progress["page"] == count
    assert kept or count == 0


def test_a_merge_function_that_fails_at_the_end_of_a_block_loses_nothing(
    progress: dict[str, int],
) -> None:
    """The block has ended: both values are published, and merged later."""
    is_broken = False

    def merge(one: int, other: int) -> int:
        if is_broken:
            raise ZeroDivisionError
        return one + other

    best = SharedDict[str, int]("sum", merge=merge)
    best["k"] = 1
    with autostate.atomic():
        best["k"] = 2
        progress["page"] = 1
        is_broken = True
    autostate.flush()
    is_broken = False
    best.refresh()
    assert best == {"k": 3}
    replica = Replica(open_store(home().url))
    assert replica.open("sum", DictKind(merge), lambda _: {}) == {"k": 3}
    replica.close()

"""Loops in the bodies of loops: they go on, and are forgotten with their item."""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import autostate
from autostate import PersistedList, resume
from tests.loops.loops import URL, numbers, process, take

pytestmark = pytest.mark.usefixtures("forked_actors")


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

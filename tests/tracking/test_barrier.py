"""Late calls of methods and writes past them are found."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.state_kit import Program, form, shape
from tests.tracking.written import recovered


def test_a_method_looked_up_before_a_cut_is_seen_after_it() -> None:
    """`append` of the disarmed variant is the builtin's; called late, it changes the length."""
    program = Program()
    state = program.root("state", default={"queue": []})
    program.flush()
    state["queue"].append(1)
    append = state["queue"].append
    assert form(state["queue"]) == "disarmed"
    program.flush()
    assert form(state["queue"]) == "armed"
    append(2)
    assert program.tracker.needs_polling
    program.flush()
    assert recovered(program) == {"queue": [1, 2]}


async def test_a_method_looked_up_before_an_await_is_seen_after_it() -> None:
    """`results.append(await page())`, with a cut while it waits."""
    program = Program()
    results = program.root("results", "list")
    fetched = asyncio.Event()

    async def page() -> int:
        await fetched.wait()
        return 2

    async def crawl() -> None:
        results.append(1)
        results.append(await page())

    crawling = asyncio.create_task(crawl())
    await asyncio.sleep(0)
    program.flush()
    fetched.set()
    await crawling
    program.flush()
    assert recovered(program, "results", "list") == [1, 2]


@pytest.mark.parametrize("many", [0, 300])
def test_what_is_written_past_the_barrier_is_found_by_a_sweep(many: int) -> None:
    """`heapq` and the builtins' own functions leave no mark; the content tells."""
    program = Program()
    state = program.root("state", default={"heap": [9, 8, 7], "d": {"x": 1}, "s": {1}})
    heap = program.root("heap", "list", list(range(many, 0, -1)))
    program.flush()
    for items in (heap, state["heap"]):
        heapq.heapify(items)
        heapq.heappush(items, -1)
    dict.update(state["d"], y=[2])
    dict.__setitem__(state, "new", {"z": 3})
    set.add(state["s"], 2)
    program.flush(full_compare=True)
    assert shape(recovered(program)) == shape(state)
    assert recovered(program, "heap", "list") == heap
    assert program.flush(full_compare=True) == []


@pytest.mark.parametrize("many", [0, 300])
def test_a_cut_in_the_middle_of_a_call_loses_nothing(many: int) -> None:
    """What an iterator gives after it let others run is saved, too."""
    program = Program()
    numbers = range(many)
    state = program.root("state", default={f"k{i}": i for i in numbers})
    items = program.root("items", "list", list(numbers))
    members = program.root("members", "set", set(numbers))
    words = program.root("words", "counter", {f"k{i}": i for i in numbers})
    inner = program.root("outer", default={"d": {}, "l": [], "s": set()})

    def halting(*given: Any) -> Iterator[Any]:
        for item in given:
            yield item
            program.flush()

    program.flush()
    for _ in range(2):
        state.update(halting(("a", 1), ("b", 2)))
        items.extend(halting("a", "b"))
        members.update(halting("a", "b"))
        members.difference_update(halting("a", 1))
        words.update(halting("a", "b"))
        inner["d"].update(halting(("a", 1), ("b", 2)))
        inner["l"].extend(halting("a", "b"))
        inner["s"].update(halting("a", "b"))
        program.flush()
        following = program.restart()
        again = [
            *(following.root("state"), following.root("items", "list")),
            *(following.root("members", "set"), following.root("words", "counter")),
            following.root("outer"),
        ]
        assert shape(*again) == shape(state, items, members, words, inner)

"""Batches: lists of items that are done together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, resume
from tests.loops.loops import URL, leave, numbers, process, take

KINDS: dict[str, Callable[[], Iterable[Any]]] = {
    "sequence": lambda: range(10),
    "iterator": lambda: iter(range(10)),
    "lines": lambda: io.StringIO("".join(f"{at}\n" for at in range(10))),
    "rows": lambda: csv.reader(io.StringIO("".join(f"{at},x\n" for at in range(10)))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_go_on(kind: str) -> None:
    """A batch that was in work comes again; the size may be another one."""
    make = KINDS[kind]
    items = list(make())
    assert leave(make, 2, batch=3) == [items[:3], items[3:6]]
    assert leave(make, 1, batch=4) == [items[3:7]]
    assert leave(make, 1) == [items[3]]
    assert leave(make, 99, batch=4) == [items[3:7], items[7:]]
    assert leave(make, 99, batch=4) == []


def test_items_that_are_added_after_a_short_batch_are_not_lost() -> None:
    """Items are counted, not batches."""
    assert leave(lambda: range(5), 99, batch=3) == [[0, 1, 2], [3, 4]]
    assert leave(lambda: range(7), 99, batch=3) == [[5, 6]]
    assert leave(lambda: iter(range(9)), 99, batch=3) == [[7, 8]]


def test_an_iterator_goes_on_in_one_process() -> None:
    """With the batch that was in work."""
    loop = resume("loop", iter(range(7)), batch=3)
    assert take(loop, 2) == [[0, 1, 2], [3, 4, 5]]
    assert list(loop) == [[3, 4, 5], [6]]
    loop = resume("done", iter(range(7)), batch=3)
    for _ in loop:
        loop.done()
        break
    assert list(loop) == [[3, 4, 5], [6]]


def test_a_batch_is_done_as_a_whole() -> None:
    """With what its block has written."""

    def run() -> None:
        total = PersistedDict("total", n=0)
        loop = resume("loop", range(6), batch=3)
        for batch in loop:
            with autostate.atomic():
                total["n"] += sum(batch)
                loop.done()
            if batch[0] == 3:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process(run)
    process(run)
    assert process(lambda: PersistedDict("total")["n"]) == 15


def test_a_body_may_change_its_batch() -> None:
    """The first item is compared, as it was and as it became."""
    rows = [[at] for at in range(6)]

    def make() -> list[list[int]]:
        return [list(row) for row in rows]

    for batch in process(lambda: take(resume("loop", make(), batch=2), 1)):
        batch.clear()
    with autostate.open(URL):
        for at, batch in enumerate(resume("loop", make(), batch=2)):
            batch[0].append(-1)
            batch.clear()
            if at == 1:
                break
    assert leave(make, 1, batch=2) == [rows[2:4]]


async def test_asynchronous_batches_go_on() -> None:
    """The last one may be shorter."""
    found = []
    for stop in (1, 99):
        async with autostate.open(URL):
            async for batch in resume("loop", numbers(7), batch=3):
                found.append(batch)
                if len(found) > stop:
                    break
    assert found == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [6]]


@pytest.mark.parametrize(
    ("batch", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_what_is_no_number_of_items_is_refused(batch: Any, error: type[Exception]) -> None:
    """At once."""
    with pytest.raises(error, match="batch is a number of items"):
        resume("loop", [1], batch=batch)

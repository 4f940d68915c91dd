"""What the tests of loops share: processes, and loops that go on in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import autostate
from autostate import resume

URL = "sqlite:///loops.db"

opened: list[Any] = []


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

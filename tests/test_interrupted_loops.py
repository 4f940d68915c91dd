"""Ctrl-C in the middle of resumable loops: no body is left out, at any depth."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

import autostate
from autostate import resume
from tests.campaign import sampled
from tests.interrupting import Interrupt

Run = Callable[[Callable[..., None]], None]


def two_levels(done: Callable[..., None]) -> None:
    """Several items in each, of which the first loop in the body comes to its end."""
    for shop in resume("shops", range(3)):
        for page in resume("pages", "ab"):
            done(shop, page)


def three_levels(done: Callable[..., None]) -> None:
    """Loops that have only one item are at the same place for each item of the outer one."""
    for shop in resume("shops", range(2)):
        for page in resume("pages", "a"):
            for row in resume("rows", "xy"):
                done(shop, page, row)


def side_by_side(done: Callable[..., None]) -> None:
    """Two loops in one body, after each other."""
    for shop in resume("shops", range(2)):
        for page in resume("pages", "ab"):
            done(shop, page)
        for review in resume("reviews", "c"):
            done(shop, review)


def every_time(done: Callable[..., None]) -> None:
    """Loops that begin again after their end."""
    for shop in resume("shops", range(2)):
        for page in resume("pages", "ab", again=True):
            done(shop, page)


def steps(run: Run) -> tuple[set[tuple[Any, ...]], int]:
    """All that is to be done, and how many places there are for Ctrl-C."""
    done: set[tuple[Any, ...]] = set()
    with autostate.open("memory:", debounce=3600), Interrupt(sys.maxsize) as counting:
        run(lambda *item: done.add(item))
    return done, sys.maxsize - counting.left


@pytest.mark.parametrize("run", [two_levels, three_levels, side_by_side, every_time])
@pytest.mark.parametrize("new_process", [False, True])
def test_no_body_is_left_out(run: Run, new_process: bool, rng: random.Random) -> None:
    """Whether the same process goes on, or the next one does."""
    expected, places = steps(run)
    for number in sampled(rng, range(1, places), 15):
        done: set[tuple[Any, ...]] = set()
        note = functools.partial(_add, done)
        url = f"memory:{run.__name__}-{new_process}-{number}"
        interrupt = Interrupt(number)
        with autostate.open(url, debounce=3600):
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                run(note)
            if not new_process:
                run(note)
        if new_process:
            with autostate.open(url, debounce=3600):
                run(note)
        assert done == expected, (number, interrupt.at)


def _add(done: set[tuple[Any, ...]], *item: Any) -> None:
    done.add(item)


def test_an_iterator_gives_the_item_in_work_again(rng: random.Random) -> None:
    """Its items come once only: the loop keeps the last one until it is done."""
    with autostate.open("memory:", debounce=3600), Interrupt(sys.maxsize) as counting:
        list(map(int, resume("n", iter(range(4)))))
    for number in sampled(rng, range(1, sys.maxsize - counting.left), 15):
        done: list[int] = []
        interrupt = Interrupt(number)
        with autostate.open("memory:", debounce=3600):
            loop = resume("n", iter(range(4)))
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                done += loop
            with contextlib.suppress(autostate.ResumeError):  # while it looked for its place
                done += loop
                assert set(done) == set(range(4)), (number, interrupt.at)

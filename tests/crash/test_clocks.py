"""The clock jumps, runs backwards or stands still: saving goes on, and nothing is lost.

`CAMPAIGN_CLOCKS` says how many saves there are with each clock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedDict
from tests.campaign import Tally, size
from tests.crash.test_disk_errors import saved

SAVES: Final = size("CLOCKS", 20)
YEAR: Final = 365 * 86_400.0


def jumping(rng: random.Random, now: float) -> Iterator[float]:
    """Years to and fro; also to before 1970."""
    while True:
        yield now + rng.uniform(-60 * YEAR, 80 * YEAR)


def backwards(rng: random.Random, now: float) -> Iterator[float]:
    """Each time earlier than before."""
    while True:
        now -= rng.uniform(0, 7200)
        yield now


def standing(rng: random.Random, now: float) -> Iterator[float]:
    """Always the same time."""
    while True:
        yield now


Clock = Callable[[random.Random, float], Iterator[float]]


@pytest.mark.campaign(name="clocks")
@pytest.mark.parametrize("url", ["sqlite:///clock.db", "apify:clock"])
@pytest.mark.parametrize("clock", [jumping, backwards, standing])
def test_saving_goes_on_whatever_the_clock_says(
    clock: Clock, url: str, *, rng: random.Random, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several processes, the library saves by itself; the newest state is found."""
    times, n = clock(rng, time.time()), 0
    monkeypatch.setattr(time, "time", lambda: next(times))
    settings: dict[str, Any] = {"debounce": 0, "max_delay": 0.01, "duty_cycle": 1}
    while tally.trials < SAVES:
        with autostate.open(url, **settings):
            state: PersistedDict[str, int] = PersistedDict("state", n=0)
            tally.found(f"{state}, not {n}", lost=state["n"] != n, silent=state["n"] != n)
            for _ in range(5):
                state["n"] = n = n + 1
                saved(state)
                tally.tried()
            state["n"] = n = n + 1
    tally.check()

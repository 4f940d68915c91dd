"""Reading and writing, in times of a plain dict, while saving goes on as usual."""

from __future__ import annotations

import importlib.util
import random
import shelve
import statistics
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.measure import SHORT, Job, Plan, Row, medians, ratios, rounds, specialised, spread

TITLE: Final = "Reading and writing"
SMALL: Final = 10
FEW: Final = 10
"""Keys that are written again and again in a large dict: every write is recorded."""
OTHERS: Final = 10
"""Others are slow: the tenth part of the operations must do, beside a plain dict that does it."""

State = MutableMapping[str, Any]
Make = Callable[[State, int], Job]


def rows(plan: Plan) -> Iterator[Row]:
    """Measure writes, nested writes and reads on a small and on a large dict."""
    with tempfile.TemporaryDirectory() as name:
        folder, large = Path(name), plan.medium
        with (
            autostate.open(f"sqlite:///{folder / 'access.db'}"),
            shelve.open(str(folder / "shelf"), "c") as shelf,
        ):
            small = autostate.PersistedDict[str, Any]("small", _entries(SMALL))
            big = autostate.PersistedDict[str, Any]("large", _entries(large))
            autostate.flush(timeout=600)
            shelf.update(_entries(SMALL))
            some = {"own": small, **_observed(SMALL), "shelve": shelf}
            yield _row(plan, "write, small dict", 1.2, _writes, some)
            yield _row(plan, "read, small dict", 1.5, _reads, some)
            some = {"own": small, **_observed(SMALL, deep=True)}
            yield _row(plan, "nested d[a][b] += 1, small dict", 2, _nested, some)
            some = {"own": big, **_observed(large)}
            few = partial(_writes, few=FEW)
            yield _row(plan, f"write, dict of {large:,}", 5, _writes, some)
            yield _row(plan, f"write, {FEW} keys of {large:,}", 5, few, some)
            yield _row(plan, f"read, dict of {large:,}", 1.5, _reads, some)
            some = {"own": big}
            yield _row(plan, f"nested d[a][b] += 1, dict of {large:,}", None, _nested, some)


def _entries(count: int) -> dict[str, Any]:
    return {f"key-{number}": {"seen": number} for number in range(count)}


def _observed(count: int, *, deep: bool = False) -> dict[str, State]:
    """Dicts that notice changes and save nothing; with `deep`, also changes inside of values."""
    found: dict[str, State] = {}
    if importlib.util.find_spec("psygnal"):
        from psygnal.containers import EventedDict

        inner = EventedDict if deep else dict
        values = {key: inner(value) for key, value in _entries(count).items()}
        found["psygnal"] = EventedDict(values)
    if importlib.util.find_spec("sqlalchemy_json"):
        from sqlalchemy_json import NestedMutableDict

        found["sqlalchemy-json"] = NestedMutableDict(_entries(count))
    return found


def _row(plan: Plan, what: str, goal: float | None, make: Make, states: dict[str, State]) -> Row:
    own, count = states["own"], plan.writes
    jobs = {"plain dict": make(_entries(len(own)), count), "autostate": make(own, count)}
    times = rounds(jobs, plan.rounds * SHORT)
    found = ratios(times, "plain dict")["autostate"]
    fewer = {"dict": _entries(len(own)), **states}
    del fewer["own"]
    slow = {name: make(state, count // OTHERS) for name, state in fewer.items()}
    return Row(
        what,
        statistics.median(found),
        goal,
        peers=medians(ratios(rounds(slow, plan.long_rounds), "dict")),
        spread=spread(found),
        rounds={name: [each / count for each in taken] for name, taken in times.items()},
    )


def _keys(state: State, count: int, few: int | None = None) -> list[str]:
    """Many keys in random order, the same for all; if `few`, of so many different ones."""
    rng = random.Random(1)
    chosen = sorted(state) if few is None else rng.sample(sorted(state), few)
    return rng.choices(chosen, k=count)


def _writes(state: State, count: int, few: int | None = None) -> Job:
    keys = _keys(state, count, few)

    def job() -> None:
        for key in keys:
            state[key] = 1

    return specialised(job)


def _nested(state: State, count: int) -> Job:
    keys = _keys(state, count)
    if 1 in state.values():  # other rows have replaced some
        for key in state:
            state[key] = {"seen": 0}

    def job() -> None:
        for key in keys:
            state[key]["seen"] += 1

    return specialised(job)


def _reads(state: State, count: int) -> Job:
    keys = _keys(state, count)

    def job() -> None:
        for key in keys:
            state[key]

    return specialised(job)

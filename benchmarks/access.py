"""What reading and writing costs, in times of a plain dict, while saving goes on as usual."""

from __future__ import annotations

import random
import shelve
from collections.abc import Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import autostate
from benchmarks.measure import Job, Row, ratios, rounds

SMALL = 10
WRITES = 100_000
FEW = 10
"""Keys that are written again and again in a large dict: every write is recorded."""
SHELVE_KEYS = 100
"""A write to a shelf costs so much that a few must do; their time is scaled."""


def rows(folder: Path, *, large: int, count: int) -> Iterator[Row]:
    """Measure writes, nested writes and reads on a small and on a large dict.

    Args:
        folder: Where files may be left.
        large: Entries of the large dict.
        count: How many rounds.
    """
    with autostate.open(f"sqlite:///{folder / 'access.db'}"):
        small = autostate.PersistedDict[str, Any]("small", _entries(SMALL))
        big = autostate.PersistedDict[str, Any]("large", _entries(large))
        autostate.flush()
        small_shelf = _shelve(folder, SMALL, count, write=True)
        read_shelf = _shelve(folder, SMALL, count, write=False)
        yield _row("write, small dict, steady", small, _writes, 1.2, count=count, peers=small_shelf)
        yield _row(f"write, dict of {large:,}", big, _writes, 5, count=count)
        what = f"write, {FEW} keys of {large:,}"
        yield _row(what, big, partial(_writes, few=FEW), 5, count=count)
        yield _row("nested d[a][b] += 1, small", small, _nested_writes, 2, count=count)
        yield _row(f"nested d[a][b] += 1, {large:,}", big, _nested_writes, None, count=count)
        yield _row("read, small dict", small, _reads, 1.5, count=count, peers=read_shelf)
        yield _row(f"read, dict of {large:,}", big, _reads, 1.5, count=count)


def _entries(count: int) -> dict[str, Any]:
    return {f"key-{number}": {"seen": number} for number in range(count)}


def _row(
    what: str,
    persisted: MutableMapping[str, Any],
    make: Any,
    goal: float | None,
    *,
    count: int,
    peers: dict[str, float] | None = None,
) -> Row:
    plain = _entries(len(persisted))
    found = ratios(rounds({"dict": make(plain), "own": make(persisted)}, count), "dict")
    return Row(what, found["own"], goal, peers=peers or {})


def _keys(mapping: MutableMapping[str, Any], few: int | None = None) -> list[str]:
    """Many keys in random order, the same for all; if `few`, of so many different ones."""
    rng = random.Random(1)
    chosen = sorted(mapping) if few is None else rng.sample(sorted(mapping), few)
    return rng.choices(chosen, k=WRITES)


def _writes(mapping: MutableMapping[str, Any], few: int | None = None) -> Job:
    keys = _keys(mapping, few)

    def job() -> None:
        for key in keys:
            mapping[key] = 1

    return job


def _nested_writes(mapping: MutableMapping[str, Any]) -> Job:
    keys = _keys(mapping)

    def job() -> None:
        for key in keys:
            mapping[key]["seen"] += 1

    def fresh() -> None:
        for key in mapping:
            mapping[key] = {"seen": 0}

    fresh()
    return job


def _reads(mapping: MutableMapping[str, Any]) -> Job:
    keys = _keys(mapping)

    def job() -> None:
        for key in keys:
            mapping[key]

    return job


def _shelve(folder: Path, size: int, count: int, *, write: bool) -> dict[str, float]:
    """The same on a shelf, on far fewer keys."""
    keys = [f"key-{number % size}" for number in range(SHELVE_KEYS)]
    plain = _entries(size)
    with shelve.open(str(folder / f"access-{write}"), "c") as shelf:
        shelf.update(plain)

        def on(mapping: MutableMapping[str, Any]) -> Job:
            def job() -> None:
                for key in keys:
                    if write:
                        mapping[key] = 1
                    else:
                        mapping[key]

            return job

        times = rounds({"dict": on(plain), "shelve": on(shelf)}, count)
    return ratios(times, "dict")

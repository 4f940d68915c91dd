"""What attributes of `@persisted` objects cost, in times of those of the class as it was."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import autostate
from autostate.tracking.scan import Scan
from benchmarks.measure import Job, Row, ratios, rounds, seconds

WRITES = 100_000


@dataclass
class Crawl:
    """A dataclass."""

    number: int
    page: int = 1
    url: str = "https://example.com"
    seen: list[str] = field(default_factory=list)
    stock: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class SlottedCrawl:
    """One with slots."""

    number: int
    page: int = 1
    url: str = "https://example.com"
    seen: list[str] = field(default_factory=list)
    stock: dict[str, int] = field(default_factory=dict)


class Observed(Crawl):
    """One that is told of each assignment, by a `__setattr__` in Python that does nothing else."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


def rows(folder: Path, *, size: int, count: int) -> Iterator[Row]:
    """Measure attributes of objects that have been saved, and a look at all objects.

    Args:
        folder: Where files may be left.
        size: How many objects are looked at.
        count: How many rounds.
    """
    with autostate.open(f"sqlite:///{folder / 'objects.db'}"):
        classes: list[Any] = [Crawl, SlottedCrawl]
        for cls in classes:
            decorated: Any = autostate.persisted(name=f"{cls.__name__}-{{number}}")(cls)
            both = {"plain": cls(1), "own": decorated(1)}
            autostate.flush()
            writes = {name: _write(crawl) for name, crawl in {**both, **_peers()}.items()}
            yield _row(f"attribute write, {cls.__name__}", writes, count)
            reads = {name: _read(crawl) for name, crawl in both.items()}
            yield _row(f"attribute read, {cls.__name__}", reads, count)
    yield _look(folder, size, count)


def _row(what: str, jobs: dict[str, Job], count: int) -> Row:
    found = ratios(rounds(jobs, count), "plain")
    return Row(what, found.pop("own"), 1.2, peers=found)


def _peers() -> dict[str, Any]:
    """Objects that notice assignments otherwise."""
    import wrapt
    from persistent import Persistent

    zodb: Any = type("Crawl", (Persistent,), {"__module__": __name__})()
    zodb.page = 1
    return {"ZODB": zodb, "wrapt": wrapt.ObjectProxy(Crawl(1)), "__setattr__": Observed(1)}


def _write(crawl: Any) -> Job:
    # A function of its own for each: the interpreter specialises it for one class.
    names: dict[str, Any] = {}
    exec(f"def job(crawl):\n  for n in range({WRITES}): crawl.page = n", names)  # noqa: S102
    return lambda: names["job"](crawl)


def _read(crawl: Any) -> Job:
    names: dict[str, Any] = {}
    exec(f"def job(crawl):\n  for n in range({WRITES}): crawl.page", names)  # noqa: S102
    return lambda: names["job"](crawl)


def _look(folder: Path, size: int, count: int) -> Row:
    """Look at many objects of which none has changed."""
    with autostate.open(f"sqlite:///{folder / 'look.db'}") as manager:
        cls: Any = autostate.persisted(name="crawl-{number}")(Crawl)
        kept = [cls(number) for number in range(size)]
        autostate.flush()
        assert manager._incarnation is not None
        tracker = manager._incarnation.tracker
        took = statistics.median(seconds(lambda: _pull(tracker)) for _ in range(count * 3))
    return Row(
        "a look at an object that has not changed",
        took / len(kept) * 1e6,
        None,
        unit="µs",
        note=f"of {size:,}; all are looked at in each cut",
    )


def _pull(tracker: Any) -> None:
    with tracker.lock:
        tracker.part(Scan).collect()

"""Attributes of `@persisted` objects, in times of those of the class as it was."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.measure import SHORT, Job, Plan, Row, medians, ratios, rounds, spread

TITLE: Final = "Attributes of objects"


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


def rows(plan: Plan) -> Iterator[Row]:
    """Measure attributes of objects that have been saved."""
    with (
        tempfile.TemporaryDirectory() as folder,
        autostate.open(Path(folder, "objects.db")),
    ):
        classes: list[Any] = [Crawl, SlottedCrawl]
        for cls in classes:
            decorated: Any = autostate.persisted(name=f"{cls.__name__}-{{number}}")(cls)
            both = {"plain class": cls(1), "autostate": decorated(1)}
            autostate.flush()
            jobs = {name: _write(each, plan.writes) for name, each in {**both, **_peers()}.items()}
            yield _row(f"write, {cls.__name__}", jobs, plan)
            jobs = {name: _read(each, plan.writes) for name, each in both.items()}
            yield _row(f"read, {cls.__name__}", jobs, plan)


def _row(what: str, jobs: dict[str, Job], plan: Plan) -> Row:
    times = rounds(jobs, plan.rounds * SHORT)
    found = ratios(times, "plain class")
    own = found.pop("autostate")
    return Row(
        what,
        statistics.median(own),
        1.2,
        peers=medians(found),
        spread=spread(own),
        rounds={
            name: [each / plan.writes for each in times[name]]
            for name in ("plain class", "autostate")
        },
    )


def _peers() -> dict[str, Any]:
    """Make objects that notice assignments otherwise."""
    found: dict[str, Any] = {"a __setattr__": Observed(1)}
    if importlib.util.find_spec("persistent"):
        from persistent import Persistent

        zodb: Any = type("Crawl", (Persistent,), {"__module__": __name__})()
        zodb.page = 1
        found["ZODB"] = zodb
    if importlib.util.find_spec("wrapt"):
        import wrapt

        found["wrapt"] = wrapt.ObjectProxy(Crawl(1))
    return found


def _write(crawl: Any, count: int) -> Job:
    # A function of its own for each: the interpreter specialises it for one class.
    names: dict[str, Any] = {}
    exec(f"def job(crawl):\n  for n in range({count}): crawl.page = n", names)  # noqa: S102
    return lambda: names["job"](crawl)


def _read(crawl: Any, count: int) -> Job:
    names: dict[str, Any] = {}
    exec(f"def job(crawl):\n  for n in range({count}): crawl.page", names)  # noqa: S102
    return lambda: names["job"](crawl)

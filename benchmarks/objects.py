"""Attributes of `@persisted` objects, in times of those of the class as it was."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import autostate
from benchmarks.measure import SHORT, Job, Plan, Row, ratios, rounds

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
            both = {"plain": cls(1), "own": decorated(1)}
            autostate.flush()
            jobs = {name: _write(each, plan.writes) for name, each in {**both, **_peers()}.items()}
            yield _row(f"write, {cls.__name__}", jobs, plan.rounds)
            jobs = {name: _read(each, plan.writes) for name, each in both.items()}
            yield _row(f"read, {cls.__name__}", jobs, plan.rounds)


def _row(what: str, jobs: dict[str, Job], count: int) -> Row:
    found = ratios(rounds(jobs, count * SHORT), "plain")
    return Row(what, found.pop("own"), 1.2, peers=found)


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

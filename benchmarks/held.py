"""Containers in the state that the program also holds: they can change without a mark.

Each save has to look at them. What is measured is a save in which nothing has changed, or one
thing, in times of encoding all of them once.

    python -m benchmarks.held KIND COUNT ROUNDS
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

import autostate
from benchmarks.measure import CALM, Plan, Row, in_process, seconds, spread

TITLE: Final = "Containers that the program also holds"
GOAL: Final = 3


@dataclass
class Shop:
    """A plain dataclass."""

    number: int
    visits: int
    name: str


def _change(container: Any, number: int) -> None:
    container["seen"] = number


def _change_item(container: Any, number: int) -> None:
    container[0] = number


def _change_deep(container: Any, number: int) -> None:
    container["inner"]["seen"] = number


def _change_attribute(container: Any, number: int) -> None:
    container.visits = number


KINDS: Final[dict[str, tuple[Callable[[int], Any], Callable[[Any, int], None]]]] = {
    "dicts": (lambda n: {"number": n, "seen": 0, "name": f"shop {n}"}, _change),
    "lists": (lambda n: [n, 0, f"shop {n}"], _change_item),
    "nested dicts": (lambda n: {"inner": {"seen": 0}, "name": f"shop {n}"}, _change_deep),
    "dataclasses": (lambda n: Shop(n, 0, f"shop {n}"), _change_attribute),
}


def rows(plan: Plan) -> Iterator[Row]:
    """Measure each kind in a process of its own."""
    for kind in KINDS:
        found = in_process("held", kind, plan.held, plan.rounds)
        encode = statistics.median(found["encode"])
        for what in ("nothing", "one"):
            yield Row(
                f"{plan.held:,} {kind}, {what} changed",
                statistics.median(found[what]) / encode,
                GOAL,
                spread=spread(found[what], encode),
                rounds={"encoding": found["encode"], "autostate": found[what]},
            )


def main(kind: str, count: int, rounds: int) -> dict[str, list[float]]:
    """Measure, in seconds."""
    make, change = KINDS[kind]
    times: dict[str, list[float]] = {"encode": [], "nothing": [], "one": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        autostate.open(Path(folder, "held.db"), **CALM),
    ):
        kept = [make(number) for number in range(count)]
        state = autostate.PersistedDict[int, Any]("shops")
        for number, container in enumerate(kept):
            state[number] = container
        autostate.flush()
        for number in range(rounds):
            times["encode"].append(seconds(lambda: msgspec.json.encode(kept)))
            times["nothing"].append(seconds(autostate.flush))
            change(kept[number], number + 1)
            times["one"].append(seconds(autostate.flush))
    return times


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))

"""How much a test does, and what a campaign found: figures for the table of `docs/reliability.md`.

By default a test that could go through thousands of places goes through some of them, others each
time. `make fuzz` sets `AUTOSTATE_EXAMPLES`, and each campaign has a variable for its size.

A test with the marker `campaign` is a part of the campaign of that name. What it has tried and
found is told at its end, and added, one JSON object a line, to the file that `CAMPAIGN_RESULTS`
names. `tests/reliability.py` makes the table of it.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypedDict, TypeVar

T = TypeVar("T")

LONG: Final = "AUTOSTATE_EXAMPLES" in os.environ
"""Whether this is a long run."""
RESULTS: Final = "CAMPAIGN_RESULTS"
SHOWN: Final = 5
"""So many of the trials that went wrong are shown."""


def sampled(rng: random.Random, places: Iterable[T], count: int) -> list[T]:
    """All places in a long run, else at most so many of them, in their order."""
    found = [*places]
    if LONG or len(found) <= count:
        return found
    return [found[index] for index in sorted(rng.sample(range(len(found)), count))]


def size(name: str, short: int) -> int:
    """How many trials a part of a campaign has: as the variable says, or as many as are quick."""
    return int(os.environ.get(f"CAMPAIGN_{name}", str(short)))


class Figures(TypedDict):
    """A line of the file of results."""

    campaign: str
    trials: int
    lost: int
    silent: int
    kinds: dict[str, int]
    notes: list[str]
    seconds: float
    seed: int


@dataclass
class Tally:
    """What a part of a campaign has tried and found.

    Attributes:
        trials: How many times something was made to go wrong.
        lost: After how many of them something was missing that had been acknowledged.
        silent: After how many of them something was wrong, and no error said so.
        kinds: How many of the trials were of which kind, if that is counted.
        wrong: Some of those that went wrong.
        notes: Figures beside the counts, which the summary shows.
    """

    trials: int = 0
    lost: int = 0
    silent: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tried(self, trials: int = 1) -> None:
        """Count trials in which all was well; those in which it was not raise an error."""
        self.trials += trials

    def found(self, what: object, *, lost: bool = False, silent: bool = False) -> None:
        """Count one trial.

        Args:
            what: Where it was, and what was found.
            lost: Something that had been acknowledged was not there.
            silent: Something was wrong, and no error said so.
        """
        self.trials += 1
        self.lost += lost
        self.silent += silent
        if (lost or silent) and len(self.wrong) < SHOWN:
            self.wrong.append(str(what))

    def note(self, line: str) -> None:
        """Let the summary show a line."""
        self.notes.append(line)

    def check(self) -> None:
        """Fail if anything was lost, or wrong without a word."""
        assert self.lost + self.silent == 0, f"{self}"

    def record(self, name: str, *, failed: bool, seconds: float, seed: int) -> Figures:
        """Return the figures, and add them to the file of results, if there is one.

        A test that failed without having counted a loss counts as one.
        """
        lost = self.lost or int(failed and not self.silent)
        figures: Figures = {
            "campaign": name,
            "trials": self.trials or 1,
            "lost": lost,
            "silent": self.silent,
            "kinds": dict(self.kinds),
            "notes": self.notes,
            "seconds": round(seconds, 1),
            "seed": seed,
        }
        if path := os.environ.get(RESULTS):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
        return figures


def summed(parts: Iterable[Figures]) -> list[Figures]:
    """Add up the figures of the parts of each campaign, in the order of their names."""
    found: dict[str, Figures] = {}
    for part in parts:
        empty: Figures = {
            **part,
            "trials": 0,
            "lost": 0,
            "silent": 0,
            "kinds": {},
            "notes": [],
            "seconds": 0.0,
        }
        whole = found.setdefault(part["campaign"], empty)
        whole["trials"] += part["trials"]
        whole["lost"] += part["lost"]
        whole["silent"] += part["silent"]
        whole["seconds"] += part["seconds"]
        whole["notes"] += part["notes"]
        whole["kinds"] = dict(Counter(whole["kinds"]) + Counter(part["kinds"]))
    return [found[name] for name in sorted(found)]

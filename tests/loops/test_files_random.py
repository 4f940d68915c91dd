"""Loops over files that grow, left at random places in random ways: each line is given once."""

from __future__ import annotations

import csv
import gzip
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from autostate import resume
from tests.loops.loops import opened, process

RUNS: Final = int(os.environ.get("EXAMPLES", "6"))
FILE: Final = Path("lines")


def _text(opener: Callable[..., Any] = open, **options: Any) -> Any:
    opened.append(opener(FILE, "rt", encoding="utf-16", **options))
    return opened[-1]


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode("utf-16"))


READERS: Final[dict[str, Callable[[], Any]]] = {
    "text": _text,
    "text as it is": lambda: _text(newline=""),
    "rows": lambda: csv.reader(_text(newline="")),
    "rows with names": lambda: csv.DictReader(_text(newline=""), ["number", "text"]),
    "gzip": lambda: _text(gzip.open),
}


class _Case:
    """One file, and what loops over it have given so far."""

    def __init__(self, kind: str, chance: random.Random) -> None:
        self.make = READERS[kind]
        self.encode = _packed if kind == "gzip" else lambda text: text.encode("utf-16")
        self.ends = '"a\r\nb"' if kind.startswith("rows") else "é"
        self.chance = chance
        self.batch = chance.choice([None, None, 1, 3, 7])
        self.lines: list[str] = []
        self.given: list[Any] = []

    def grow(self) -> None:
        """Add lines to the file; the last one may have no end yet."""
        if self.lines and not self.lines[-1].endswith("\n"):
            self.lines[-1] += "\n"
        more = self.chance.choice([0, 1, 5, 31, 40])
        for _ in range(more):
            self.lines.append(f"{len(self.lines)},{self.chance.choice(['', self.ends])}\n")
        if more and self.chance.random() < 0.4:
            self.lines[-1] = self.lines[-1].removesuffix("\n")
        FILE.write_bytes(self.encode("".join(self.lines)))

    def go_on(self, stop: int) -> None:
        """Take so many items of the loop, and leave it in some way."""
        loop = resume("loop", self.make(), batch=self.batch)
        how = self.chance.choice(["break", "raise", "done"])
        with suppress(KeyError):
            for number, item in enumerate(loop):
                items = item if self.batch else [item]
                if number < stop or how == "done":
                    self.given += map(repr, items)
                if number == stop:
                    if how == "raise":
                        raise KeyError
                    if how == "done":
                        loop.done()
                    break
                for each in items:
                    if isinstance(each, dict | list):
                        each.clear()

    def run(self) -> None:
        """Grow and go on a few times, to the end of the file at last."""
        for _ in range(self.chance.randrange(1, 6)):
            self.grow()
            process(lambda: self.go_on(self.chance.choice([0, 1, 5, 40])))
        process(lambda: self.go_on(10_000))


@pytest.mark.parametrize("kind", READERS)
def test_each_line_is_given_once(kind: str, isolated: Path) -> None:
    """Whatever happened before; a line that got its end meanwhile is the same line."""
    for run in range(RUNS):
        seed = random.randrange(10**9)
        (isolated / f"{run}").mkdir()
        os.chdir(isolated / f"{run}")
        case = _Case(kind, random.Random(seed))
        case.run()
        found = [each.replace(r"\r", "").replace(r"\n'", "'") for each in case.given]
        expected = [repr(each).replace(r"\r", "").replace(r"\n'", "'") for each in case.make()]
        assert found == expected, f"seed {seed}"

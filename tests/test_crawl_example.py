"""The demo: it runs, and its books find what they are there to find.

`make kills` has all three crawls, with more kills. Here the site is small, the containers are
forks, and the crawls without autostate are left out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from examples.crawl.books import compare
from examples.crawl.demo import main

ROOT: Final = Path(__file__).parent.parent
LONG: Final = "CAMPAIGN_KILLS" in os.environ
OPTIONS: Final = ["--kills", "8"] if LONG else ["--kills", "1", "--pages", "120", "--no-peers"]

EXACT: Final = {"counted": "ab", "items": "ab", "charges": 2, "left": 0}
"""The books of two pages."""
FAULTS: Final[dict[str, tuple[dict[str, Any], dict[str, int]]]] = {
    "nothing": ({}, {}),
    "a page counted twice": ({"counted": "aab"}, {"counted_twice": 1}),
    "an item pushed three times": ({"items": "aaab"}, {"items_twice": 2}),
    "a page charged twice": ({"charges": 3}, {"charged_twice": 1}),
    "a page not counted": ({"counted": "a"}, {"lost": 1}),
    "an item missing": ({"items": "b"}, {"lost": 1}),
    "a charge missing": ({"charges": 1}, {"lost": 1}),
    "a request not handled": ({"left": 1}, {"left": 1}),
    "a page that is none": ({"items": "abx"}, {"others": 1}),
}
"""What is done to them, and what is to be found."""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_books_show(fault: str) -> None:
    """Each way in which a crawl can be wrong is found, and nothing else."""
    change, expected = FAULTS[fault]
    found: dict[str, Any] = {**EXACT, **change}
    counted, items = Counter(found.pop("counted")), Counter(found.pop("items"))
    books = compare("ab", counted, items, **found)
    none = dict.fromkeys(("counted_twice", "items_twice", "charged_twice", "lost", "left"), 0)
    assert asdict(books) == {**none, "others": 0, **expected}
    assert books.is_exact is (not expected)


@pytest.mark.campaign(name="kills")
@pytest.mark.usefixtures("forked_actors")
def test_a_killed_crawl_is_exact(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The main job: `make demo` finds nothing twice with autostate, and nothing lost."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the demo is not a process of its own
    monkeypatch.setattr(sys, "argv", ["demo", *OPTIONS])
    monkeypatch.chdir(ROOT)
    assert main() == 0, capsys.readouterr().out

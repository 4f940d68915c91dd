"""The demo: it runs, and its comparison finds what it is there to find.

Three crawls of all of pydoc's pages take a minute and a half; `make kills` has them, over SQLite
too, where `tests/crash` kills as well. Here the site is of some modules, the containers are forks,
one kill and a migration meet the crawl with autostate, and that with `use_state` is left out.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.crawl.compare import differences
from examples.crawl.demo import main
from examples.crawl.progress import Progress, Written

ROOT = Path(__file__).parent.parent
LONG = "CAMPAIGN_KILLS" in os.environ
STORES = ["apify:", "sqlite"] if LONG else ["apify:"]
OPTIONS = ["--kills", "2"] if LONG else ["--kills", "1", "--modules", "25", "--no-peer"]


@pytest.fixture
def state() -> dict[str, Any]:
    """The state of a crawl of two pages and an error."""
    return {
        "pages": {
            "a": {"title": "A", "words": 3, "links": 2},
            "b": {"title": "B", "words": 1, "links": 1},
        },
        "links": {"a": {"b"}, "b": {"a"}, "c": {"a"}},
        "words": Counter({"one": 3, "two": 1}),
        "errors": {"c": "Error"},
        "timings": [timedelta(seconds=1), timedelta(seconds=2)],
        "cookies": {"python": "3"},
        "settings": {"concurrency": 4, "started": datetime(2026, 1, 1, tzinfo=UTC)},
        "queue": set(),
    }


def test_a_state_with_another_order_and_other_times_is_the_same(state: dict[str, Any]) -> None:
    """Kills may change the order of pages and when they were read, and nothing else."""
    other = copy.deepcopy(state)
    other["pages"] = dict(reversed(state["pages"].items()))
    other["timings"] = [timedelta(seconds=9), timedelta(seconds=7)]
    assert differences(state, other) == []


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "page lost": lambda state: state["pages"].pop("a"),
    "page counted twice": lambda state: state["words"].update(["one"]),
    "timing lost": lambda state: state["timings"].pop(),
    "link lost": lambda state: state["links"]["c"].clear(),
    "queue not empty": lambda state: state["queue"].add("d"),
    "error lost": lambda state: state["errors"].clear(),
    "cookie lost": lambda state: state["cookies"].clear(),
    "set came back as a list": lambda state: state["links"].update(c=["a"]),
    "counter came back as a dict": lambda state: state.update(words=dict(state["words"])),
    "moment came back as text": lambda state: state["settings"].update(started="2026"),
    "setting changed": lambda state: state["settings"].update(concurrency=5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_sees(state: dict[str, Any], fault: str) -> None:
    """Each way in which a state can be wrong is found."""
    other = copy.deepcopy(state)
    FAULTS[fault](other)
    assert differences(state, other)


def test_a_page_saved_and_crawled_again_is_noticed() -> None:
    """Pages that were there at the save before the last acknowledged one must not come again."""
    job = Progress("job")
    job.page("a", now=1.0)
    job.flushed(records=1, size=10)
    job.page("b", now=2.0)
    job.flushed(records=1, size=10)
    job.killed()
    job.page("b", now=3.0)
    assert (job.twice, job.forgotten) == (1, set())
    job.page("a", now=4.0)
    assert (job.twice, job.forgotten) == (2, {"a"})
    assert (job.saves, job.written) == (2, Written(2, 20))


@pytest.mark.campaign(name="kills")
@pytest.mark.parametrize("store", STORES)
@pytest.mark.usefixtures("forked_actors")
def test_a_killed_crawl_ends_as_an_undisturbed_one(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The main job: `make demo` finds no difference that the contract does not allow."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the demo is not a process of its own
    monkeypatch.setattr(sys, "argv", ["demo", *OPTIONS, "--store", store])
    monkeypatch.chdir(ROOT)
    assert main() == 0, capsys.readouterr().out

"""`make sharing-scale` works: runs that share state, in virtual time. Counts are judged here."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from benchmarks.sharing import BEGIN, END, calls, demand, page
from benchmarks.sharing_runs import observe
from benchmarks.simulated_stores import TERMS, service
from benchmarks.virtual_time import World

ROOT: Final = Path(__file__).parent.parent
RUNS: Final = 6


def test_a_call_on_apify_is_few_requests() -> None:
    """A publication is three, however many runs there are; a refresh is one for each run.

    Both look for two marks.
    """
    found = calls("apify", RUNS)
    assert found.publication.requests == {"PUT": 1, "GET": 2}
    assert found.refresh.requests == {"list": 1, "GET": RUNS + 2}
    assert found.afterwards.requests["GET"] < RUNS, "a fold has taken them in"


def test_a_call_on_s3_is_few_requests() -> None:
    """A publication is two, however many runs there are; a refresh is one for each run, and two.

    No publication replaces the index, which all would have to wait for.
    """
    found = calls("s3", RUNS)
    assert found.publication.requests == {"PUT": 1, "GET": 1}
    assert found.refresh.requests == {"LIST": 1, "GET": RUNS + 1}
    assert found.afterwards.requests["GET"] < RUNS, "a fold has taken them in"
    at_once = observe("s3", 40, 30.0)
    assert not at_once.failed
    assert not at_once.refused
    assert at_once.requests["PUT"] == pytest.approx(at_once.wanted, rel=0.05)


@pytest.mark.parametrize("kind", TERMS)
def test_a_publication_is_one_request_elsewhere(kind: str) -> None:
    """And so is a refresh."""
    if kind not in ("apify", "s3"):
        found = calls(kind, RUNS)
        assert found.publication.requests.total() == 1
        assert found.refresh.requests.total() == 1


@pytest.mark.parametrize("kind", ["apify", "redis"])
def test_runs_ask_for_what_follows_from_their_calls(kind: str) -> None:
    """Nothing is refused, and all that they do together is counted."""
    found = observe(kind, RUNS, 100.0)
    assert not found.failed
    assert not found.refused
    asked = demand(kind, RUNS, {RUNS: calls(kind, RUNS)}, 1)
    assert sum(found.requests.values()) == pytest.approx(asked.requests.total(), rel=0.15)
    assert found.published == pytest.approx(found.wanted, rel=0.05)
    assert found.lag is not None


def test_a_store_refuses_what_exceeds_its_rate() -> None:
    """And nothing else."""
    world = World()
    made = service("apify", world)

    def ask() -> None:
        store = made.store()
        for _ in range(5):
            store.write({"key": b"{}"})

    for _ in range(40):
        world.start(ask)
    world.run(10.0)
    assert (made.requests, made.refused) == ({"PUT": 200}, 0)
    for _ in range(300):
        world.start(ask, 15.0)
    world.run(60.0)
    assert made.refused
    assert made.requests == {"PUT": 1_700}, "they are sent again"


def test_programs_wait_on_one_clock() -> None:
    """Who sleeps for less goes first, and no time passes."""
    world, said = World(), Counter[str]()

    def program(name: str, seconds: float) -> None:
        for _ in range(3):
            world.sleep(seconds)
            said[f"{name} {world.now:g}"] += 1

    world.start(lambda: program("slow", 100.0))
    world.start(lambda: program("fast", 1.0), at=150.0)
    world.run(250.0)
    assert [*said] == ["slow 100", "fast 151", "fast 152", "fast 153", "slow 200"]


def test_the_page_has_what_its_command_prints() -> None:
    """And names the command, which is there."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "`make sharing-scale`" in text
    command = r"^sharing-scale:.*\n\t.* -m benchmarks\.sharing --into docs/scale\.md"
    assert re.search(command, makefile, re.MULTILINE)
    printed = [*page(["apify", "sqlite"], sizes=(4, 6), counts=(4,))]
    written = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    heads = [line for line in printed if line.startswith("|  |")]
    assert heads
    assert [line for line in written if line.startswith("|  |")][:3] == heads[:3]
    for title in ("Apify", "SQLite"):
        ours = sum(line.startswith(f"| {title} |") for line in printed)
        assert ours == 1 + 2 + 1 + 1
        assert sum(line.startswith(f"| {title} |") for line in written) == 1 + 3 + 4 + 1

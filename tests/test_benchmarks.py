"""`make bench` and `make scale` work. How long something took is not judged here; counts are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document
from benchmarks.__main__ import TOPICS
from benchmarks.entries import DICTS
from benchmarks.measure import Row
from benchmarks.peers import AUTOMATIC, LIMIT, PEERS
from benchmarks.scale import flushes
from benchmarks.shapes import SHAPES, Shape
from benchmarks.worker import Worker

ROOT = Path(__file__).parent.parent
CHANGES = [("fill", 30), ("replace", 9), ("held", 5), ("alter", 8), ("add", 7), ("remove", 7)]
IN_PROCESS = [name for name, peer in PEERS.items() if name not in {LIMIT, AUTOMATIC, "use_state"}]
"""Those that live in this process, beside the limit."""
ROWS = [
    "300: dict of dicts, 1 % changed inside",
    "300: set, 1 % added",
    "objects, 100 % changed inside",
    "dataclasses, one changed",
    "write, small dict",
    "read, small dict",
    "write, Crawl",
    "read, SlottedCrawl",
    "an item of a list",
    "durable(), the worst",
    "full collection",
    "containers in containers",
    "import autostate",
    "three keys, resumed",
    "the most, during the first save",
    "a small dict: wake-ups",
]


def test_the_benchmark_measures_every_row(isolated: Path) -> None:
    """It runs on small sizes, without peers that are not installed, and prints all figures."""
    command = [sys.executable, "-m", "benchmarks", "--plan", "tiny", "--into", str(isolated)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row for row in ROWS if row not in done.stdout] == []
    assert [
        each.TITLE for each in TOPICS.values() if f"{each.TITLE}: Load" not in done.stdout
    ] == []
    page = (isolated / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [row for row in ROWS if row.split(": ")[-1].split(", ")[-1] not in page] == []


@pytest.mark.parametrize("name", [name for name in IN_PROCESS if PEERS[name].installed])
def test_participants_apply_the_same_changes(name: str, isolated: Path) -> None:
    """What is compared is comparable."""
    states = []
    for each in (LIMIT, name):
        folder = isolated / each
        folder.mkdir()
        worker = Worker(PEERS[each].make(folder, DICTS), DICTS)
        for operation, number in CHANGES:
            assert worker.do(operation, number).keys() == {"seconds", "saving"}
        participant: Any = worker.participant
        states.append(dict(participant.state))
        participant.close()
    assert states[0] == states[1]
    assert len(states[0]) == 30


def test_a_goal_is_met_by_all_own_figures_and_beside_the_rival() -> None:
    """Else the row says what is missed."""
    assert Row("one", 1.4, 1.5, own={"automatic": 1.5}).met == "met"
    assert Row("one", 1.4, 1.5, own={"automatic": 1.6}).met == "missed"
    assert Row("one", 1.4, 1.5, peers={"other": 1.3}, rival="other").met == "behind other"
    assert Row("one", 1.4, 1.5, peers={"other": 1.3}).met == "met"
    assert not Row("one", 1.4, None).met


def test_the_readme_quotes_figures_of_the_page() -> None:
    """Both are written by the same run."""
    block = re.compile(f"{document.BEGIN}(.*?){document.END}", re.DOTALL)
    [quoted] = block.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    [measured] = block.findall(document.PAGE.read_text(encoding="utf-8"))
    assert quoted == measured


def test_the_plots_of_the_page_are_there() -> None:
    """And there are no others."""
    shown = set(re.findall(r"\]\(performance/(.+?)\)", document.PAGE.read_text(encoding="utf-8")))
    assert shown == {path.name for path in (ROOT / "docs" / "performance").iterdir()}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_flush_of_one_entry_costs_the_same_for_any_size(
    shape: type[Shape], isolated: Path
) -> None:
    """One changed entry: as many bytes, and as many entries looked at, ten times as large."""
    small, large = (
        {one.changed: one for one in flushes(shape, size, isolated, shares=(0.0,), rounds=1)}
        for size in (400, 4_000)
    )
    assert small["first save"].bytes * 5 < large["first save"].bytes
    # The numbers of entries have a digit more; and 1,000 bytes are less than ten entries.
    assert large["1"].bytes <= small["1"].bytes + 100 < 1_000
    assert large["1"].entries <= small["1"].entries <= 64
    assert large["nothing, compared"].bytes == 0


def test_the_scale_is_printed(isolated: Path) -> None:
    """The command prints a table for the sizes that it is given."""
    command = [sys.executable, "-m", "benchmarks.scale", "--size", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [shape.what for shape in SHAPES if shape.what not in done.stdout] == []

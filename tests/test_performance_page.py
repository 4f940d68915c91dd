"""The performance page is made of what runs have recorded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from benchmarks import document
from benchmarks.measure import PLANS, Row, spread
from benchmarks.peers import ALONE, AUTOMATIC, LIMIT, OWN, OWN_ALONE
from benchmarks.plots import draw, plots
from benchmarks.results import FOLDER, Result, Section, record, recorded, renewed

CASE = {"shape": "dicts", "operation": "alter", "size": 100, "number": 1}
SAVE = Row(
    "1 % changed inside of values",
    4.0,
    1.5,
    own={"automatic": 5.0},
    peers={"rocksdict": 2.0, "lmdb": 6.0, "ZODB, BTree": 7.0, "shelve": 8.0, "use_state": 9.0},
    rival="rocksdict",
    group="100: dict of dicts",
    data={"case": CASE},
    spread=(3.5, 4.5),
    rounds={
        LIMIT: [0.001, 0.001, 0.001],
        OWN: [0.0035, 0.004, 0.0045],
        AUTOMATIC: [0.005],
        "rocksdict": [0.002],
        "use_state": [0.009],
        ALONE: [0.0008],
        OWN_ALONE: [0.003],
    },
)
UNCHANGED = Row(
    "nothing changed", 0.4, None, "ms", group="100: dict of dicts", rounds={OWN: [4e-4]}
)
MEMORY = Row(
    "dict of 100 dicts, after the first save",
    1.2,
    1.3,
    rounds={"plain dict": [4e8], "autostate": [4.8e8]},
    of="B",
)
IDLE = [
    Row("a small dict: wake-ups", 3.0, 60.0, "a minute"),
    Row("a small dict: processor time", 7.0, None, "ms a minute"),
]
LARGE = Row("first save", 3.0, 1.5, group="10,000,000: set", rounds={LIMIT: [2.0], OWN: [6.0]})


def result(plan: str, *sections: Section) -> Result:
    """Make what a run records."""
    return Result(plan, ["a machine"], {LIMIT: "`fdatasync`"}, sections)


USUAL = result(
    "usual",
    Section("Saving", "In times of the limit.", "Load 0.", [SAVE, UNCHANGED]),
    Section("Memory", "In times of a plain dict.", "Load 0.", [MEMORY]),
    Section("An idle program", "What it costs.", "Load 0.", IDLE),
)
FULL = result("full", Section("Saving", "In times of the limit.", "Load 1.", [LARGE]))


def written(folder: Path, *results: Result) -> str:
    """Record results, and give the page that is made of them."""
    for each in results:
        record(each, folder / "results")
    return document.write(recorded(folder / "results"), folder).read_text(encoding="utf-8")


def test_what_was_recorded_is_read_again(isolated: Path) -> None:
    """Rows with all their rounds, by section; a float keeps five digits."""
    record(USUAL, isolated)
    [found] = recorded(isolated)
    assert [row.title for row in found.rows] == [row.title for row in USUAL.rows]
    assert found.rows[0].rounds == SAVE.rounds
    assert found.rows[0].data == SAVE.data
    assert [section.load for section in found.sections] == ["Load 0."] * 3


def test_a_section_that_is_measured_again_names_its_commit() -> None:
    """The others stay, and keep their places."""
    row = Row("a dict", 2.0, None)
    later = Result(
        "usual",
        ["a machine", "commit 5b38257"],
        {},
        [Section("Memory", "Again.", "Load 2.", [row])],
    )
    found = renewed(USUAL, later)
    assert [section.title for section in found.sections] == ["Saving", "Memory", "An idle program"]
    assert [section.load for section in found.sections] == [
        "Load 0.",
        "Load 2. Measured at commit 5b38257.",
        "Load 0.",
    ]
    assert found.sections[1].rows == [row]
    assert found.machine == USUAL.machine


def test_each_table_has_one_unit(isolated: Path) -> None:
    """The caption names it; cells hold figures alone."""
    page = written(isolated, USUAL)
    assert "Times of the yardstick (×):\n\n|  | autostate | rounds | automatic | goal |" in page
    assert "| 1 % changed inside of values | 4 | 3.5–4.5 | 5 | ≤ 1.5 ✗ | **2** | 6 |" in page
    assert "In a minute:" not in page
    assert "Times a minute:\n\n|  | autostate | goal |" in page
    assert "In ms a minute:\n\n|  | autostate |" in page
    cells = [cell for line in page.split("## How")[0].splitlines() for cell in line.split("|")[2:]]
    assert not [cell for cell in cells if re.search(r"\d (×|ms|µs|MB)", cell)]


def test_times_stand_beside_the_figures(isolated: Path) -> None:
    """Medians of yardstick and autostate, with the spread of their rounds."""
    page = written(isolated, USUAL)
    absolute = page.split("In ms:\n\n")[1]
    assert absolute.startswith(f"|  | {LIMIT} | {OWN} | {AUTOMATIC} | {ALONE} | {OWN_ALONE} |")
    assert "| 1 % changed inside of values | 1 (1–1) | 4 (3.5–4.5) | 5 | 0.8 | 3 |" in absolute
    assert "| nothing changed |  | 0.4 |  |  |  |" in absolute
    assert "| dict of 100 dicts, after the first save | 0.4 | 0.48 |" in page.split("In GB:")[1]


def test_many_peers_have_a_table_of_their_own(isolated: Path) -> None:
    """The two that take part everywhere stay beside autostate."""
    page = written(isolated, USUAL)
    assert "|  | autostate | ZODB, BTree | shelve | use_state |" in page
    assert "| 1 % changed inside of values | 4 | 7 | 8 | 9 |" in page


def test_large_states_have_a_part_of_their_own(isolated: Path) -> None:
    """It is there if `make bench-full` has recorded anything, and the rest stays as it was."""
    before = written(isolated, USUAL)
    assert "## Larger states" not in before
    page = written(isolated, FULL)
    usual, _, large = page.partition("## Larger states")
    assert before.startswith(usual)
    assert "#### 10,000,000: set" in large
    assert "In s:\n\n|  | limit | autostate, flush() |" in large


def test_the_page_begins_with_what_a_reader_has_to_know(isolated: Path) -> None:
    """What it costs, what it is better at, what else to take; the README quotes that."""
    readme = isolated / "README.md"
    readme.write_text(f"Before\n{document.BEGIN}old\n{document.END}after\n", encoding="utf-8")
    page = written(isolated, USUAL)
    begin = page.split(document.BEGIN)[1].split(document.END)[0]
    quoted = readme.read_text(encoding="utf-8")
    assert quoted == f"Before\n{document.BEGIN}{begin}{document.END}after\n"
    assert "A save takes 4 to 4 times as long" in begin
    assert "a state takes 1.2 times the memory of a plain dict" in begin.lower()
    assert "faster than those of `lmdb` (1 of 1), `ZODB, BTree` (1 of 1)" in begin
    assert "`rocksdict` in 1 of 1 (median: 2 times as fast)" in begin
    assert "| 100 entries: 1 % changed inside of values | 4 | 1 | 2 |  |  | 9 |" in begin
    assert "Missed are 1 of 3 goals" in page


def test_the_page_of_the_project_is_made_of_what_was_recorded() -> None:
    """`make bench ARGS=--page` writes it again, when its form has changed."""
    results = recorded(FOLDER)
    if results:  # what has never been measured has no page of this form
        assert document.text(results) == document.PAGE.read_text(encoding="utf-8")


def test_plots_of_earlier_runs_are_removed(isolated: Path) -> None:
    """The page shows those of this one."""
    pytest.importorskip("matplotlib")
    folder = isolated / "docs" / "performance"
    folder.mkdir(parents=True)
    (folder / "old.svg").touch()
    assert "performance/old.svg" not in written(isolated, USUAL)
    assert not [*folder.iterdir()]


def test_plots_stay_if_nothing_can_draw_others(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make test` does not install matplotlib."""
    (isolated / "old.svg").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    draw(plots(FULL.rows), isolated)
    assert (isolated / "old.svg").exists()


def test_the_spread_is_that_of_quartiles_where_rounds_are_many() -> None:
    """One round has none; of a few it is the least and the most."""
    assert spread([2.0]) is None
    assert spread([2.0, 6.0, 4.0], by=2.0) == (1.0, 3.0)
    assert spread([float(number) for number in range(1, 12)]) == (3.0, 9.0)


def test_large_states_are_measured_beside_few() -> None:
    """So that all of that can be run."""
    plan = PLANS["full"]
    assert plan.brief
    assert set(plan.topics) == {"saving", "stalls", "collecting", "rehydration", "memory"}

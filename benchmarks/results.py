"""What was measured, recorded in files of JSON: the page is made of what several runs recorded.

The first line of a file tells of the run; each further line is a row, with all its rounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import ROOT
from benchmarks.measure import Row

FOLDER: Final = ROOT / "benchmarks" / "results"
DIGITS: Final = 5
"""Of a recorded figure."""


@dataclass(frozen=True)
class Section:
    """What one topic measured.

    Attributes:
        title: The heading.
        about: What the figures are.
        load: How busy the machine was.
        rows: The figures.
    """

    title: str
    about: str
    load: str
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What one run measured.

    Attributes:
        plan: The name of its plan.
        machine: On what it ran, in lines.
        durable: What makes the saves of each participant durable.
        sections: The topics.
    """

    plan: str
    machine: Sequence[str]
    durable: Mapping[str, str]
    sections: Sequence[Section]

    @property
    def rows(self) -> list[Row]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section.rows]


def record(result: Result, folder: Path) -> None:
    """Write a result to a file named for its plan."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(_rounded(line), ensure_ascii=False) for line in _lines(result))
    (folder / f"{result.plan}.jsonl").write_text(text + "\n", encoding="utf-8")


def renewed(former: Result, later: Result) -> Result:
    """Put sections of a later run in the place of the former ones; each names its commit."""
    commit = next(line for line in later.machine if line.startswith("commit"))
    new = {
        section.title: replace(section, load=f"{section.load} Measured at {commit}.")
        for section in later.sections
    }
    kept = [new.pop(section.title, section) for section in former.sections]
    return replace(former, sections=[*kept, *new.values()])


def recorded(folder: Path) -> list[Result]:
    """Read the results in a folder."""
    return [_read(path) for path in sorted(folder.glob("*.jsonl"))]


def _lines(result: Result) -> Iterator[dict[str, Any]]:
    head = asdict(result)
    for section in head["sections"]:
        del section["rows"]
    yield head
    for section in result.sections:
        for row in section.rows:
            yield {"section": section.title, **asdict(row)}


def _read(path: Path) -> Result:
    head, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    sections = {each["title"]: Section(**each) for each in head.pop("sections")}
    for row in rows:
        sections[row.pop("section")].rows.append(Row(**row))
    return Result(**head, sections=[*sections.values()])


def _rounded(value: Any) -> Any:
    """Give the value with so many digits of each float as mean something."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [*map(_rounded, value)] if isinstance(value, list | tuple) else value

"""What a person sees: a live table in a terminal, plain lines elsewhere, and the last table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.crawl.progress import Progress

LINES = 12
"""How many of the last notes the live view shows."""


def size(count: int) -> str:
    """Write a number of bytes for people."""
    return f"{count / 1000:,.0f} kB" if count < 10_000_000 else f"{count / 1_000_000:,.1f} MB"


class View:
    """Shows how the jobs go on. A context manager."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout)
        self._live = (
            Live(console=self._console, refresh_per_second=10)
            if self._console.is_terminal
            else None
        )
        self._notes: list[str] = []
        self._jobs: list[Progress] = []
        self._expected: int | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def expect(self, pages: int) -> None:
        """Say how many pages there are, once that is known."""
        self._expected = pages

    def note(self, line: str) -> None:
        """Show a line about something that happened."""
        self._notes.append(line)
        if self._live is None:
            print(line, flush=True)

    def show(self, progress: Progress) -> None:
        """Show where a job stands."""
        if progress not in self._jobs:
            self._jobs.append(progress)
        if self._live is not None:
            notes = Text("\n".join(self._notes[-LINES:]), style="dim")
            self._live.update(Group(self._table(), notes))

    def _table(self) -> Table:
        table = Table(title="autostate: a crawl that is killed, and goes on", expand=True)
        for column in ("job", "container", "state"):
            table.add_column(column)
        table.add_column("pages", ratio=1)
        for column in ("", "twice", "saves", "written", "unsaved for"):
            table.add_column(column, justify="right")
        now = time.monotonic()
        for job in self._jobs:
            table.add_row(
                job.title,
                str(job.containers),
                job.state,
                ProgressBar(total=self._expected, completed=len(job.crawled)),
                str(len(job.crawled)),
                str(job.twice),
                str(job.saves),
                size(job.written.bytes),
                f"{job.staleness(now):.1f} s",
            )
        return table


@dataclass(frozen=True)
class Result:
    """How a job ended.

    Attributes:
        job: How it went.
        lost: The pages that its state lacks.
        differences: What else its state has that an undisturbed crawl's has not.
    """

    job: Progress
    lost: Collection[str]
    differences: list[str]


def final_table(results: Sequence[Result]) -> None:
    """Print how the jobs ended, side by side."""
    table = Table(
        title="The same crawl, undisturbed and under the same kills",
        caption="In the first job pydoc renders each page for the first time.",
    )
    table.add_column("")
    for result in results:
        table.add_column(result.job.title, justify="right")
    for name, cell in ROWS.items():
        table.add_row(name, *(cell(result) for result in results))
    Console(file=sys.stdout).print(table)


ROWS: dict[str, Callable[[Result], str]] = {
    "containers": lambda result: str(result.job.containers),
    "pages crawled": lambda result: str(len(result.job.crawled)),
    "crawled twice": lambda result: str(result.job.twice),
    "pages lost": lambda result: str(len(result.lost)),
    "saves": lambda result: str(result.job.saves),
    "records written": lambda result: str(result.job.written.records),
    "bytes written": lambda result: size(result.job.written.bytes),
    "seconds": lambda result: f"{result.job.seconds:.1f}",
    "state as undisturbed": lambda result: "no" if result.differences else "yes",
}

"""The progress of resumable loops and of copies, shown on a terminal by `rich`.

All of them share one display, because rich allows no second one at a time. The display has no
thread; it is drawn again when a loop moves on. An error of the display never reaches the loop: from
then on nothing is shown. A copy is shown like a loop over its kilobytes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN_AFTER: Final = 0.5
"""Seconds after which a loop is shown if the program did not ask for it."""
DRAWN_EVERY: Final = 0.1
"""Seconds between two drawings of a loop."""


def is_wanted(progress: bool | None) -> bool:
    """Tell whether to show a loop.

    Args:
        progress: The program's choice; None: it made none.
    """
    return progress is not False and _is_terminal(sys.stderr) and _has_rich()


def require() -> None:
    """Refuse to show progress without `rich`.

    Raises:
        ImportError: `rich` is not installed.
    """
    if not _has_rich():
        raise ImportError(
            "progress=True needs rich: pip install 'autostate[progress]'", name="rich"
        )


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is no stream, or it is closed
        return False


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


class Bar:
    """One loop in the display.

    Args:
        name: The name of the loop.
        done: The number of items that were done in earlier processes.
        total: The number of all items; None: not known.
        at_once: Show it now, however short the loop may be.
    """

    def __init__(self, name: str, done: int, total: int | None, *, at_once: bool) -> None:
        self._name = name
        self._done = done
        self._resumed = done
        self._total = total
        self._next = time.perf_counter() + (0 if at_once else SHOWN_AFTER)
        self._task: TaskID | None = None
        self._bytes: tuple[int, int] | None = None
        self._closed = False
        if at_once:
            self.move(done, self._next)

    def move(self, done: int, now: float, in_bytes: tuple[int, int] | None = None) -> None:
        """Show how far the loop is, unless it was drawn a moment ago.

        Args:
            done: The number of items that are done.
            now: The time of `time.perf_counter`.
            in_bytes: Of a file the number of bytes that are done, and of all.
        """
        self.note(done, in_bytes)
        if now >= self._next and not self._closed:
            self._next = now + DRAWN_EVERY
            try:
                if self._task is None:
                    self._task = _display.add(self._name, self._resumed, self._total)
                _display.move(self._task, done, self._bytes)
            except Exception:
                self._closed = True

    def note(self, done: int, in_bytes: tuple[int, int] | None) -> None:
        """Note how far the loop is, for the next drawing; see `move`."""
        self._done = done
        self._bytes = in_bytes if self._total is None else None

    def close(self) -> None:
        """Draw the bar for the last time."""
        closed, self._closed = self._closed, True
        if self._task is not None and not closed:
            with contextlib.suppress(Exception):
                _display.close(self._task, self._done, self._bytes)


class _Display:
    """The display of rich: a line for each running loop, and for loops that ended beside it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # loops of several threads share the display
        self._progress: Progress | None = None
        self._open: list[TaskID] = []

    def add(self, name: str, done: int, total: int | None) -> TaskID:
        """Add a loop."""
        with self._lock:
            if self._progress is None:
                self._progress = _make()
                self._progress.start()
            task = self._progress.add_task(name, completed=done, total=total, items=done, of=total)
            self._open.append(task)
            return task

    def move(self, task: TaskID, done: int, in_bytes: tuple[int, int] | None) -> None:
        """Draw how far a loop is."""
        with self._lock:
            if self._progress is not None:
                _update(self._progress, task, done, in_bytes)

    def close(self, task: TaskID, done: int, in_bytes: tuple[int, int] | None) -> None:
        """Draw a loop for the last time; a loop in the body of another one disappears."""
        with self._lock:
            progress = self._progress
            if progress is None:
                return
            _update(progress, task, done, in_bytes)
            self._open.remove(task)
            if self._open:
                progress.remove_task(task)
                progress.refresh()
            else:
                self._progress = None
                progress.stop()


_display: Final = _Display()


def _update(progress: Progress, task: TaskID, done: int, in_bytes: tuple[int, int] | None) -> None:
    """Draw how far a loop is: by bytes, if these are known, since its lines are not counted."""
    if in_bytes is None:
        progress.update(task, completed=done, items=done, refresh=True)
        return
    completed, total = in_bytes
    if progress.tasks[progress.task_ids.index(task)].total is None:  # what went before is no speed
        progress.reset(task, total=total, completed=completed)
    progress.update(task, completed=completed, total=total, items=done, refresh=True)


def _make() -> Progress:
    """Make the display; rich is imported here, when the first loop is shown."""
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        """A column with the items a second since this process began."""

        def render(self, task: progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            if speed and task.total and task.fields["of"] is None:  # by bytes
                speed *= task.fields["items"] / max(task.completed, 1)
            return Text("" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")

    class Count(progress.ProgressColumn):
        """A column with the number of items that are done, and of all."""

        def render(self, task: progress.Task) -> Text:
            of = "?" if task.fields["of"] is None else str(task.fields["of"])
            text = f"{task.fields['items']:{len(of)}d}/{of}"
            return Text(text, style="progress.download")

    class Percent(progress.ProgressColumn):
        """A column with the share that is done, if it is known."""

        def render(self, task: progress.Task) -> Text:
            text = "" if task.total is None else f"{task.percentage:>3.0f}%"
            return Text(text, style="progress.percentage")

    class Name(progress.TextColumn):
        """A column with the name of the loop, without any markup."""

        def render(self, task: progress.Task) -> Text:
            return Text(task.description, style="progress.description")

    return progress.Progress(
        Name(""),
        progress.BarColumn(),
        Percent(),
        Count(),
        Rate(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        redirect_stdout=_is_terminal(sys.stdout),  # else redirected output would go to the terminal
    )

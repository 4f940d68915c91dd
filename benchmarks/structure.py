"""How far a reader has to go: files on the way of an operation, circles of imports, lines.

make structure

An operation is followed in all threads: counted are the calls of the library's functions, the files
in which these stand, how often one is called that stands in another file than the last one
(*changes*), and how often that is a file that was left before (*returns*). A *circle* is a set of
modules in which each imports, in some steps, all others. A line of code has a token on it that is
neither a comment nor part of a docstring; a comment counts if it stands between such lines.
"""

from __future__ import annotations

import ast
import io
import os
import sys
import tempfile
import threading
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import grimp
from rich.console import Console
from rich.table import Table

import autostate
from autostate.tracking.node import Node
from benchmarks.measure import CALM

ROOT: Final = Path(autostate.__file__).parent


@dataclass
class Way:
    """The files through which one thread goes.

    Attributes:
        calls: How many functions of the library were called.
        files: How often each file was entered.
        changes: How often the file changed.
    """

    calls: int = 0
    files: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    now: str | None = None

    @property
    def returns(self) -> int:
        """How often a file was entered again that had been left."""
        return sum(times - 1 for times in self.files.values())

    def at(self, file: str) -> None:
        """Go to a file, or stay in it."""
        if file != self.now:
            self.changes += self.now is not None
            self.files[file] = self.files.get(file, 0) + 1
            self.now = file


class Followed:
    """Follows the library's functions in all threads that begin in a block, and in this one.

    Attributes:
        ways: The way of each thread.
    """

    def __init__(self) -> None:
        self.ways: dict[int, Way] = {}
        self.counting = False
        self._inside = str(ROOT) + os.sep

    def __enter__(self) -> Self:
        threading.setprofile(self._seen)
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _seen(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if self.counting and event == "call" and file.startswith(self._inside):
            way = self.ways.setdefault(threading.get_ident(), Way())
            way.calls += 1
            way.at(file)


def followed(operation: Callable[[Callable[[], None]], None]) -> tuple[int, int, int, int]:
    """Count on the way of an operation: calls, files, changes and returns.

    Args:
        operation: Calls what it is given when it is to be counted from there on.
    """
    with Followed() as all_of_it:

        def begin() -> None:
            all_of_it.ways.clear()
            all_of_it.counting = True

        operation(begin)
        all_of_it.counting = False
    ways = all_of_it.ways.values()
    files = {name for way in ways for name in way.files}
    return (
        sum(way.calls for way in ways),
        len(files),
        sum(way.changes for way in ways),
        sum(way.returns for way in ways),
    )


def flush_of_an_int(begin: Callable[[], None]) -> None:
    """Save one value of a dict by `flush()`."""
    state = autostate.PersistedDict[str, int]("ints", page=0)
    for _ in range(2):
        state["page"] += 1
        autostate.flush()
    state["page"] += 1
    begin()
    autostate.flush()


def rehydration(begin: Callable[[], None]) -> None:
    """Create a state object that is there."""
    with autostate.open("sqlite:///rehydrated.db", **CALM):
        autostate.PersistedDict("ints", page=0)
    with autostate.open("sqlite:///rehydrated.db", **CALM):
        begin()
        autostate.PersistedDict("ints")


def call_of_a_class(begin: Callable[[], None]) -> None:
    """Create an object of a `@persisted` class."""

    @autostate.persisted
    class Shop:
        def __init__(self) -> None:
            self.visits = 0

    @autostate.persisted
    class Other:
        def __init__(self) -> None:
            self.visits = 0

    Other()
    begin()
    Shop()


def two_items(begin: Callable[[], None]) -> None:
    """Go through two items with `resume`."""
    list(autostate.resume("first", [1, 2]))
    begin()
    for _ in autostate.resume("second", [1, 2]):
        pass


OPERATIONS: Final = (flush_of_an_int, rehydration, call_of_a_class, two_items)


def circles(package: str = "autostate") -> list[list[str]]:
    """Give the circles of imports, also of those inside functions, the largest first."""
    graph = grimp.build_graph(package)
    edges = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    reached = {name: _reached(name, edges) for name in edges}
    found = {
        tuple(sorted({name, *(one for one in reached[name] if name in reached[one])}))
        for name in edges
    }
    return sorted(map(list, (one for one in found if len(one) > 1)), key=len, reverse=True)


def _reached(name: str, edges: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(edges[name])
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left += edges.get(one, ())
    return seen


def lines(text: str) -> tuple[int, int]:
    """Count the lines of code in a file, and those of comments at code."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    code, comments = set[int](), set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if not token.string.startswith(("# noqa", "# type:", "# pragma")):
                comments.add(token.start[0])
        elif token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings), len(comments)


_LAYOUT: Final = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def files() -> Iterator[Path]:
    """Give the files of the library, without its support of tests."""
    for path in sorted(ROOT.rglob("*.py")):
        if "testing" not in path.relative_to(ROOT).parts:
            yield path


def main() -> None:
    """Print it."""
    console = Console(width=100)
    table = Table("operation", "calls", "files", "changes", "returns", title="On the way")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for operation in OPERATIONS:
            with autostate.open(f"sqlite:///{operation.__name__}.db", **CALM):
                counts = followed(operation)
            table.add_row((operation.__doc__ or "").rstrip("."), *map(str, counts))
        os.chdir("/")
    console.print(table)
    found = circles()
    console.print(f"circles of imports: {len(found)}; modules in them: {[*map(len, found)]}")
    counted = [lines(path.read_text("utf-8")) for path in files()]
    code, comments = (sum(each) for each in zip(*counted, strict=True))
    console.print(f"slots of Node: {len(Node.__slots__)}")
    console.print(f"lines of code: {code:,} in {len(counted)} files")
    console.print(f"comments: {comments:,}, {comments / code:.1%} of the lines of code")


if __name__ == "__main__":
    main()

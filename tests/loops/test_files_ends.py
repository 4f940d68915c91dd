"""Loops over files that are odd: wrapped, of no known class, or with a last line without an end."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate.loops.run
from autostate import ResumeError, resume
from autostate.containers.position import position
from autostate.runtime.api import current_manager
from tests.loops.loops import leave, opened, process, take

LOG = Path("a.log")
DONE = "".join(f"{at},x\n" for at in range(50))
"""More lines than always get a fingerprint."""


@pytest.fixture
def no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass in loops: after the first items no fingerprint is due."""
    monkeypatch.setattr(autostate.loops.run, "_clock", lambda: 1.0)


def lines(mode: str = "r") -> Any:
    """Open the log."""
    opened.append(LOG.open(mode, newline=None if "b" in mode else ""))
    return opened[-1]


KINDS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "text": (lines, {}),
    "bytes": (lambda: lines("rb"), {}),
    "rows": (lambda: csv.reader(lines()), {}),
    "rows with names": (lambda: csv.DictReader(lines(), ["a", "b"]), {}),
    "batches": (lines, {"batch": 7}),
    "rows by key": (lambda: csv.reader(lines()), {"key": lambda row: row[-1]}),
}


@pytest.mark.usefixtures("no_samples")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [DONE, ""])
def test_a_last_line_that_became_another_one_is_refused(kind: str, before: str) -> None:
    """What was added to it would be gone over by nobody; what was added behind it is gone over."""
    make, options = KINDS[kind]
    LOG.write_text(f"{before}50,par")
    leave(make, 99, **options)
    assert leave(make, 99, **options) == []
    LOG.write_text(f"{before}50,partial\n51,y\n")
    with pytest.raises(ResumeError, match="is not the one that was done"):
        leave(make, 99, **options)
    LOG.write_text(f"{before}50,par\n51,y\n")
    assert len(leave(make, 99, **options)) == 1
    LOG.write_text(f"{before}50,par\n51,y\n52,z")
    assert len(leave(make, 99, **options)) == 1


@pytest.mark.usefixtures("no_samples")
def test_a_body_may_change_the_last_row() -> None:
    """The next process reads it as it was."""
    LOG.write_text(DONE)

    def run() -> int:
        done = 0
        for row in resume("loop", csv.reader(lines())):
            row.clear()
            done += 1
        return done

    assert process(run) == 50
    assert process(run) == 0


@pytest.mark.usefixtures("no_samples")
def test_a_line_that_grows_at_the_end_of_the_loop_is_not_taken_for_done() -> None:
    """What was done is known up to where a fingerprint was taken."""
    LOG.write_text(f"{DONE}50,par")

    class Growing(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
            line = super().readline(-1 if size is None else size)
            if not line:
                end = self.tell()
                self.write("tial\n")
                self.seek(end)
            return line

    file = Growing(LOG.read_text())
    assert len(list(resume("loop", file))) == 51
    assert file.readline() == "tial\n"
    assert list(resume("loop", Growing(f"{DONE}50,partial\n"))) == []


class Counted(io.StringIO):
    """A file that counts what is read."""

    read_lines = 0

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """Read a line."""
        self.read_lines += 1
        return super().readline(-1 if size is None else size)


class Packed(gzip.GzipFile):
    """A compressed file that counts how often another place is looked for."""

    seeks = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self.seeks += whence == 0  # else it asks where it is
        return super().seek(offset, whence)


@pytest.mark.usefixtures("no_samples")
def test_only_a_line_without_an_end_is_read_twice() -> None:
    """From the last fingerprint on; a compressed file is not read from its beginning for it."""
    plain, cut = Counted(DONE), Counted(DONE[:-1])
    assert len(list(resume("plain", plain))) == len(list(resume("cut", cut))) == 50
    assert plain.read_lines == 51
    assert cut.read_lines == 51 + 18
    with gzip.open("a.gz", "wt") as file:
        file.write(DONE[:-1])
    with Packed("a.gz") as packed, io.TextIOWrapper(packed) as text:
        assert len(list(resume("compressed", text))) == 50
    assert packed.seeks == 1  # to its beginning, where it is


@pytest.mark.parametrize("mode", ["w+", "w+b"])
@pytest.mark.parametrize("make", [tempfile.NamedTemporaryFile, tempfile.SpooledTemporaryFile])
def test_a_temporary_file_is_a_file(make: Any, mode: str) -> None:
    """No line is dropped when a loop goes on, also if all are equal; and there is an end."""
    with make(mode=mode) as file:
        line: Any = "same\n" if mode == "w+" else b"same\n"
        file.writelines([line] * 50)
        file.seek(0)
        loop = resume("loop", file)
        assert take(loop, 10) == [line] * 10
        assert list(loop) == [line] * 41


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_that_reads_from_the_file_is_refused(kind: str) -> None:
    """The next process would take what it has read for items, or leave items out."""
    make, options = KINDS[kind]
    LOG.write_text(DONE)

    def run() -> None:
        for number, _ in enumerate(resume("loop", make(), **options)):
            assert number < 2
            if number:
                next(opened[-1])

    with pytest.raises(ResumeError, match="Let a generator read"):
        process(run)
    done = process(lambda: position(current_manager(), "loop")["position"][0])
    assert done == (7 if options.get("batch") else 1)


class Arrays(io.BytesIO):
    """A file whose lines are of another type."""

    def readline(self, size: int | None = -1, /) -> Any:
        """Read a line."""
        return bytearray(super().readline(-1 if size is None else size))


def test_lines_may_be_of_another_type() -> None:
    """Of these it is not known how they end."""
    assert list(resume("loop", Arrays(b"a\nb\nc"))) == [b"a\n", b"b\n", b"c"]


class Shouting(io.StringIO):
    """A file whose items are not its lines."""

    def __iter__(self) -> Any:
        return (line.upper() for line in self.getvalue().splitlines())


class Numbers(io.StringIO):
    """The same, said in another way."""

    def __next__(self) -> Any:
        return int(super().__next__())


def test_a_class_of_files_may_have_items_of_its_own() -> None:
    """They are gone over, as a plain loop does."""
    assert leave(lambda: Shouting("a\nb\nc"), 2) == ["A", "B"]
    assert leave(lambda: Shouting("a\nb\nc"), 9) == ["B", "C"]
    found: list[Any] = list(resume("numbers", Numbers("1\n2")))
    assert found == [1, 2]


def test_a_range_may_be_longer_than_any_sequence() -> None:
    """So its length is not known; nor is one that cannot be told."""

    class Odd(list[int]):
        def __len__(self) -> int:
            raise NotImplementedError

    assert leave(lambda: range(2**70), 3) == [0, 1, 2]
    assert leave(lambda: range(2**70), 2) == [2, 3]
    assert take(resume("odd", Odd([1, 2, 3]), progress=False), 9) == [1, 2, 3]


def test_a_buffer_over_a_compressed_file_counts_compressed_bytes() -> None:
    """All of them were read ahead."""
    with gzip.open("a.gz", "wt") as file:
        file.writelines(f"{at}\n" for at in range(1000))
    with gzip.open("a.gz") as packed, io.TextIOWrapper(io.BufferedReader(packed)) as text:
        source = autostate.loops.files.file_source(text)
        assert source is not None
        text.readline()
        done, size = source.bytes(text.tell()) or (0, 0)
        assert done == size == Path("a.gz").stat().st_size


def _calls(make: Callable[[], Any], length: int) -> int:
    """Count the calls of one run over so many lines."""
    LOG.write_text("x\n" * length)
    loop = resume(f"{length}", make(), restart=True)
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    for _ in loop:
        pass
    sys.setprofile(None)
    return calls


@pytest.mark.usefixtures("no_samples")
@pytest.mark.parametrize("kind", ["text", "bytes", "rows"])
def test_an_item_costs_three_calls(kind: str) -> None:
    """The generator goes on, the position is written, and the clock is read."""
    make, _ = KINDS[kind]
    _calls(make, 100)
    assert _calls(make, 1_100) - _calls(make, 100) < 3.5 * 1_000  # a save may come in between

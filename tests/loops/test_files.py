"""Loops over files and readers of `csv` seek to where they were, and know how far they are."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import ResumeError, resume
from autostate.containers.position import position
from autostate.loops.files import Lines, Rows, file_source
from autostate.loops.source import source_of
from autostate.runtime.api import current_manager
from tests.loops.loops import leave, opened, process, take

ROWS = [["name", "text"], *([f"é{at}", f'a,{at}\n"b"'] for at in range(9))]


def written(opener: Callable[..., Any] = open) -> Path:
    """A table with a row that takes several lines; made at the first time."""
    path = Path("table.csv")
    if not path.exists():
        with opener(path, "wt", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(ROWS)
    return path


def table(opener: Callable[..., Any] = open) -> Any:
    """Open the table."""
    opened.append(opener(written(opener), "rt", newline="", encoding="utf-8"))
    return opened[-1]


def after_header() -> Any:
    """Open the table, and read its header line."""
    file = table()
    assert file.readline() == "name,text\r\n"
    return file


READERS: dict[str, Callable[[], Iterable[Any]]] = {
    "reader": lambda: csv.reader(table()),
    "reader after the header": lambda: csv.reader(after_header()),
    "names in the file": lambda: csv.DictReader(table()),
    "given names": lambda: csv.DictReader(after_header(), ["one", "two"]),
    "names that were asked for": lambda: _asked(csv.DictReader(table())),
    "StringIO": lambda: csv.reader(io.StringIO(written().read_bytes().decode(), newline="")),
    "gzip": lambda: csv.reader(table(gzip.open)),
    "bz2": lambda: csv.DictReader(table(bz2.open)),
    "xz": lambda: table(lzma.open),
    "binary gzip": lambda: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b"a\nb\nc\nd\ne\nf"))),
}


def _asked(reader: csv.DictReader[str]) -> Iterable[Any]:
    assert reader.fieldnames == ["name", "text"]
    return reader


@pytest.mark.parametrize("kind", READERS)
def test_a_loop_goes_on_over(kind: str) -> None:
    """Each kind of reader, from process to process, to its end and not beyond."""
    make = READERS[kind]
    everything = process(lambda: list(make()))
    assert len(everything) >= 6
    found = leave(make, 3)[:2] + leave(make, 1)[:0] + leave(make, 3)[:2] + leave(make, 99)
    assert found == everything
    assert leave(make, 99) == []


@pytest.mark.parametrize("kind", ["reader", "names in the file", "given names"])
def test_rows_are_not_read_from_the_beginning(kind: str) -> None:
    """The next process seeks to a row that was remembered; those before may be anything."""
    make = READERS[kind]
    expected = list(make())
    done = len(leave(make, len(expected) - 1)) - 1
    assert process(lambda: position(current_manager(), "loop")["position"])[0] == done
    text = written().read_bytes()
    where = text.index("é3".encode())
    written().write_bytes(text[:where] + b'"x' + text[where + 2 :])  # no row ends after that
    assert leave(make, 99) == expected[done:]


def test_rows_that_changed_are_found() -> None:
    """As those of any other source, and no value is told."""
    leave(READERS["reader"], 6)
    text = written().read_bytes()
    written().write_bytes(text.replace("é3".encode(), b"x3 "))
    with pytest.raises(ResumeError, match="item 4") as caught:
        leave(READERS["reader"], 1)
    assert "x3" not in str(caught.value)


def test_a_place_where_no_row_can_begin_is_refused() -> None:
    """The reader raises an error of its own there."""

    def make() -> Any:
        return csv.reader(table(), strict=True)

    leave(make, 6)
    text = written().read_bytes()
    written().write_bytes(text.replace("é3,".encode(), b'"x"z'))
    with pytest.raises(csv.Error):
        list(make())
    with pytest.raises(ResumeError, match="item 4"):
        leave(make, 1)


def test_a_loop_that_is_left_goes_on_in_one_process() -> None:
    """The header is read once."""
    reader = csv.DictReader(table())
    rows = [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]
    for check in (True, False):
        loop = resume(f"loop {check}", reader, check=check)
        assert take(loop, 2) == rows[:2]
        assert reader.fieldnames == ROWS[0]
        assert list(loop) == rows[1:]
        reader = csv.DictReader(table())


def test_a_reader_that_has_begun_is_an_iterator() -> None:
    """Nothing tells where it is; nor does a reader of something else than a file."""
    for make in (
        lambda: csv.reader(["a,b", "c,d"]),
        lambda: _begun(csv.reader(table())),
        lambda: csv.reader(line for line in table()),
    ):
        assert file_source(make()) is None
        assert source_of(make()).once
        expected = list(make())
        assert [*leave(make, 2)[:1], *leave(make, 99)] == expected
        process(lambda: autostate.delete("loop"))


def _begun(reader: Any) -> Any:
    next(reader)
    return reader


def test_bytes_tell_how_far_it_is() -> None:
    """Of a compressed file those that are compressed; of a pipe nothing does."""
    size = written().stat().st_size
    for make in (table, lambda: written().open("rb"), lambda: io.BytesIO(written().read_bytes())):
        file = make()
        opened.append(file)
        source = Lines(file)
        assert source.bytes(None) is None
        assert source.bytes(file.tell()) == (0, size)
        file.readline()
        assert source.bytes(file.tell()) == (len(b"name,text\r\n"), size)
        file.seek(0, os.SEEK_END)
        assert source.bytes(file.tell()) == (size, size)
    written().unlink()
    file = table(gzip.open)
    source = Rows(file, csv.reader(file))
    assert source.bytes(file.tell()) == (0, written().stat().st_size)
    file.read()
    assert len({*(source.bytes(file.tell()) or ())}) == 1
    Path("long.gz").write_bytes(gzip.compress(os.urandom(3_000_000)))
    with gzip.open("long.gz") as long:
        long.read(1_000_000)
        at, size = Lines(long).bytes(0) or (0, 0)
    assert 0.3 < at / size < 0.4
    empty = io.BytesIO()
    assert Lines(empty).bytes(0) is None


def test_the_share_of_a_file_is_known() -> None:
    """Its lines are not counted for that."""
    with autostate.open("memory:"):
        shares = []
        for _ in resume("loop", table()):
            [walk] = current_manager().loops()
            assert walk.done_of[1] is None  # type: ignore[attr-defined]  # ty: ignore[unresolved-attribute]
            shares.append(walk.share)  # type: ignore[attr-defined]  # ty: ignore[unresolved-attribute]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] > 0.8
        for _ in resume("other", [1]):
            [walk] = current_manager().loops()
            assert walk.share is None  # type: ignore[attr-defined]  # ty: ignore[unresolved-attribute]


def test_a_table_with_fewer_rows_than_were_done_is_told_so() -> None:
    """Not that a row is another one: that would send the user looking for it."""
    leave(lambda: csv.DictReader(table()), 8)
    path = written()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    with pytest.raises(ResumeError, match=r"there are fewer items \(3\) than were done \(7\)"):
        leave(lambda: csv.DictReader(table()), 1)

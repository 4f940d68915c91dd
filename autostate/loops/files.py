"""Loops over the lines of a file, and over the rows of a reader of `csv`.

Lines are read by `readline`, because iterating a text file disables `tell`. A reader of `csv`
iterates its file, so another one is made, with the same dialect, that gets its lines from
`readline`. It keeps nothing from one row to the next: when the file is set to the place of a row,
that row is the next.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple

from autostate.loops.source import Check, Checker, Last, Source, skip

_OFFSET: Final = 2**64 - 1
"""The part of what `tell` of a text file returns that is a number of bytes."""


_ENDS: Final[dict[type, tuple[Any, ...]]] = {str: ("\n", "\r"), bytes: (b"\n",)}
"""How lines end, by their type."""


class Lines(Source):
    """A file.

    Args:
        file: The file.
        iterable: What the program has given, if not the file: what reads or wraps it.
    """

    def __init__(self, file: Any, iterable: Any = None) -> None:
        super().__init__(file if iterable is None else iterable)
        self.once: bool = False
        self.tell: Callable[[], int] | None = file.tell
        self._file = file
        self._start: int = file.tell()
        self._size: _Size | None = None

    def total(self) -> int | None:
        """Return None: the number of lines is not known."""
        return None

    def bytes(self, place: int | None) -> tuple[int, int] | None:
        """Give how many bytes lie before the next line, and how many there are.

        Of a compressed file these are compressed bytes, and all that were read ahead count.
        """
        descriptor, size = self._measured()
        if size is None or place is None:
            return None
        if descriptor is not None:
            place = os.lseek(descriptor, 0, os.SEEK_CUR)
        return min(place & _OFFSET, size), size

    def _measured(self) -> _Size:
        if self._size is None:
            self._size = _size_of(self._file)
        return self._size

    def begin(self, checker: Checker) -> Iterator[Any]:
        """Give the lines that are not done yet, after comparing some of the done ones."""
        at, check = 0, checker.recent
        items = self._items()
        if check is not None and check.place is not None and check.number in checker.indexes:
            if 0 in checker.indexes and check.number:
                checker.check(0, next(items, None))
            at = check.number
            try:
                self._file.seek(check.place)
                item = next(items, None)
            except Exception:  # in the middle of a character, or of a row
                item = None
            if not checker.matches(at, item):
                self._refuse_shortened(checker)
            checker.check(at, item)
            at += 1
        skip(items, at, checker)
        return items

    def _refuse_shortened(self, checker: Checker) -> None:
        """Say so if there are fewer items than were done: of a file all have to be read for it."""
        try:
            length = sum(1 for _ in islice(self._items(), checker.done))
        except Exception:  # what it holds now may be no text, or no rows
            return
        if length < checker.done:
            checker.ends(length)

    def last(self, item: Any, number: int, near: Check) -> Last | None:
        """Give the last line if it has no end: it may get one, or become another line."""
        ends = _ENDS.get(type(item), ())
        if not ends or item.endswith(ends):
            return None
        end = ends[0]
        if near.number == number:
            return None if near.place is None else Last((item, item + end), near.place)
        found = self._read_last(number, near)
        return None if found is None else Last((item, item + end), found[1])

    def _read_last(self, number: int, near: Check) -> tuple[Any, int] | None:
        """Read the last item once more, to learn its place.

        Returns:
            The item, and where it begins; None if it is another one by now, or if that takes long.
        """
        if near.place is None or self._measured().descriptor is not None:
            return None  # to go back, a compressed file is read from its beginning
        end = self._file.tell()
        found = None
        with contextlib.suppress(Exception):  # it has changed, or the body has read from it, too
            items = self._items()
            self._file.seek(near.place)
            deque(islice(items, number - near.number), maxlen=0)
            place = self._file.tell()
            found = next(items), place
        if self._file.tell() == end:
            return found
        self._file.seek(end)  # the line has become longer
        return None

    def _items(self) -> Iterator[Any]:
        """Set the file to its first item, and give all."""
        self._file.seek(self._start)
        return self._lines()

    def _lines(self) -> Iterator[Any]:
        file = self._file
        if isinstance(file, (io.TextIOBase, io.BufferedIOBase, io.RawIOBase)):
            return iter(file.readline, "" if isinstance(file, io.TextIOBase) else b"")
        return takewhile(bool, iter(file.readline, None))  # no class tells which one it is


class Rows(Lines):
    """A reader of `csv` over a file.

    Args:
        file: The file.
        reader: A `csv.reader`, or a `csv.DictReader`, which has read nothing yet.
    """

    def last(self, item: Any, number: int, near: Check) -> Last | None:
        """Give the last row, as it is in the file: the body may have changed it."""
        found = None if near.number == number else self._read_last(number, near)
        return None if found is None else Last((found[0], found[0]), found[1])

    def _items(self) -> Iterator[Any]:
        import csv

        reader = self._iterable
        inner = getattr(reader, "reader", reader)
        self._file.seek(self._start)
        made: Any = csv.reader(self._lines(), inner.dialect)
        if inner is reader:
            return made  # type: ignore[no-any-return]
        reader.reader = made
        _ = reader.fieldnames  # reads the first line once, unless the names were given
        self._start = self._file.tell()
        return reader  # type: ignore[no-any-return]


class _Size(NamedTuple):
    """How the progress in a file is measured.

    Attributes:
        descriptor: The descriptor whose position counts; None: the place in the file counts.
        size: The number of bytes; None: not known.
    """

    descriptor: int | None
    size: int | None


def _size_of(file: Any) -> _Size:
    binary = getattr(file, "buffer", file)
    try:
        if isinstance(binary, (io.StringIO, io.BytesIO)):
            return _Size(None, len(binary.getvalue()) or None)
        descriptor = binary.fileno()
        size = os.fstat(descriptor).st_size
    except (OSError, ValueError, AttributeError):
        return _Size(None, None)
    plain = isinstance(getattr(binary, "raw", binary), io.FileIO)  # not a buffer over gzip
    return _Size(None if plain else descriptor, size or None)


def _is_file(iterable: Any) -> bool:
    if not isinstance(iterable, io.IOBase) or _has_own_items(type(iterable)):
        return False
    try:
        iterable.tell()
    except (OSError, ValueError):  # a pipe; or a text file from which next() has read a line
        return False
    return bool(iterable.seekable())


def _has_own_items(cls: type) -> bool:
    """Tell whether a class of files says itself what is iterated: that may be something else."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in sys.stdlib_module_names:
            return False
        if not {"__iter__", "__next__"}.isdisjoint(vars(base)):
            return True
    return False


def _unwrapped(iterable: Any) -> Any:
    """Give the file of a `tempfile.NamedTemporaryFile`, which is no file itself."""
    wrapper = getattr(sys.modules.get("tempfile"), "_TemporaryFileWrapper", None)
    return iterable if wrapper is None or type(iterable) is not wrapper else iterable.file


def _file_of(reader: Any) -> Any:
    """Give the file of a reader of `csv` that has read nothing yet; None if it has none.

    A reader has no attribute for what it iterates: the garbage collector knows.
    """
    names = getattr(sys.modules.get("csv"), "DictReader", None)
    if names is not None and isinstance(reader, names) and type(reader).__next__ is names.__next__:
        reader = reader.reader
    cls = type(reader)
    if (cls.__module__, cls.__qualname__) != ("_csv", "reader") or reader.line_num:
        return None
    return next(filter(_is_file, gc.get_referents(reader)), None)


def file_source(iterable: Any) -> Source | None:
    """Give the source for a file, or a reader of one; None if it is neither, or cannot seek."""
    file = _unwrapped(iterable)
    if _is_file(file):
        return Lines(file, iterable)
    file = _file_of(iterable)
    return None if file is None else Rows(file, iterable)

"""History: the commits that stay readable after a compaction, because the user has asked for that.

A *marker* ends each commit: a line with the number of the commit and the time. As a change it does
nothing, so that whoever replays the lines need not know of markers. The state of a commit results
from replaying the lines up to its marker.

A compaction keeps what it replaces as a *chapter*: a record that names the old snapshot and the
commits since, and the chapter before it. The head names the newest chapter. So the head stays
small, and a reader goes back from chapter to chapter. A snapshot ends with a *base*, a marker
without a number: the lines before it belong to no commit. Chapters are dropped as a whole, when all
their commits are older than what is to be kept; the head tells which number is the first that is
left.

`keeping.py` writes the history. Neither module is loaded where no history is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from autostate.errors import CorruptStateError
from autostate.journal.commit import references
from autostate.journal.head import Head, Log, Ref, open_head
from autostate.journal.record import segment_lines, whole
from autostate.journal.recovery import open_segment, read_lines
from autostate.journal.sighting import Sighting, check_owner_record, unchanging
from autostate.stores.base import Store

BASE: Final = b'{"id":0,"drop":[],"delete":true}'
"""The line after what belongs to no commit."""
_MARKER: Final = b'{"id":0,"drop":['  # no node has the id 0
_MARKER_END: Final = b'],"delete":true}'


class Marker(NamedTuple):
    """The end of a commit.

    Attributes:
        number: Its number; each commit has the next one.
        time: When it was made, in seconds since 1970.
    """

    number: int
    time: float

    @property
    def line(self) -> bytes:
        """The line that stands for it."""
        return b"%b%d,%.3f%b" % (_MARKER, self.number, self.time, _MARKER_END)


class Chapter(Struct, frozen=True, omit_defaults=True):
    """What a compaction has replaced.

    Attributes:
        first: The number of the first commit in it.
        last: The number of the last one.
        until: When that was made, in seconds since 1970.
        snapshot: As in a `Head`.
        commits: As in a `Head`.
        past: The record of the chapter before it.
    """

    first: int
    last: int
    until: float
    snapshot: tuple[Ref, ...] = ()
    commits: tuple[Ref, ...] = ()
    past: tuple[Ref, ...] = ()

    @property
    def replaced(self) -> Head:
        """What was replaced, like a head."""
        return Head(snapshot=self.snapshot, commits=self.commits)


class PastCommit(Struct, frozen=True):
    """A commit that is kept.

    Attributes:
        number: Its number.
        time: When it was made, in seconds since 1970.
        size: The bytes of its changes.
        roots: The names of the roots that it changed, or in which it changed something.
    """

    number: int
    time: float
    size: int
    roots: tuple[str, ...]


class _About(Struct):
    id: int
    name: str | None = None


_decode_marker: Final = msgspec.json.Decoder(tuple[int, float]).decode
_decode_chapter: Final = msgspec.json.Decoder(Chapter).decode
_decode_about: Final = msgspec.json.Decoder(_About).decode


def is_marker(line: bytes) -> bool:
    """Tell whether a line is a marker or a base."""
    return line.startswith(_MARKER)


def marker_of(line: bytes) -> Marker | None:
    """Read a marker; None for any other line."""
    if not is_marker(line) or line == BASE:
        return None
    return Marker(*_decode_marker(line[len(_MARKER) - 1 : 1 - len(_MARKER_END)]))


def chapters(
    store: Store, log: Log, timeout: float | None, known: dict[str, Chapter]
) -> Iterator[tuple[tuple[Ref, ...], Chapter]]:
    """Read the chapters that are kept, the newest first.

    Args:
        store: The store.
        log: The log of the head.
        timeout: The most seconds to wait for each answer of the store.
        known: The chapters that were read before, by the names of their records.

    Raises:
        CorruptStateError: A chapter is missing or damaged.
    """
    past, before = log.past, log.begun - 1
    while past and before >= log.first:
        chapter = known.get(past[0].name)
        if chapter is None:
            line = b"".join(whole(read_lines(store, past, timeout)))
            try:
                chapter = known[past[0].name] = _decode_chapter(line)
            except msgspec.MsgspecError as error:
                raise CorruptStateError(
                    f"a chapter of the history does not read: {error}"
                ) from None
        yield past, chapter
        past, before = chapter.past, chapter.first - 1


def newest_head(store: Store, sighting: Sighting, timeout: float | None) -> Head:
    """Give the newest head; an empty one if there is none.

    Raises:
        DamagedRecordError: A record is missing or damaged.
    """
    pin = check_owner_record(store, sighting, timeout)
    if not sighting.heads:
        return Head()
    key = sighting.heads[0].text
    return open_head(key, sighting.watched[key], pin)[0]


def keys_of(store: Store, log: Log, timeout: float | None, known: dict[str, Chapter]) -> set[str]:
    """List the keys of the records that the history needs."""
    found = chapters(store, log, timeout, known)
    refs = (ref for past, one in found for ref in chain(past, one.snapshot, one.commits))
    return {ref.key for ref in refs}


def _read(store: Store, heads: Sequence[Head], timeout: float | None) -> Iterator[Iterator[bytes]]:
    """Yield the lines of each head, with one call for all; each has to be read to its end."""
    found = store.read_many([ref.key for head in heads for ref in head.refs], timeout=timeout)
    for head in heads:
        opened = (open_segment(ref, next(found)) for ref in head.refs)
        segments = chain.from_iterable(segment_lines(each.body) for each in opened)
        yield whole(chain(map(bytes, head.nodes), segments, map(bytes, head.changes)))


def commits(store: Store, timeout: float | None) -> list[PastCommit]:
    """Read all commits that are kept, the oldest first.

    Raises:
        CorruptStateError: A record is missing or damaged.
        StoreError: The store could not be read.
    """

    def read(sighting: Sighting) -> list[PastCommit]:
        return [*_commits(store, newest_head(store, sighting, timeout), timeout)]

    return unchanging(store, timeout, read, "read")


def _commits(store: Store, head: Head, timeout: float | None) -> Iterator[PastCommit]:
    if head.log is None:
        return
    names = dict[int, str]()
    referrers = dict[int, set[int]]()
    older = [one.replaced for _, one in chapters(store, head.log, timeout, {})]
    for lines in _read(store, [*reversed(older), head], timeout):
        size, touched = 0, set[int]()
        found = list[PastCommit]()
        for line in lines:
            if not is_marker(line):
                about = _decode_about(line)
                if about.name is not None:
                    names[about.id] = about.name
                for each in references(line):
                    referrers.setdefault(each, set()).add(about.id)
                touched.add(about.id)
                size += len(line)
                continue
            marker = marker_of(line)
            if marker is None:
                found.clear()  # a history that has ended
            elif marker.number >= head.log.first:
                roots = _roots(touched, names, referrers)
                found.append(PastCommit(marker.number, marker.time, size, roots))
            size, touched = 0, set()
        yield from found


def _roots(
    touched: set[int], names: dict[int, str], referrers: dict[int, set[int]]
) -> tuple[str, ...]:
    """Name the roots that reach some nodes."""
    todo, seen = [*touched], set[int]()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += () if node in names else referrers.get(node, ())
    return tuple(sorted({names[node] for node in seen if node in names}))


def state_at(
    store: Store, timeout: float | None, *, number: int | None = None, time: float | None = None
) -> tuple[Marker, list[bytes]] | None:
    """Read the lines that make the state of a commit.

    Args:
        store: The store.
        timeout: The most seconds to wait for each answer of the store.
        number: The number of the commit.
        time: Else: of the last commit until this time.

    Returns:
        The marker of the commit, and the lines; None: there is no such commit.

    Raises:
        CorruptStateError: A record is missing or damaged.
        StoreError: The store could not be read.
    """

    def read(sighting: Sighting) -> tuple[Marker, list[bytes]] | None:
        head = newest_head(store, sighting, timeout)
        return _state_at(store, head, timeout, number, time)

    return unchanging(store, timeout, read, "read")


def _state_at(
    store: Store, head: Head, timeout: float | None, number: int | None, time: float | None
) -> tuple[Marker, list[bytes]] | None:
    first = 0 if head.log is None else head.log.first
    for heads in _sought(store, head, timeout, number, time):
        for generation in _read(store, heads, timeout):
            found: Marker | None = None
            end = 0
            lines: list[bytes] = []
            for line in generation:
                lines.append(line)
                if line == BASE:
                    found = None  # what was before it belongs to a history that has ended
                marker = marker_of(line)
                if marker is None or marker.number < first:
                    continue
                if marker.number == number or (time is not None and marker.time <= time):
                    found, end = marker, len(lines)
            if found is not None:
                return found, [line for line in lines[:end] if not is_marker(line)]
    return None


def _sought(
    store: Store, head: Head, timeout: float | None, number: int | None, time: float | None
) -> Iterator[list[Head]]:
    """Yield what may have a commit, the newest first, in groups that are read at once."""
    log = head.log
    if log is None:
        return
    if number is None or number >= log.begun:
        yield [head]
        if number is not None:
            return
    older = list[Head]()
    for _, one in chapters(store, log, timeout, {}):
        if number is None or number >= one.first:
            older.append(one.replaced)
            if number is not None or (time is not None and one.until <= time):
                break  # it has one; but clocks may go back, so that newer ones are read first
    yield older

"""Keeping the history: markers in commits, and chapters at compactions; see `history.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from msgspec import Raw, structs

from autostate.errors import CorruptStateError
from autostate.journal.head import Head, Keep, Log
from autostate.journal.history import BASE, Chapter, Marker, chapters, marker_of
from autostate.journal.recovery import lines_of, replay
from autostate.journal.replay import RawReplay
from autostate.journal.writer import Writer
from autostate.memory import encode
from autostate.stores.base import Store


def head_after(
    writer: Writer, changes: list[bytes], saved_at: float, keep: Keep, limit: int
) -> tuple[Head, dict[str, bytes]]:
    """Make the head after a commit that is marked, and the new segments that it names.

    The state never lies in the head as one line for each node: that would forget the commits.

    Args:
        writer: The writer of the state.
        changes: The changes of the commit.
        saved_at: The time.
        keep: What is to be kept.
        limit: The most bytes of last changes that lie in the head.
    """
    writer.noted = writer.noted or (saved_at, writer.clock())
    head, log = writer.head, writer.head.log
    before: list[bytes] = []
    if log is None:
        log, before = Log(*keep, 1, 1, 0), [BASE]
    number = log.number + 1
    log = Log(*keep, log.first, log.begun, number, log.past)
    tail = [*map(bytes, head.changes), *before]
    marker = Marker(number, saved_at).line
    if head.snapshot and sum(map(len, chain(tail, changes))) + len(marker) <= limit:
        lines = tuple(map(Raw, chain(tail, changes, (marker,))))
        return structs.replace(head, saved_at=saved_at, changes=lines, log=log), {}
    changes.append(marker)  # for a moment: its other lines may become views of the record
    try:
        refs, puts = writer.segments([*map(bytes, head.nodes), *tail], changes, head.refs)
    finally:
        changes.pop()
    if head.snapshot:
        return Head(saved_at, (), head.snapshot, head.commits + refs, log=log), puts
    return Head(saved_at, (), refs, log=log), puts


def noted(lines: Iterable[bytes], markers: list[Marker]) -> Iterator[bytes]:
    """Pass lines on; leave the last marker among them in a list.

    A base ends what was before it, which may be the markers of a history that has ended.
    """
    for line in lines:
        if line == BASE:
            markers.clear()
        elif (marker := marker_of(line)) is not None:
            markers[:] = [marker]
        yield line


def closed(store: Store, writer: Writer, old: Head, last: Marker, timeout: float | None) -> Log:
    """Make a chapter of what a compaction replaces; return the log of the new head.

    Args:
        store: The store.
        writer: The writer of the state.
        old: The head whose segments are replaced.
        last: The last marker in these segments.
        timeout: The most seconds to wait for each answer of the store.
    """
    log = writer.head.log
    assert log is not None
    chapter = Chapter(log.begun, last.number, last.time, old.snapshot, old.commits, log.past)
    now = until = _now(writer, last)
    if not _is_kept(chapter, min(until, chapter.until), log, now):
        return structs.replace(log, first=last.number + 1, begun=last.number + 1, past=())
    first = log.first
    with suppress(CorruptStateError):  # `verify` tells of it
        for _, each in chapters(store, log, timeout, writer.chapters):
            # Later ones were made later, whatever the clock said: a time in the future, of a clock
            # that was wrong, would keep everything until then.
            until = min(until, each.until)
            if not _is_kept(each, until, log, now):
                first = each.last + 1
                break
    for name in [name for name, one in writer.chapters.items() if one.last < first]:
        del writer.chapters[name]
    past = writer.write_segments([encode(chapter)], timeout)
    return structs.replace(log, first=first, begun=last.number + 1, past=past)


def _now(writer: Writer, last: Marker) -> float:
    """Give the time of day, or an earlier one: a clock that jumps would make everything old.

    The clock of a process that begins may be wrong, too. So the time goes on from the last commit
    of the process before, by a clock that never jumps.
    """
    at, since = writer.noted or (last.time, writer.clock())
    return min(writer.head.saved_at or last.time, at + writer.clock() - since)


def _is_kept(chapter: Chapter, until: float, log: Log, now: float) -> bool:
    by_age = log.seconds > 0 and until >= now - log.seconds
    return by_age or (log.commits > 0 and chapter.last > log.number - log.commits)


def changes_to(
    lines: Iterable[bytes], store: Store, head: Head, timeout: float | None
) -> list[bytes]:
    """Make the changes that turn the state of a head into another one.

    A node that differs is removed and made anew: its kind may be another one.

    Args:
        lines: The lines that make the other state.
        store: The store of the head.
        head: The head.
        timeout: The most seconds to wait for each answer of the store.
    """
    now, then = RawReplay(), RawReplay()
    replay(now, lines_of(store, head, timeout), store.url)
    replay(then, lines, store.url)
    removed, made = list[bytes](), list[bytes]()
    for node in {**now.nodes, **then.nodes}:
        before = [*now.lines(node)] if node in now.nodes else []
        after = [*then.lines(node)] if node in then.nodes else []
        if before != after:
            removed += [encode({"id": node, "delete": True})] if before else []
            made += after
    return removed + made

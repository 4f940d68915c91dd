"""A copy of a state: the changes of one moment, written anew into another store.

The newest head and the segments that it names are a state of one moment, and a named segment is
never changed. While another process writes, a segment may be deleted before it was copied; then the
copy begins again with the newest head.

Changes are copied, not records: each store has its own largest record, its own keys, and its own
owners and epochs. The lines of the changes stay as they are, byte for byte. So a digest over all of
them, taken while they are read, tells whether the other store gives the same state.

The target belongs to the copying process from the first record on, and the head is written last,
when the segments were read again and compared. An interrupted copy leaves records that no head
names: the next process finds no state there, and deletes these records after its first save.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import Struct

from autostate.deadline import Deadline, retried
from autostate.digest import blake2b
from autostate.errors import CorruptStateError, StoreError
from autostate.journal.head import SEGMENTS, Head, Ref, open_head, parse_key
from autostate.journal.history import is_marker
from autostate.journal.record import whole
from autostate.journal.recovery import read_lines
from autostate.journal.sighting import Sighting, check_owner_record, unchanging
from autostate.journal.writer import Writer
from autostate.stores.base import Store

Report = Callable[[str, int, int], None]
"""Called with what is done, "copied" or "compared", the number of bytes so far, and of all."""

_PICKLED: Final = b'{"$pickled":['
"""The bytes of a pickled value, which cannot be anything else: see `commit.references`."""
_PATIENCE: Final = 30.0
"""Seconds for which the head is sent again if no timeout is given."""


class Copying(Struct, frozen=True):
    """A copy of the newest state of a store.

    Attributes:
        source: The store to copy; it is only read.
        target: The other store, without a state.
        writer: The writer of this process, which owns the target.
        check_pickled: Called if there may be pickled values; raises if the target lacks their key.
        report: Called as the copy advances.
        timeout: The most seconds to wait for each answer of a store.
    """

    source: Store
    target: Store
    writer: Writer
    check_pickled: Callable[[], None]
    report: Report
    timeout: float | None

    def run(self) -> None:
        """Copy the state; read the copy again, and compare it.

        Raises:
            CorruptStateError: A record is damaged; the message names it.
            StoreError: There is no state, or a store could not be read or written.
        """
        head, digest = unchanging(self.source, self.timeout, self._write_segments, "copied")
        compared = blake2b(digest_size=16)
        for line in self._lines(self.target, head, "compared"):
            compared.update(line)
        self.report("compared", (size := _size(head.refs)), size)
        if compared.digest() != digest:
            raise self._differs()
        self.writer.prepare([], head, {})
        retried(
            lambda *, timeout: self.writer.send(timeout),
            Deadline.after(self.timeout or _PATIENCE),
            gives_up=lambda error, _: error.lasting,
            report=lambda _: None,
            pause=time.sleep,
        )
        key = self.writer.me.text
        if open_head(key, self.target.read(key, timeout=self.timeout))[0] != head:
            raise self._differs()

    def _write_segments(self, sighting: Sighting) -> tuple[Head, bytes]:
        """Write the segments of the newest head; return the head of the copy, and a digest."""
        pin = check_owner_record(self.source, sighting, self.timeout)
        if not sighting.heads:
            raise StoreError(f"{self.source.url} holds no state: there is nothing to copy")
        key = sighting.heads[0].text
        head, _ = open_head(key, sighting.watched[key], pin)
        if any(_PICKLED in bytes(line) for line in (*head.nodes, *head.changes)):
            self.check_pickled()
        digest = blake2b(digest_size=16)
        size = _size(head.refs)
        snapshot, commits = Head(snapshot=head.snapshot), Head(commits=head.commits)
        made: list[tuple[Ref, ...]] = []
        for part, before in (snapshot, 0), (commits, _size(head.snapshot)):
            lines = self._lines(self.source, part, "copied", before, size)
            made.append(
                self.writer.write_segments(self._digested(lines, digest.update), self.timeout)
            )
        self.report("copied", size, size)
        changes = tuple(line for line in head.changes if not is_marker(bytes(line)))
        return Head(head.saved_at, head.nodes, made[0], made[1], changes), digest.digest()

    def _digested(self, lines: Iterable[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
        """Pass lines on; show meanwhile that this process lives."""
        lease = self.writer.ownership.lease
        renewed, checked = time.monotonic(), False
        for line in lines:
            if not checked and _PICKLED in line:
                self.check_pickled()
                checked = True
            update(line)
            yield line
            if lease is not None and time.monotonic() - renewed > lease / 3:
                self.writer.ownership.renew(self.timeout)
                renewed = time.monotonic()

    def _lines(
        self, store: Store, head: Head, what: str, done: int = 0, size: int | None = None
    ) -> Iterator[bytes]:
        """Read the lines of the segments of a head, and report the progress."""
        total = _size(head.refs) if size is None else size
        for refs in head.snapshot, head.commits:  # a line in pieces is in one of them
            for line in whole(read_lines(store, refs, self.timeout)):
                if not is_marker(line):  # the history stays where it is
                    yield line
                done += len(line) + 2
                self.report(what, min(done, total), total)

    def _differs(self) -> CorruptStateError:
        return CorruptStateError(
            f"{self.target.url} does not return what was written to it: the copy is of no use. "
            f"{self.source.url} was not touched"
        )


def epoch_left(store: Store, timeout: float | None) -> int:
    """Return the latest epoch of segments that interrupted copies have left in a store."""
    keys = map(parse_key, store.list(SEGMENTS, timeout=timeout))
    return max((key.epoch for key in keys if key is not None), default=0)


def _size(refs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in refs)

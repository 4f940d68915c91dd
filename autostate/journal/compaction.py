"""Compaction: which records to write again so that the journal stays short.

A *full* compaction replaces snapshot and commits by a new snapshot when the commits are larger than
the snapshot: each byte is then rewritten about once. This rule alone would rewrite a large state
with many small commits far too often. So if only the number of commits is too large, the newest
commits are *folded*: written one after another into fewer records, without being decoded. Like the
merges of an LSM tree, folding writes each byte a logarithmic number of times.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Raw, Struct, field, structs

from autostate.journal.commit import touched
from autostate.journal.head import Head, Log, Ref
from autostate.journal.record import whole
from autostate.journal.recovery import read_lines, replay
from autostate.journal.replay import RawReplay
from autostate.journal.writer import Writer
from autostate.stores.base import Store

if TYPE_CHECKING:
    from autostate.journal.history import Marker

_logger = logging.getLogger("autostate")

FLOOR = 65_536  # bytes of commits below which a full compaction is not worth its cost
COMMITS = 32  # references in the head to commits, at most: each commit writes them again
COMMITS_METERED = 64  # the same where records are paid for
_CHEAP = 2  # full, not folded, while the snapshot is at most this many times the commits
_FOLDED = 8  # the smallest number of commits to fold


def _size(refs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in refs)


def due(head: Head, *, metered: bool) -> bool:
    """Tell whether the commits since the snapshot are larger than it, or too many."""
    if not head.commits:
        return False
    limit = COMMITS_METERED if metered else COMMITS
    return len(head.commits) >= limit or _size(head.commits) > max(FLOOR, _size(head.snapshot))


def fold_from(head: Head) -> int | None:
    """Return the index of the first commit to fold with all later ones; None: compact in full."""
    commits, snapshot = _size(head.commits), _size(head.snapshot)
    if snapshot <= max(FLOOR, _CHEAP * commits):
        return None
    first, total = len(head.commits), 0
    while first and (len(head.commits) - first < _FOLDED or head.commits[first - 1].size <= total):
        first -= 1
        total += head.commits[first].size
    return first


class Compaction(Struct):
    """One compaction of the state that a writer has acknowledged.

    Commits may be made while it pauses. They follow the new snapshot, or the folded commits.

    Attributes:
        store: The store.
        writer: The writer of the owner.
        small: The most bytes of a state that lies in the head itself.
        anew: Write everything again, and keep no head to go back to: some records have an old key.
        pause: Called after every fraction of a millisecond of work.
        timeout: The most seconds to wait for each answer of the store.
        late: References to nodes, from changes that are in no segment yet, and from the commits
            that are made meanwhile.
    """

    store: Store
    writer: Writer
    small: int
    anew: bool
    pause: Callable[[], None]
    timeout: float | None
    late: set[int] = field(default_factory=set)

    def run(self) -> frozenset[int]:
        """Write the state anew; return the nodes that were left out.

        Raises:
            FencedError: Another incarnation has taken over.
            CorruptStateError: A record is damaged. Nothing was touched.
            StoreError: The store failed; the state is unchanged.
        """
        replayed, left_out, old = RawReplay(), frozenset[int](), self.writer.head
        first = None if self.anew else fold_from(old)
        self.late.update(*map(touched, map(bytes, old.changes)))
        self.writer.compacting = True  # no head names the new segments yet: they are not swept
        try:
            if not old.snapshot:
                head, left_out = self._small_state(replayed)
            elif first is None:
                head, left_out = self._snapshot(replayed)
            else:
                head = self._fold(first)
        finally:
            self.writer.compacting = False
        if old.snapshot or left_out or self.anew:
            self._replace(head, new_generation=first is None)
        replayed.release()
        return left_out

    def _small_state(self, replayed: RawReplay) -> tuple[Head, frozenset[int]]:
        """Leave out the nodes of a small state that no root reaches."""
        old = self.writer.head
        replay(replayed, map(bytes, old.nodes), self.writer.me.text)
        seen = set[int]()
        deque(replayed.reached(replayed.roots(), seen, set()), maxlen=0)
        return self._in_head(old.saved_at, replayed, frozenset(replayed.nodes.keys() - seen))

    def _snapshot(self, replayed: RawReplay) -> tuple[Head, frozenset[int]]:
        """Write a new snapshot; the commits made meanwhile follow it."""
        writer, old = self.writer, self.writer.head
        stored = read_lines(self.store, old.refs, self.timeout)
        end = b""  # the last line of the snapshot
        markers: list[Marker] = []
        if old.log is not None:
            from autostate.journal import history, keeping

            stored, end = keeping.noted(stored, markers), history.BASE
        replay(replayed, self._paused(stored), writer.me.text)
        seen = set[int]()
        lines = self._paused(replayed.reached(replayed.roots(), seen, self.late))
        if end:
            lines = chain(lines, (end,))
        small = list(_up_to(self.small, lines))
        refs: tuple[Ref, ...] = ()
        if end or sum(map(len, small)) > self.small:
            refs = writer.write_segments(chain(small, lines), self.timeout)
        newer = writer.head.commits[len(old.commits) :]
        if newer and not refs:
            refs = writer.write_segments(small, self.timeout)
        log = self._log(old, markers)
        now, left_out = writer.head, frozenset(replayed.nodes.keys() - seen)
        if refs:
            return Head(now.saved_at, (), refs, newer, now.changes, log), left_out
        replay(replayed, map(bytes, now.changes), writer.me.text)  # may bring new nodes
        return self._in_head(now.saved_at, replayed, left_out)

    def _log(self, old: Head, markers: list[Marker]) -> Log | None:
        """Keep the replaced commits, if they are to be kept; return the log of the new head."""
        log = self.writer.head.log
        if log is None or old.log is None or not markers:
            return log
        if not self.anew:
            from autostate.journal import keeping

            return keeping.closed(self.store, self.writer, old, markers[-1], self.timeout)
        _logger.warning(
            "the history of %s ends here: its records are not protected by the present key. To "
            "take a history along, let `autostate sign` sign it first",
            self.store.url,
        )
        begun = markers[-1].number + 1
        return structs.replace(log, first=begun, begun=begun, past=())

    def _in_head(
        self, saved_at: float | None, replayed: RawReplay, left_out: frozenset[int]
    ) -> tuple[Head, frozenset[int]]:
        """Make a head that holds the state itself."""
        kept = (node_id for node_id in replayed.nodes if node_id not in left_out)
        return Head(saved_at, tuple(Raw(replayed.line(node_id)) for node_id in kept)), left_out

    def _fold(self, first: int) -> Head:
        """Write the commits from `first` on one after another, without decoding them.

        Lines that were cut into pieces are joined first. The pieces may come from larger records,
        on another store or of an earlier version, and a piece of a piece would look like a piece.
        """
        old = self.writer.head
        lines = read_lines(self.store, old.commits[first:], self.timeout)
        refs = self.writer.write_segments(whole(self._paused(lines)), self.timeout)
        now = self.writer.head
        commits = old.commits[:first] + refs + now.commits[len(old.commits) :]
        return structs.replace(now, commits=commits)

    def _paused(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            yield line
            self.pause()

    def _replace(self, head: Head, *, new_generation: bool) -> None:
        writer = self.writer
        writer.prepare([], head, {}, new_generation=new_generation)
        forgets, writer.forgets = writer.forgets, writer.forgets or self.anew
        try:
            writer.send(self.timeout)
        except BaseException:
            writer.forgets = forgets
            raise


def _up_to(limit: int, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines until they exceed `limit` bytes; the others stay in the iterator."""
    size = 0
    while size <= limit and (line := next(lines, None)) is not None:
        size += len(line)
        yield line

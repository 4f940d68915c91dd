"""The writer: writes heads to the store, and deletes records that are not needed any more.

*   A write that timed out may have been applied, may never be, or may be *later*, after others.
    So the same commit is sent again as the same bytes to the same keys, which does no harm at any
    time. A different commit goes to a new head key, which outranks the old key; a late duplicate
    then has no effect. Any exception counts as a timeout. A key to which a duplicate may be on its
    way remains such a key even if a retry succeeds.

*   Deletions follow a check of ownership, and spare the records that three heads name: the newest
    head, the one before it, and the newest one that was made from another snapshot.
    `on_corrupt="previous"` goes back to the latter two. If a store writes several records at once,
    each head has a key of its own, and the same write deletes the last but one. Elsewhere a
    deletion is one more request: only the second head of an incarnation has another key than the
    head before it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import is_
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from autostate.errors import CorruptStateError, FencedError, StoreError
from autostate.journal.guarded import GuardedOwnership
from autostate.journal.head import (
    HEADS,
    PREFIX,
    SEGMENTS,
    Head,
    HeadKey,
    HeadPin,
    Ref,
    open_head,
    parse_key,
)
from autostate.journal.ownership import Clock, OutclaimedError
from autostate.journal.record import parts, seal, segment_body, views
from autostate.journal.recovery import Found
from autostate.memory import encode
from autostate.stores.base import Store

if TYPE_CHECKING:
    from autostate.journal.claimed import ClaimedOwnership
    from autostate.journal.history import Chapter

_log = logging.getLogger("autostate")

_SHARED: Final = 1 << 20
"""The least bytes of a record that shares its memory with the changes in it."""


class CommitInfo(Struct, frozen=True):
    """The cost of a commit.

    Attributes:
        bytes: Bytes written to the store.
        writes: Records written to the store.
        sequence: The number of the commit; later ones have larger numbers.
    """

    bytes: int
    writes: int
    sequence: int


class Draft(Struct, frozen=True):
    """A head and its segments, ready to be sent, any number of times.

    Attributes:
        changes: The commit for which it was made; empty for a compaction.
        head: The body of the head.
        puts: The records: segments first, the head last.
        deletes: The key of the head that is not needed any more, if there is one.
        sequence: The number of the head.
        pin: The key of the head, and its digest.
    """

    changes: list[bytes]
    head: Head
    puts: dict[str, bytes]
    deletes: tuple[str, ...]
    sequence: int
    pin: HeadPin


class Writer:
    """Writes heads and segments for one incarnation.

    Args:
        store: The store.
        me: The first head key of the incarnation.
        found: The recovered state, on which the incarnation builds.
        part_limit: Bytes of one segment, at most.
        clock: Seconds that never jump.

    Attributes:
        me: The present head key.
        head: The acknowledged head, from which everything else is derived.
        sequence: The number of that head.
        last_sequence: The number of the last attempted write.
        compacting: Whether segments are being written that no head names yet: nothing is swept.
        forgets: Whether the next sweep also deletes the heads to go back to.
        unswept: Whether there may be records of former incarnations that no head names any more.
        chapters: The chapters of the history that were read or written, by the names of their
            records.
        noted: The time of day of a commit, and `clock` at that moment or later: the clock of the
            machine may be wrong by now.
        clock: As given.
    """

    def __init__(
        self,
        store: Store,
        me: HeadKey,
        found: Found,
        part_limit: int,
        clock: Clock,
    ) -> None:
        self.me: HeadKey = me
        self.head: Head = found.head
        self.sequence: int = found.sequence
        self.last_sequence: int = found.sequence
        self.compacting: bool = False
        self.unswept: bool = False
        self.forgets: bool = False
        self.chapters: dict[str, Chapter] = {}
        saved_at = found.head.saved_at
        self.noted: tuple[float, float] | None = None if saved_at is None else (saved_at, clock())
        self.clock: Clock = clock
        self.draft: Draft | None = None  # of a write that is not acknowledged
        self._store = store
        self._part_limit = part_limit
        self._digest = found.digest
        self._tainted = False  # a write to the present head key has an unknown outcome
        self._untidy = False  # there may be records that no head names any more
        # The heads that were acknowledged last, with their keys, the newest first.
        self._latest: list[tuple[HeadKey, Head]] = [(found.key, found.head)] if found.key else []
        self._at_once = store.atomic and store.conditional
        self.ownership: GuardedOwnership | ClaimedOwnership
        if self._at_once:
            self.ownership = GuardedOwnership(store, me, found, clock)
        else:
            from autostate.journal.claimed import ClaimedOwnership

            self.ownership = ClaimedOwnership(store, me, found, clock)

    def segments(
        self, before: list[bytes], changes: list[bytes], after: tuple[Ref, ...] = ()
    ) -> tuple[tuple[Ref, ...], dict[str, bytes]]:
        """Make segments of lines; return the references to them, and the records.

        Args:
            before: The first lines.
            changes: The other lines. Those in a large record are replaced by views of it, so that a
                large commit is in memory once.
            after: The segments that are there already.
        """
        refs, puts, at = [], {}, -len(before)
        for ref, data, lines in self._segments(chain(before, changes), after):
            refs.append(ref)
            puts[ref.key] = data
            stop = at + len(lines)
            if at >= 0 and len(data) >= _SHARED and _are_same(changes[at:stop], lines):
                changes[at:stop] = views(data, lines)
            at = stop
        return tuple(refs), puts

    def write_segments(self, lines: Iterable[bytes], timeout: float | None) -> tuple[Ref, ...]:
        """Write segments that no head names yet."""
        refs = []
        for ref, data, _ in self._segments(lines):
            self.ownership.write({ref.key: data}, (), timeout)
            refs.append(ref)
        return tuple(refs)

    def _segments(
        self, lines: Iterable[bytes], after: tuple[Ref, ...] = ()
    ) -> Iterator[tuple[Ref, bytes, list[bytes]]]:
        """Make segments of lines, which are yielded with them, under a number of their own."""
        self.last_sequence += 1  # for good: a write that failed may still arrive under its number
        name = f"{self.me.epoch:08d}-{self.me.token}-{self.last_sequence:08d}"
        place = self.me.epoch, self.last_sequence
        digest = after[-1].digest if after else ""
        for part, group in enumerate(parts(lines, self._part_limit)):
            key = f"{SEGMENTS}{name}-{part}"
            data, digest = seal(key, "segment", place, digest, segment_body(group))
            yield Ref(f"{name}-{part}", len(data), digest), data, group

    def prepare(
        self,
        changes: list[bytes],
        head: Head,
        segments: dict[str, bytes],
        *,
        new_generation: bool = False,
    ) -> None:
        """Fix the bytes of the next write, at a new head key if a late write may hit the old one.

        A new generation moves to a new key too, which keeps the head before it to go back to.
        """
        mine = [key for key, _ in self._latest if key[:2] == self.me[:2]]
        if new_generation or self._tainted or (mine and (self._at_once or len(mine) == 1)):
            self._untidy |= new_generation or self._tainted
            self.me = self.me._replace(attempt=self.me.attempt + 1)
            self._tainted = False
        self._untidy |= not changes  # a compaction leaves records behind
        self.last_sequence += 1
        body = encode(head)
        key, place = self.me.text, (self.me.epoch, self.last_sequence)
        data, digest = seal(key, "head", place, self._digest, body)
        puts, pin = {**segments, key: data}, HeadPin(key, digest)
        self.draft = Draft(changes, head, puts, self._unneeded(), self.last_sequence, pin)

    def _unneeded(self) -> tuple[str, ...]:
        """Return the key of the last head but one, unless it is the newest of another snapshot."""
        if not self._at_once or len(self._latest) < 2:
            return ()
        (_, newest), (key, before) = self._latest
        needed = newest.snapshot and before.snapshot != newest.snapshot
        return () if needed else (key.text,)

    def send(self, timeout: float | None) -> CommitInfo:
        """Send the draft, and acknowledge it if this incarnation still owns the state.

        Raises:
            FencedError: A later process has taken over.
            StoreError: The outcome is unknown, or the store refused.
        """
        draft, owner = self.draft, self.ownership
        assert draft is not None
        keys: list[str] = []
        try:
            written = owner.begin(timeout)
            # Until the answer comes, the outcome is unknown: a copy may still be on its way to this
            # key. If there was one before, its repetition, too, leaves the first copy on its way.
            tainted, self._tainted = self._tainted, True
            written |= owner.write(draft.puts, draft.deletes, timeout, head=draft.pin)
            self._tainted = tainted
            if self._untidy or not owner.held:
                keys = self._store.list(PREFIX, timeout=timeout)
                owner.confirm(keys)
        except OutclaimedError as error:
            self._move_above(error)
            segments = {key: data for key, data in draft.puts.items() if key.startswith(SEGMENTS)}
            self.prepare(draft.changes, draft.head, segments)
            return self.send(timeout)
        self.head, self._digest, self.sequence = draft.head, draft.pin.digest, draft.sequence
        self.draft = None
        before = [one for one in self._latest if one[0] != self.me]
        self._latest = [(self.me, draft.head), *before[:1]]
        if keys:
            self._sweep(keys, timeout)
        return CommitInfo(sum(map(len, written.values())), len(written), draft.sequence)

    def check(self, timeout: float | None) -> None:
        """Check that earlier writes are acknowledged.

        Raises:
            FencedError: A later process has taken over.
            StoreError: The store did not answer; or a process may be taking over.
        """
        try:
            if not self.ownership.has_moved:
                self.ownership.check(timeout)
                return
        except OutclaimedError as error:
            self._move_above(error)
        self.prepare([], self.head, {})  # the acknowledged head, under the new name
        self.send(timeout)

    def sweep(self, timeout: float | None) -> None:
        """Delete the records that former incarnations have left behind."""
        keys = self._store.list(PREFIX, timeout=timeout)
        self.ownership.confirm(keys)
        self._sweep(keys, timeout)

    def _move_above(self, error: OutclaimedError) -> None:
        """Take another name, above a claim whose process is gone; else raise the error."""
        if not error.is_left:
            raise error
        self.me = HeadKey(error.latest.epoch + 1, self.me.token)
        self._tainted = False
        self.ownership.move_to(self.me)

    def _sweep(self, keys: list[str], timeout: float | None) -> None:
        """Delete the records that no kept head names.

        The listing was made after the last write and checked: no process had taken over. A process
        that takes over from now on builds on this head.
        """
        if self.compacting:
            return  # while a snapshot is being written, no head names it yet
        self._untidy = self.unswept = False
        try:
            kept = self._kept(keys, timeout)
            garbage = [key for key in keys if key not in kept and self._is_ours_to_delete(key)]
            if garbage:
                self.ownership.write({}, garbage, timeout)
        except FencedError:
            raise
        except (StoreError, CorruptStateError) as error:  # of the history, which is kept then
            _log.debug("old records are left for the next compaction: %s", error)

    def _kept(self, keys: list[str], timeout: float | None) -> set[str]:
        """List the keys of the kept heads and their segments: see the docstring of the module."""
        kept = {self.me.text, self.me.claim.text, *(ref.key for ref in self.head.refs)}
        heads = map(parse_key, (key for key in keys if key.startswith(HEADS)))
        names = {name for name in heads if name and not name.is_claim}
        kept |= self._past(self.head, timeout)
        if self.forgets:
            self.forgets, self._latest = False, self._latest[:1]
            return kept
        before = True
        for name in sorted(names - {self.me}, reverse=True):
            try:
                head, _ = open_head(name.text, self._store.read(name.text, timeout=timeout))
            except CorruptStateError:
                continue
            other = not head.snapshot or head.snapshot != self.head.snapshot
            if before or other:
                kept |= {name.text, *(ref.key for ref in head.refs), *self._past(head, timeout)}
            if other:
                break
            before = False
        return kept

    def _past(self, head: Head, timeout: float | None) -> set[str]:
        """List the keys of the history that a head names."""
        if head.log is None:
            return set()
        from autostate.journal import history

        return history.keys_of(self._store, head.log, timeout, self.chapters)

    def _is_ours_to_delete(self, key: str) -> bool:
        name = parse_key(key) if key.startswith((HEADS, SEGMENTS)) else None
        return name is not None and name.rank <= self.me.rank


def _are_same(lines: list[bytes], others: list[bytes]) -> bool:
    """Tell whether these are the same lines, and no pieces of one that was cut."""
    return len(lines) == len(others) and all(map(is_, lines, others))

"""The journal: commits in, one state out, over a store that promises very little.

The reasons for its design:

*   No segment of the current state is ever overwritten. A commit that is too large for the head
    goes into segments under keys that are never used again; then one record, the head, is written,
    which names them. Writing the head is the commit point: before it the store has the old state,
    after it the new one, wherever the process dies. Records without a name in a head are deleted
    later.

*   A small state lies in the head itself, merged: a commit is one small write, and the state can be
    read in a console. Later on, when the state is large, the last few changes lie in the head, so
    that a small commit is still one record. Where records are paid for, "small" is 16 KiB.
    Elsewhere a second record in the same transaction costs next to nothing, and every commit writes
    the whole head again; with 1 KiB, and fewer references, a small removal writes 0.6 to 2.1 KB
    instead of up to 18 KB, in the same time.

*   Each incarnation has head keys of its own, so that no two processes write to one key.
    `writer.py` says how a write of unknown outcome is repeated, and which records may be deleted;
    `guarded.py` and `claimed.py` say who may write.

*   A time limit applies to a store that does not answer, not to work in progress: each call of the
    store has the whole timeout. A limit for a whole recovery or compaction would always be exceeded
    once the state is large enough.

*   Only the last acknowledged head is certain, and everything in memory is derived from it: a
    failed commit leaves no trace in memory but a key that must not be used again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from autostate.errors import CorruptStateError, StoreError
from autostate.journal.commit import touched
from autostate.journal.compaction import Compaction, due
from autostate.journal.head import HEADS, LAST_EPOCH, OWNER, Head, HeadKey, Keep, parse_key
from autostate.journal.recovery import Found, OnCorrupt, Recovered, Recovery, age
from autostate.journal.replay import Convert, merged
from autostate.journal.sighting import Sighting, look, owner_named
from autostate.journal.writer import CommitInfo, Writer
from autostate.ownership.owner import Owner
from autostate.stores.base import Store
from autostate.warned import shows_warnings

if TYPE_CHECKING:
    from autostate.journal.copying import Report

_PART = 2 << 20  # bytes of a record: some milliseconds of uninterrupted work
_LARGE_PART = 8 << 20  # the same where each record is paid for; all known stores take it
_INLINE = 1024  # bytes in the head, which every commit writes again: on average half of it
_LARGE_INLINE = 16_384  # the same where a second record costs more than these bytes


class Journal:
    """Makes commits durable in a store, and finds them again.

    Not thread-safe: its owner holds a lock, or calls it from one thread only.

    Args:
        store: Where the records are. The caller closes it.
        clock: The time of day in seconds, for `saved_at`.
        token: Makes a short random name `[0-9a-z]+` for an incarnation.
        on_corrupt: "raise", or "previous" to go back to the last good state before a damaged one.
        inline_limit: Bytes of state, and later of last changes, that lie in the head; None: a limit
            that suits the store.
        part_limit: Bytes of one segment, at most; None: a limit that suits the store.
        convert: Converts values that were just decoded: see `DecodedReplay`.
        monotonic: Seconds that never jump, for the patience with another process's claim.
        keep: The history to keep; None: that which the state has.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] = lambda: os.urandom(4).hex(),
        on_corrupt: OnCorrupt = "raise",
        inline_limit: int | None = None,
        part_limit: int | None = None,
        convert: Convert | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        keep: Keep | None = None,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._convert = convert
        self._clock = clock
        self._token = token
        self._on_corrupt: OnCorrupt = on_corrupt
        suitable = _LARGE_INLINE if store.metered else _INLINE
        self._inline_limit = suitable if inline_limit is None else inline_limit
        limit = part_limit or (_LARGE_PART if store.metered else _PART)
        self._part_limit = min(limit, store.max_record)
        self._recovered = False
        self._mixed = False  # some records have an older key: see `stores/keyed.py`
        self._compaction: Compaction | None = None
        self._asked_to_keep = keep
        self._keep: Keep | None = None  # from `recover` on
        self._writer: Writer  # from `recover` on

    def hold_lease(self, seconds: float | None) -> None:
        """Tell others for how long this owner counts as alive without a sign of life."""
        self._writer.ownership.lease = seconds

    @property
    def fenced(self) -> bool:
        """Whether another incarnation has taken over: nothing more can be saved."""
        return self._writer.ownership.fenced

    @property
    def sequence(self) -> int:
        """The number of the last acknowledged write."""
        return self._writer.sequence

    @property
    def last_sequence(self) -> int:
        """The number of the last attempted write, which may have arrived or not."""
        return self._writer.last_sequence

    @property
    def epoch(self) -> int:
        """The epoch of this incarnation."""
        return self._writer.me.epoch

    @property
    def moved(self) -> bool:
        """Whether this incarnation has changed its epoch, to get above another process's claim."""
        return len(self._writer.ownership.ranks) > 1

    @property
    def version(self) -> tuple[tuple[int, str] | None, int]:
        """The last acknowledged, or recovered, state: equal versions are the same state.

        Returns:
            Its writer, by epoch and token, and its number.
        """
        writer, found = self._writer, self._writer.ownership.found
        before = None if found.key is None else found.key.rank
        return writer.me.rank if writer.sequence > found.sequence else before, writer.sequence

    @property
    def possible_writers(self) -> tuple[tuple[int, str] | None, ...]:
        """The possible writers of the stored state, by epoch and token: a write may have failed."""
        writer, found = self._writer, self._writer.ownership.found
        before = None if found.key is None else found.key.rank
        mine = writer.ownership.ranks
        if writer.sequence > found.sequence:
            return tuple(mine)
        return (before, *mine) if writer.last_sequence > writer.sequence else (before,)

    @property
    def size(self) -> int:
        """Bytes of the segments that hold the state."""
        return sum(ref.size for ref in self._writer.head.refs)

    @property
    def needs_compaction(self) -> bool:
        """Whether a call of `compact` is worth its cost now."""
        writer = self._writer
        return writer.ownership.held and (
            self._mixed or due(writer.head, metered=self._store.metered)
        )

    # --- From the store to the state ------------------------------------------------------

    @shows_warnings
    def recover(self, *, timeout: float | None = None) -> Recovered:
        """Find the newest state. This only reads: the first commit takes over.

        Args:
            timeout: The most seconds to wait for each answer of the store.

        Raises:
            CorruptStateError: A record is damaged; the message names it. Nothing was touched.
            StoreError: The store could not be read.
        """
        found = Recovery(self._store, self._on_corrupt, timeout, self._convert).find()
        self._mixed = getattr(self._store, "mixed", False)
        # Above the epochs of claims, too: each of them would stop this process at its next check.
        newest = max(found.sighting.keys, default=None)
        self._begin(found, newest.epoch if newest else 0)
        return Recovered(
            found.nodes,
            found.head.saved_at,
            found.key.epoch if found.key else 0,
            max(found.nodes, default=0) + 1,
            [
                f"{error.key} {error.problem}: went back to {age(found)}. The next save keeps a "
                "copy of the record"
                for error in found.damaged
            ],
        )

    def reset(self) -> None:
        """Begin from nothing: the store has lost what was written. The next commit must be full.

        If the store holds another process's state after all, that commit raises FencedError.
        """
        former = self._writer.ownership
        guarded = self._store.atomic and self._store.conditional
        nothing = Sighting(watched={OWNER: former.left} if guarded else {})
        self._begin(Found(nothing, sequence=self.sequence), self._writer.me.epoch)
        self._writer.ownership.follow(former)

    def begin_anew(
        self,
        name: str,
        *,
        unless_others: CorruptStateError | None = None,
        timeout: float | None = None,
    ) -> Recovered:
        """Begin a new state in the place of one that cannot be read, and keep copies of that.

        Args:
            name: The root for which this is done. All other roots that the records name are of the
                kind `unreadable` in the new state.
            unless_others: The error to raise if the records name any other roots.
            timeout: The most seconds to wait for each answer of the store.

        Raises:
            StoreError: The store cannot be read or written.
        """
        from autostate.journal import salvage

        sighting = look(self._store, timeout)
        if unless_others is not None and salvage.names_of(self._store, timeout) - {name}:
            raise unless_others
        keys, names = salvage.copy_records(self._store, timeout)
        known = [key.epoch for key in map(parse_key, keys) if key is not None]
        self._begin(Found(sighting), max(known, default=0))
        return self.begin_with(names - {name}, timeout=timeout)

    def begin_with(self, unreadable: set[str], *, timeout: float | None = None) -> Recovered:
        """Commit a first state, in which these names cannot be read."""
        from autostate.journal import salvage

        self.commit(salvage.first_changes(unreadable), timeout=timeout)
        return self.recover(timeout=timeout)

    def keep_copy(self, name: str, *, timeout: float | None = None) -> list[str]:
        """Copy a root to keys that are never overwritten; return these keys."""
        from autostate.journal import salvage

        self._check_ready()
        store, writer = self._store, self._writer
        return salvage.copy_root(store, writer, name, self._part_limit, timeout)

    def fill(
        self, source: Store, check: Callable[[], None], report: Report, *, timeout: float | None
    ) -> None:
        """Copy the newest state of another store into this one; see `copying.Copying`.

        Raises:
            FencedError: Another incarnation has taken over.
            StoreError: There is a state here, or none there; or a store failed.
        """
        from autostate.journal.copying import Copying, epoch_left

        self._check_ready()
        if self.version[0] is not None:
            raise StoreError(
                f"{self._store.url} holds a state, and nothing is overwritten: name another target"
            )
        self.begin_at(max(self.epoch, epoch_left(self._store, timeout) + 1))
        self.take_over(timeout=timeout)
        Copying(source, self._store, self._writer, check, report, timeout).run()

    def restore(self, lines: list[bytes], *, timeout: float | None) -> int:
        """Commit the state that lines make; return the number of the commit in the history."""
        from autostate.journal.keeping import changes_to

        self._check_ready()
        self.commit(changes_to(lines, self._store, self._writer.head, timeout), timeout=timeout)
        log = self._writer.head.log
        return 0 if log is None else log.number

    def _begin(self, found: Found, epoch: int) -> None:
        """Become a new incarnation that builds on the recovered state."""
        if epoch >= LAST_EPOCH:
            raise CorruptStateError(
                f"{self._store.url} holds a record whose name says that it is of process "
                f"number {epoch:,}, which cannot be: somebody else has changed the store. Delete "
                "that record"
            )
        self._keep, log = self._asked_to_keep, found.head.log
        if self._keep is None and log is not None:
            self._keep = log.seconds, log.commits
        if self._keep is not None and not any(self._keep):
            self._keep, found.head = None, msgspec.structs.replace(found.head, log=None)
        me = HeadKey(epoch + 1, self._token())
        lease = self._writer.ownership.lease if self._recovered else None
        self._writer = Writer(self._store, me, found, self._part_limit, self._monotonic)
        self._recovered = True
        self.hold_lease(lease)

    # --- From a commit to the store -------------------------------------------------------

    def commit(self, changes: list[bytes], *, timeout: float | None = None) -> CommitInfo:
        """Make changes durable. The first commit takes the state over.

        If it fails, call it again with the same changes, or with changes that include them.

        Args:
            changes: The changes, as JSON without newlines. Large ones are replaced, in this list,
                by views of the records that hold them.
            timeout: The most seconds to wait for each answer of the store.

        Raises:
            FencedError: Another incarnation has taken over: nothing more can be saved.
            StoreUnavailableError: The outcome is unknown; try again.
            StoreError: The store refused; the message says what to do.
        """
        self._check_ready()
        if not changes:
            return CommitInfo(0, 0, self.sequence)
        if self._compaction is not None:
            self._compaction.late.update(*map(touched, changes))
        draft = self._writer.draft
        if draft is None or draft.changes != changes:
            self._writer.prepare(changes, *self._with(changes))
        return self._writer.send(timeout)

    def take_over(self, *, timeout: float | None = None) -> None:
        """Take the state over before there is anything to commit.

        The former owner is fenced from now on. Without this call the first commit takes the state
        over, and fails if the former owner has written since `recover`. After this call, the first
        commit takes no more requests than a later one.

        Raises:
            FencedError: The former owner has written since. Begin again with `recover`.
            StoreError: The store could not be reached; the next commit tries again.
        """
        self._check_ready()
        self._writer.ownership.take(timeout)
        self._writer.unswept = True

    def displace(self, *, timeout: float | None = None) -> None:
        """Stop another process that keeps writing; call `recover` again afterwards.

        Raises:
            StoreError: The store could not be asked.
        """
        self._writer.ownership.displace(timeout)

    def renew(self, *, ended: bool = False, timeout: float | None = None) -> None:
        """Show that the owner lives or, with `ended`, that it has given the state back.

        Raises:
            FencedError: Another incarnation has taken over.
            StoreError: The store could not be written.
        """
        self._check_ready()
        self._writer.ownership.renew(timeout, ended=ended)

    def is_current(self, *, timeout: float | None = None) -> bool:
        """Tell whether the state is still the one that `recover` has found.

        Raises:
            StoreError: The store could not be read.
        """
        self._check_ready()
        sighting = self._writer.ownership.found.sighting
        now = look(self._store, timeout)
        if now.keys != sighting.keys:
            return False
        others = sighting.watched.keys() - now.watched.keys()
        read = {key: self._store.read(key, timeout=timeout) for key in others}
        return {**now.watched, **read} == sighting.watched

    def is_stored(self, *, timeout: float | None = None) -> bool:
        """Tell whether there is any state in the store.

        Raises:
            StoreError: The store could not be read.
        """
        return bool(self._store.list(HEADS, timeout=timeout))

    def last_owner(self, *, timeout: float | None = None) -> Owner | None:
        """Return the writer of the recovered state, or a later claimant, if known.

        Raises:
            StoreError: The store could not be read.
        """
        return self.owner_record(timeout=timeout)[1]

    def owner_record(self, *, timeout: float | None = None) -> tuple[bytes | None, Owner | None]:
        """Return the present record of the owner of the recovered state.

        Returns:
            The record, and the owner that it names, if known.

        Raises:
            StoreError: The store could not be read.
        """
        sighting = self._writer.ownership.found.sighting
        newest = max(sighting.keys, default=None)
        if OWNER not in sighting.watched and newest is None:
            return None, None
        key = OWNER if newest is None or OWNER in sighting.watched else newest.claim.text
        data = self._store.read(key, timeout=timeout)
        return data, owner_named(key, data)

    def begin_at(self, epoch: int) -> None:
        """Use an epoch above this one: the epochs up to it may belong to others."""
        self._check_ready()
        self._begin(self._writer.ownership.found, epoch - 1)

    def check_owner(self, *, timeout: float | None = None) -> None:
        """Check that no later incarnation has taken over; on some stores no other call does.

        Raises:
            FencedError: One has. Commits since the last check may be lost.
            StoreError: The store could not be reached.
        """
        self._check_ready()
        self._writer.check(timeout)

    def tidy(self, *, timeout: float | None = None) -> None:
        """Delete records of former incarnations, if `take_over` has put that off.

        Raises:
            FencedError: Another incarnation has taken over.
            StoreError: The store could not be asked.
        """
        self._check_ready()
        if self._writer.unswept and self._writer.ownership.held:
            self._writer.sweep(timeout)

    def _check_ready(self) -> None:
        if not self._recovered:
            raise RuntimeError("recover() first: a commit must build on what is there")
        if self._writer.ownership.fenced:
            raise self._writer.ownership.refused()

    def _with(self, changes: list[bytes]) -> tuple[Head, dict[str, bytes]]:
        """Make the head after these changes, and the new segments that it names."""
        writer, head, saved_at = self._writer, self._writer.head, self._clock()
        if self._keep is not None:
            from autostate.journal.keeping import head_after

            return head_after(writer, changes, saved_at, self._keep, self._inline_limit)
        size = sum(map(len, changes))
        if head.snapshot:
            if size + sum(map(len, map(bytes, head.changes))) <= self._inline_limit:
                tail = (*head.changes, *map(Raw, changes))
                return msgspec.structs.replace(head, saved_at=saved_at, changes=tail), {}
            refs, puts = writer.segments([*map(bytes, head.changes)], changes, head.refs)
            return Head(saved_at, (), head.snapshot, head.commits + refs), puts
        nodes = [*map(bytes, head.nodes)]
        if size <= self._inline_limit:
            # The lines are decoded again for each commit. A replay that was kept would be faster by
            # some microseconds, and would have to be undone after each commit that failed.
            nodes, changes = merged([*nodes, *changes]), []
            if sum(map(len, nodes)) <= self._inline_limit:
                return Head(saved_at, tuple(map(Raw, nodes))), {}
        refs, puts = writer.segments(nodes, changes)
        return Head(saved_at, (), refs), puts

    # --- Compaction -----------------------------------------------------------------------

    def compact(self, *, pause: Callable[[], None], timeout: float | None = None) -> frozenset[int]:
        """Write the state anew, so that fewer records hold it.

        Compaction works on the records, not on the program's memory. Nodes that no root reaches are
        left out. `pause` may call `commit`, and may raise to give up: then nothing has changed.

        Args:
            pause: Called after every fraction of a millisecond of work.
            timeout: The most seconds to wait for each answer of the store.

        Returns:
            The ids of the nodes that were left out: they must be saved anew if they come back.

        Raises:
            FencedError: Another incarnation has taken over.
            CorruptStateError: A record is damaged. Nothing was touched.
            StoreError: The store failed; the state is unchanged.
        """
        self._check_ready()
        if not self._writer.ownership.held:
            return frozenset()
        small, anew = self._inline_limit, self._mixed
        self._compaction = Compaction(self._store, self._writer, small, anew, pause, timeout)
        try:
            left_out = self._compaction.run()
        finally:
            self._compaction = None
        self._mixed = False
        return left_out

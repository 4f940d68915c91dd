"""Ownership in a store that honours `expect` inside one transaction, such as SQLite.

A record of the owner names the newest head, by key and digest. This record is replaced at the
takeover and with every head, and expected at every write. So the store refuses a writer that was
paused during another's takeover, and a recovery finds a head that was deleted, renamed, or replaced
by an older one.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from autostate.errors import FencedError, StoreError, StoreGoneError
from autostate.journal.head import OWNER, HeadKey, HeadPin
from autostate.journal.ownership import Clock, Ownership
from autostate.journal.recovery import Found
from autostate.journal.sighting import head_named, owner_named
from autostate.stores.base import Store


class GuardedOwnership(Ownership):
    """The right to write to a store that checks the record of the owner at each write."""

    def __init__(self, store: Store, me: HeadKey, found: Found, clock: Clock) -> None:
        super().__init__(store, me, found, clock)
        self._expect: dict[str, bytes | None] = dict(found.sighting.watched)
        self._sent: dict[bytes, HeadPin] = {}  # records of the owner whose outcome is unknown

    def take(self, timeout: float | None) -> None:
        """Become the owner before there is a head.

        Raises:
            FencedError: Another incarnation was first.
        """
        self.begin(timeout)
        self.write({}, (), timeout, head=self.found.pin)

    def write(
        self,
        puts: dict[str, bytes],
        deletes: Collection[str],
        timeout: float | None,
        *,
        head: HeadPin | None = None,
    ) -> dict[str, bytes]:
        """Write as the owner, which the first head makes; return the records that were put.

        The record of the owner names the head, and so changes with each head: a process that has
        recovered an old head must not take over.

        Args:
            puts: Records to put.
            deletes: Keys to delete.
            timeout: The most seconds to wait for each answer of the store.
            head: The head among the puts; or the present head, to become the owner.

        Raises:
            FencedError: The store refused, because another incarnation has written.
            StoreGoneError: The store refused, because it has lost what was written.
        """
        written, owner = puts, b""
        if head is not None:
            if not puts and self._named is not None:
                head = self._named  # a write that failed may have arrived since
            owner = self._sealed(OWNER, "owner", "", head=head.key, digest=head.digest)
            written = {OWNER: owner, **puts}
            self._sent[owner] = head  # until the answer comes: the write may arrive without one
        try:
            self._store.write(written, deletes, expect=self._expect, timeout=timeout)
        except FencedError as error:
            # Perhaps by a write of this very process, whose answer was lost.
            there = self._store.read(OWNER, timeout=timeout)
            if not self._has_arrived(there):
                raise self._lost(there) from error
            if self._named != head:  # an earlier write of this process has come late
                return self.write(puts, deletes, timeout, head=head)
        else:
            if head is not None:
                self._is_mine(owner)
        return written

    def _has_arrived(self, there: bytes | None) -> bool:
        """Tell whether a record of the owner is one whose write had an unknown outcome."""
        return bool(self._sent) and self._is_mine(there)

    def _lost(self, there: bytes | None) -> StoreError:
        """Make the error for a record of the owner that is not the expected one.

        It may be missing, because the store was emptied; or it may be an earlier one of this
        process, because a copy took the store's place that had not received everything.
        """
        had = self.held or self._follows
        if not had or (there is not None and owner_named(OWNER, there) != self._owner):
            return self.refused()
        self.left = there
        what = "was emptied" if there is None else "went back to an earlier state"
        return StoreGoneError(f"{self._store.url} {what} while this process used it")

    def _is_mine(self, owner: bytes | None) -> bool:
        """Tell whether this record was sent by this process; if so, expect it from now on."""
        named = None if owner is None else self._sent.get(owner)
        if named is None:
            return False
        self._named, self._expect = named, {OWNER: owner}
        self._sent.clear()
        return True

    def displace(self, timeout: float | None) -> None:
        """Let the store refuse the owner's next write, so that the state can be read again.

        The record of the owner is replaced by one that names the same head, and this process.
        """
        data = self._store.read(OWNER, timeout=timeout)
        if data is not None:
            key, digest = head_named(data)
            mine = self._sealed(OWNER, "owner", "", head=key, digest=digest)
            with suppress(FencedError):  # the head has a new key by now: the next attempt will do
                self._store.write({OWNER: mine}, (), expect={OWNER: data}, timeout=timeout)

    def renew(self, timeout: float | None, *, ended: bool = False) -> None:
        """Write the owner's record again: it lives or, with `ended`, has given the state back.

        Raises:
            FencedError: Another incarnation has taken over.
        """
        self._describe(ended=ended)
        if self._named is not None:
            self.write({}, (), timeout, head=self._named)

    def check(self, timeout: float | None) -> None:
        """Check that this incarnation still owns the state; see `Ownership.check`."""
        if self.held:
            # Read once: a late write may come in between.
            owner = self._store.read(OWNER, timeout=timeout)
            if not self._is_mine(owner) and owner != self._expect[OWNER]:
                raise self._lost(owner)

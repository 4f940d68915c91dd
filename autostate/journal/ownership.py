"""Ownership: the writes of at most one incarnation are acknowledged; every other one is told.

If the store honours `expect` inside one transaction (SQLite), a record of the owner names the
newest head, by key and digest. This record is replaced at the takeover and with every head, and
expected at every write. So the store refuses a writer that was paused during another's takeover,
and a recovery finds a head that was deleted, renamed, or replaced by an older one.

If the store does not (Apify), ownership depends on the order of steps:

    taking over   claim (a unique key with a higher epoch) → list → read the base again → write
    owning        write → list → acknowledge

When there is a head, the claim is written again and names the head: together with a later write,
so that the first save takes no longer. A recovery then finds a head that was deleted or renamed. It
does not find an older head that was put back under the same key.

The former owner looks for claims *after* each write and before it acknowledges the write. So either
it sees the claim, and does not acknowledge; or its write came before the claim, and the claimant
sees the write when it reads the base again, and gives up. What does not work: to check before the
write, or to make the first head itself the claim. Both lose data: the first head would outrank a
commit that its writer never saw.

If a process takes over before it has anything to write, a record of the takeover stands for the
head.

A claim alone does not fence: it may have been on its way when its process died, and arrive when
another process owns the state. A process that has taken over has a head, or a record of the
takeover; both are written after the answer to its claim, so that a late claim is followed by
nothing. The owner acknowledges nothing while there is a claim above its own. If nothing follows the
claim for `PATIENCE`, the owner takes over again under an epoch above the claim: it claims, lists,
and writes its head again. If the claimant was only slow, it finds the owner's new claim or head at
its next listing, and has acknowledged nothing. Waiting only gives a slow claimant a chance; safety
does not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final

from autostate.errors import FencedError, StoreError, StoreUnavailableError
from autostate.journal.head import CORRUPT, HEADS, OWNER, PREFIX, HeadKey, HeadPin, parse_key
from autostate.journal.record import seal
from autostate.journal.recovery import Found
from autostate.journal.sighting import head_named, owner_named
from autostate.memory import encode
from autostate.ownership.owner import Owner
from autostate.stores.base import Store

_ASKING = 5.0
"""Seconds to wait for the name of the process that has taken over."""

PATIENCE: Final = 5.0
"""Seconds for which a claim without a head may belong to a process that is taking over."""


class OutclaimedError(StoreUnavailableError):
    """There is a claim above that of this process, and nothing shows that the claim succeeded.

    Args:
        store: The store.
        latest: The name of the claim.
        is_left: Whether the claim has been there for so long that its process is gone.
    """

    def __init__(self, store: Store, latest: HeadKey, *, is_left: bool) -> None:
        super().__init__(
            f"another process has begun to take over the state in {store.url} (epoch "
            f"{latest.epoch}), and has written nothing yet; if it writes nothing for "
            f"{PATIENCE:.0f} s, this one goes on"
        )
        self.latest = latest
        self.is_left = is_left


class Ownership:
    """One incarnation's right to write.

    Args:
        store: The store.
        me: The first head key of the incarnation, with an epoch above all that it found.
        found: The recovered state, on which the incarnation builds.
        clock: Seconds that never jump.

    Attributes:
        found: The recovered state.
        held: Whether the incarnation has taken over.
        fenced: Whether another incarnation has taken over: nothing more is written.
        ranks: The ranks under which it has written so far.
    """

    def __init__(
        self,
        store: Store,
        me: HeadKey,
        found: Found,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.found: Found = found
        self.held: bool = False
        self.fenced: bool = False
        self.ranks: list[tuple[int, str]] = [me.rank]
        self._clock = clock
        self._held_as: tuple[int, str] | None = None  # the rank of the last confirmed ownership
        self._rival: HeadKey | None = None
        self._rival_since = 0.0
        self._store = store
        self._me = me
        self._guarded = store.atomic and store.conditional
        self._claimed = self._kept = False
        self._renewals = 0
        self._owner: Owner | None = None  # this process, from its first write on
        self._told: dict[str, Any] = {}  # the same, in its stored form
        self._expect: dict[str, bytes | None] = dict(found.sighting.watched)
        self._named: HeadPin | None = None  # the head that was written last
        self._claim_names: str | None = None
        self._sent: dict[bytes, HeadPin] = {}  # records of the owner whose outcome is unknown

    @property
    def has_moved(self) -> bool:
        """Whether the incarnation has a new name since it took over, and no head under it yet."""
        return self._held_as is not None and not self.held

    def begin(self, timeout: float | None) -> dict[str, bytes]:
        """Prepare the first write; return the records that were written for that.

        Raises:
            FencedError: Another incarnation was first.
        """
        written: dict[str, bytes] = {}
        if not self._kept:
            # Records that recovery passed over go to keys that are never overwritten.
            written = {
                CORRUPT + error.key.removeprefix(PREFIX): error.data
                for error in self.found.damaged
                if error.data is not None
            }
            if written:
                self._store.write(written, timeout=timeout)
            self._kept = True
        if not self._guarded and not self._claimed:
            # In this order. If the base were read first, its owner could write once more in
            # between, and acknowledge that write because it saw no claim.
            written |= self._write_record(self._me.claim, timeout)
            self._examine_claim(timeout)
            self._claimed = True
        return written

    def take(self, timeout: float | None) -> None:
        """Become the owner before there is a head.

        Raises:
            FencedError: Another incarnation was first, or may be taking over.
        """
        try:
            self.begin(timeout)
            if self._guarded:
                self.write({}, (), timeout, head=self.found.pin)
            else:
                self._write_record(self._me.taken, timeout)
                self.confirm(self._store.list(HEADS, timeout=timeout))
        except OutclaimedError as error:  # nothing is lost yet: the state is read again
            self.withdraw(timeout)
            self.fenced = True
            raise FencedError(*error.args) from error

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
        """
        if not self._guarded:
            return self._write_after_claim(puts, deletes, timeout, head)
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
            if not self._resolve_outcome(timeout):
                raise self.refused() from error
            if self._named != head:  # an earlier write of this process has come late
                return self.write(puts, deletes, timeout, head=head)
        else:
            if head is not None:
                self._is_mine(owner)
        return written

    def _write_after_claim(
        self,
        puts: dict[str, bytes],
        deletes: Collection[str],
        timeout: float | None,
        head: HeadPin | None,
    ) -> dict[str, bytes]:
        """Write without conditions; before that, let the claim name the present head."""
        there = None if self._named is None else self._named.key
        if head is not None and there != self._claim_names:
            puts = {self._me.claim.text: self._claim(self._me.claim, there), **puts}
        self._store.write(puts, deletes, timeout=timeout)
        if head is not None:
            self._claim_names, self._named = there, head
        return puts

    def _resolve_outcome(self, timeout: float | None) -> bool:
        """Tell whether the record of the owner is one whose write had an unknown outcome."""
        return bool(self._sent) and self._is_mine(self._store.read(OWNER, timeout=timeout))

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
        data = self._store.read(OWNER, timeout=timeout) if self._guarded else None
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
        self._renewals += 1
        if ended:
            self._owner, self._told = (self._owner or Owner.this()).at_the_end(), {}
        if not self._guarded and self._claimed:
            self._write_record(self._me.claim, timeout, self._claim_names)
            self._compare(self._store.list(HEADS, timeout=timeout))
        elif self._named is not None:
            self.write({}, (), timeout, head=self._named)

    def _write_record(
        self, name: HeadKey, timeout: float | None, head: str | None = None
    ) -> dict[str, bytes]:
        """Write a claim or the record of a takeover; return it by its key."""
        record = {name.text: self._claim(name, head)}
        self._store.write(record, timeout=timeout)
        return record

    def _claim(self, name: HeadKey, head: str | None) -> bytes:
        digest = self.found.digest
        return self._sealed(name.text, "claim", digest, token=name.token, head=head)

    def _sealed(self, key: str, kind: str, previous: str, **body: str | None) -> bytes:
        """Make a record of the owner; it differs at each renewal."""
        if not self._told:
            self._owner = self._owner or Owner.this()
            self._told = self._owner.as_json()
        renewed = {"renewed": self._renewals} if self._renewals else {}
        data = encode({**body, "owner": self._told, **renewed})
        return seal(key, kind, (self._me.epoch, 0), previous, data)[0]

    def confirm(self, keys: Iterable[str]) -> None:
        """Check a listing that was made after a write, before the write is acknowledged.

        Raises:
            FencedError: A later process has taken over.
            OutclaimedError: A later process may be about to.
        """
        self._compare(keys)
        self.held, self._held_as = True, self._me.rank

    def _compare(self, keys: Iterable[str]) -> None:
        """Raise if a listing has a head or a claim above this incarnation."""
        # Two newcomers may have the same epoch: then their tokens decide, for both of them alike.
        names = (parse_key(key) for key in keys if key.startswith(HEADS))
        later = [name for name in names if name and name.rank > self._me.rank]
        proofs = [name for name in later if name.is_proof]
        if proofs:
            raise self._outranked(max(proofs))
        latest = max(later, default=None)
        is_left = self._is_left(latest)
        if latest is not None:
            raise OutclaimedError(self._store, latest, is_left=is_left)

    def _is_left(self, claim: HeadKey | None) -> bool:
        """Tell whether a claim has been there for so long that its process is gone."""
        now = self._clock()
        if claim != self._rival:
            self._rival, self._rival_since = claim, now
        return claim is not None and now - self._rival_since >= PATIENCE

    def move_to(self, me: HeadKey) -> None:
        """Take over anew under another name, above a claim that nothing follows."""
        self._me = me
        self.ranks.append(me.rank)
        self._claimed = self.held = False
        self._rival = None

    def check(self, timeout: float | None) -> None:
        """Check that this incarnation still owns the state.

        Raises:
            FencedError: It does not.
        """
        if not self.held:
            return
        if not self._guarded:
            self.confirm(self._store.list(HEADS, timeout=timeout))
            return
        owner = self._store.read(OWNER, timeout=timeout)  # once: a late write may come in between
        if not self._is_mine(owner) and owner != self._expect[OWNER]:
            raise self._outranked()

    def _examine_claim(self, timeout: float | None) -> None:
        """Check, when all others can see the claim, that nothing has changed since the recovery."""
        listing = self._store.list(HEADS, timeout=timeout)
        names = {name for name in map(parse_key, listing) if name is not None}
        # The process of a lesser claim has acknowledged nothing, and will see this claim.
        others = {name for name in names if name.rank not in self.ranks and not name.is_claim}
        try:
            self._compare(listing)
            if self._held_as is not None:  # it builds on its own head: a lower one came late
                rivals = {name for name in others if name.rank > self._held_as}
                if rivals:
                    raise self._outranked(max(rivals))
            elif others - self.found.sighting.keys or any(
                self._store.read(key, timeout=timeout) != data
                for key, data in self.found.sighting.watched.items()
            ):
                raise self._overtaken()
        except FencedError:
            self.withdraw(timeout)
            raise

    def withdraw(self, timeout: float | None) -> None:
        """Delete the claim of this incarnation, which has lost, so that it stops no other one."""
        with suppress(StoreError):
            self._store.write({}, [self._me.claim.text, self._me.taken.text], timeout=timeout)

    def refused(self) -> FencedError:
        """Make the error for a write that the store refused because `expect` did not hold."""
        return self._outranked() if self.held else self._overtaken()

    def _overtaken(self) -> FencedError:
        self.fenced = True
        return FencedError(
            f"another process wrote to {self._store.url} after this one had read it: nothing "
            "was saved. Let only one process at a time use this state"
        )

    def _outranked(self, latest: HeadKey | None = None) -> FencedError:
        """Make the error for this incarnation, with the new owner as far as known."""
        by, owner = "a later process", None
        with suppress(StoreError):
            key = OWNER if latest is None else latest.claim.text
            owner = owner_named(key, self._store.read(key, timeout=_ASKING))
        if owner is not None:
            by = f"{by}, {owner},"
        elif latest is not None:
            by = f"{by} (epoch {latest.epoch})"
        self.fenced = True
        return FencedError(
            f"{by} has taken over the state in {self._store.url}: what this process changes "
            "from now on is not saved. Stop it, or let it use another store",
            owner=owner,
        )

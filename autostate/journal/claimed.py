"""Ownership in a store that does not honour `expect`, such as Apify's.

It depends on the order of steps:

    taking over   claim (a unique key with a higher epoch) → ring → list → read the base again →
                  write
    owning        write → read the bell → list, if somebody has rung → acknowledge

When there is a head, the claim is written again and names the head: together with a later write,
so that the first save takes no longer. A recovery then finds a head that was deleted or renamed. It
does not find an older head that was put back under the same key.

The former owner looks for claims *after* each write and before it acknowledges the write. So either
it sees the claim, and does not acknowledge; or its write came before the claim, and the claimant
sees the write when it reads the base again, and gives up. What does not work: to check before the
write, or to make the first head itself the claim. Both lose data: the first head would outrank a
commit that its writer never saw.

The *bell* is one record under a fixed key, which each claimant replaces after its claim and before
it reads the base again. A listing costs ten times as much as a read of one record. If the bell is
as the owner wrote it, every claimant that does not know of the owner rings later, and reads the
base after that: so it sees the owner's write. The owner may only trust its own ring if a listing
after the ring has shown no later claim, since it may have replaced the ring of another one. If
another ring has arrived, perhaps late and from a process that is dead, the owner rings again and
lists. What does not work: to skip the check because the last one was recent. A claimant could read
the base between that check and the write; and no store tells that the former container of a run is
dead.

If a process takes over before it has anything to write, a record of the takeover stands for the
head.

A claim alone does not fence: it may have been on its way when its process died, and arrive when
another process owns the state. A process that has taken over has a head, or a record of the
takeover; both are written after the answer to its claim, so that a late claim is followed by
nothing. An owner that lists acknowledges nothing while there is a claim above its own. If nothing
follows the claim for `PATIENCE`, the owner takes over again under an epoch above the claim: it
claims, lists, and writes its head again. If the claimant was only slow, it finds the owner's new
claim or head at its next listing, and has acknowledged nothing. Waiting only gives a slow claimant
a chance; safety does not depend on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from autostate.errors import FencedError, StoreError
from autostate.journal.head import BELL, HEADS, HeadKey, HeadPin, parse_key
from autostate.journal.ownership import Clock, OutclaimedError, Ownership
from autostate.journal.record import seal
from autostate.journal.recovery import Found
from autostate.memory import encode
from autostate.stores.base import Store


class ClaimedOwnership(Ownership):
    """The right to write to a store in which each incarnation claims the state."""

    def __init__(self, store: Store, me: HeadKey, found: Found, clock: Clock) -> None:
        super().__init__(store, me, found, clock)
        self._claimed = False
        self._claim_names: str | None = None
        self._rings = 0
        self._ringing: bytes | None = None  # the bell as this process wrote it, if an answer came
        self._rung: bytes | None = None  # the same, after a listing without a later claim

    def begin(self, timeout: float | None) -> dict[str, bytes]:
        """Claim the state before the first write; see `Ownership.begin`."""
        written = super().begin(timeout)
        if not self._claimed:
            # In this order. If the base were read first, its owner could write once more in
            # between, and acknowledge that write because it saw no claim.
            written |= self._write_record(self._me.claim, timeout)
            written |= self._ring(timeout)
            self._examine_claim(timeout)
            self._claimed = True
            self._rung = self._ringing
        return written

    def take(self, timeout: float | None) -> None:
        """Become the owner before there is a head.

        Raises:
            FencedError: Another incarnation was first, or may be taking over.
        """
        try:
            self.begin(timeout)
            self._write_record(self._me.taken, timeout)
            if self._nobody_rang(timeout):
                self._hold()
            else:
                self.confirm(self._store.list(HEADS, timeout=timeout))
        except OutclaimedError as error:  # nothing is lost yet: the state is read again
            self._withdraw(timeout)
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
        """Write as the owner; see `GuardedOwnership.write`.

        Before that, the claim is written again if it does not name the present head.
        """
        there = None if self._named is None else self._named.key
        if head is not None and there != self._claim_names:
            puts = {self._me.claim.text: self._claim(self._me.claim, there), **puts}
        self._store.write(puts, deletes, timeout=timeout)
        if head is not None:
            self._claim_names, self._named = there, head
        return puts

    def confirm(self, keys: Iterable[str]) -> None:
        """Check a listing that was made after a write; see `Ownership.confirm`."""
        super().confirm(keys)
        self._rung = self._ringing

    def check(self, timeout: float | None) -> None:
        """Check that this incarnation still owns the state; see `Ownership.check`.

        A listing follows if somebody has rung, or if a late ring has arrived.
        """
        if self.held and not self._nobody_rang(timeout):
            with suppress(StoreError):
                self._ring(timeout)  # so that the next check is one request again
            super().check(timeout)

    def renew(self, timeout: float | None, *, ended: bool = False) -> None:
        """Write the claim again; see `GuardedOwnership.renew`."""
        self._describe(ended=ended)
        if self._claimed:
            self._write_record(self._me.claim, timeout, self._claim_names)
            self._compare(self._store.list(HEADS, timeout=timeout))
        elif self._named is not None:
            self.write({}, (), timeout, head=self._named)

    def move_to(self, me: HeadKey) -> None:
        """Take over anew under another name; see `Ownership.move_to`."""
        super().move_to(me)
        self._claimed = False

    def _write_record(
        self, name: HeadKey, timeout: float | None, head: str | None = None
    ) -> dict[str, bytes]:
        """Write a claim or the record of a takeover; return it by its key."""
        record = {name.text: self._claim(name, head)}
        self._store.write(record, timeout=timeout)
        return record

    def _ring(self, timeout: float | None) -> dict[str, bytes]:
        """Write the bell; return it by its key.

        Each ring differs from those before, because one without an answer may arrive late.
        """
        self._rung = self._ringing = None
        self._rings += 1
        body = encode({"token": self._me.token, "ring": self._rings})
        data, _ = seal(BELL, "bell", (self._me.epoch, 0), "", body)
        self._store.write({BELL: data}, timeout=timeout)
        self._ringing = data
        return {BELL: data}

    def _nobody_rang(self, timeout: float | None) -> bool:
        """Tell whether the bell is as this process wrote it before it saw that it was the owner."""
        return self._rung is not None and self._store.read(BELL, timeout=timeout) == self._rung

    def _claim(self, name: HeadKey, head: str | None) -> bytes:
        digest = self.found.digest
        return self._sealed(name.text, "claim", digest, token=name.token, head=head)

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
            self._withdraw(timeout)
            raise

    def _withdraw(self, timeout: float | None) -> None:
        """Delete the claim of this incarnation, which has lost, so that it stops no other one."""
        with suppress(StoreError):
            self._store.write({}, [self._me.claim.text, self._me.taken.text], timeout=timeout)

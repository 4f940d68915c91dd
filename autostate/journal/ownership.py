"""Ownership: the writes of at most one incarnation are acknowledged; every other one is told.

`guarded.py` is for stores that honour `expect` inside one transaction, `claimed.py` for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from autostate.errors import FencedError, StoreError, StoreUnavailableError
from autostate.journal.head import CORRUPT, HEADS, OWNER, PREFIX, HeadKey, HeadPin, parse_key
from autostate.journal.record import seal
from autostate.journal.recovery import Found
from autostate.journal.sighting import owner_named
from autostate.memory import encode
from autostate.ownership.owner import Owner
from autostate.stores.base import Store

_ASKING = 5.0
"""Seconds to wait for the name of the process that has taken over."""

PATIENCE: Final = 5.0
"""Seconds for which a claim without a head may belong to a process that is taking over."""


Clock = Callable[[], float]


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
    """One incarnation's right to write, as far as it is the same in all stores.

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
        lease: The lease of this process as an owner, if it needs one.
        left: The record of the owner in a store that has lost what was written, if there is one.
    """

    def __init__(self, store: Store, me: HeadKey, found: Found, clock: Clock) -> None:
        self.found: Found = found
        self.held: bool = False
        self.fenced: bool = False
        self.ranks: list[tuple[int, str]] = [me.rank]
        self.lease: float | None = None
        self.left: bytes | None = None
        self._clock = clock
        self._held_as: tuple[int, str] | None = None  # the rank of the last confirmed ownership
        self._rival: HeadKey | None = None
        self._rival_since = 0.0
        self._store = store
        self._me = me
        self._kept = False
        self._renewals = 0
        self._owner: Owner | None = None  # this process, from its first write on
        self._follows = False
        self._told: dict[str, Any] = {}  # the same, in its stored form
        self._named: HeadPin | None = None  # the head that was written last

    def follow(self, former: Ownership) -> None:
        """Go on in the place of a former incarnation of this process, whose writes were lost.

        They may come back: somebody renames a folder, and renames it again.
        """
        self._owner, self._follows = former._owner, former.held or former._follows

    @property
    def has_moved(self) -> bool:
        """Whether the incarnation has a new name since it took over, and no head under it yet."""
        return self._held_as is not None and not self.held

    def begin(self, timeout: float | None) -> dict[str, bytes]:
        """Prepare the first write; return the records that were written for that.

        Raises:
            FencedError: Another incarnation was first.
        """
        if self._kept:
            return {}
        # Records that recovery passed over go to keys that are never overwritten.
        written = {
            CORRUPT + error.key.removeprefix(PREFIX): error.data
            for error in self.found.damaged
            if error.data is not None
        }
        if written:
            self._store.write(written, timeout=timeout)
        self._kept = True
        return written

    def displace(self, timeout: float | None) -> None:
        """Let the store refuse the owner's next write, so that the state can be read again."""

    def _describe(self, *, ended: bool) -> None:
        """Let the next record of the owner differ from the one before."""
        self._renewals += 1
        if ended:
            self._owner, self._told = (self._owner or Owner.this(self.lease)).at_the_end(), {}

    def _sealed(self, key: str, kind: str, previous: str, **body: str | None) -> bytes:
        """Make a record of the owner; it differs at each renewal."""
        if not self._told:
            self._owner = self._owner or Owner.this(self.lease)
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
        self._hold()

    def _hold(self) -> None:
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
        self.held = False
        self._rival = None

    def check(self, timeout: float | None) -> None:
        """Check that this incarnation still owns the state.

        Raises:
            FencedError: It does not.
        """
        if self.held:
            self.confirm(self._store.list(HEADS, timeout=timeout))

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

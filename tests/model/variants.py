"""Ways to break the protocol, each a small change of the real code; the exploration finds all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autostate.journal import Journal, recovery
from autostate.journal.claimed import ClaimedOwnership
from autostate.journal.guarded import GuardedOwnership
from autostate.journal.head import HEADS, HeadKey
from autostate.journal.ownership import Ownership
from autostate.journal.recovery import Found
from autostate.journal.sighting import look
from autostate.journal.writer import Writer
from tests.model.processes import AnsweringStore

Variant = Callable[[pytest.MonkeyPatch], None]


def name_of(variant: Variant) -> str:
    """Its name."""
    return str(getattr(variant, "__name__", ""))


def checks_before_the_write(patch: pytest.MonkeyPatch) -> None:
    """The owner looks for claims before each write instead of after it."""
    send, confirm = Writer.send, Ownership.confirm

    def checked(self: Writer, timeout: float | None) -> Any:
        confirm(self.ownership, self._store.list(HEADS, timeout=timeout))
        return send(self, timeout)

    patch.setattr(Writer, "send", checked)
    patch.setattr(Ownership, "confirm", lambda self, _: setattr(self, "held", True))


def first_head_is_the_claim(patch: pytest.MonkeyPatch) -> None:
    """A newcomer writes no claim: it looks whether its base is still there, and writes a head."""

    def begin(self: ClaimedOwnership, timeout: float | None) -> dict[str, bytes]:
        if not self._claimed:
            self._examine_claim(timeout)
            self._claimed = True
        return {}

    patch.setattr(ClaimedOwnership, "begin", begin)


def base_is_not_read_again(patch: pytest.MonkeyPatch) -> None:
    """A newcomer does not compare its base once its claim is written."""

    def examine(self: ClaimedOwnership, timeout: float | None) -> None:
        self.confirm(self._store.list(HEADS, timeout=timeout))
        self.held = False

    patch.setattr(ClaimedOwnership, "_examine_claim", examine)


def deletes_unchecked(patch: pytest.MonkeyPatch) -> None:
    """The owner deletes old records without having looked whether it still is the owner."""
    confirm = Ownership.confirm

    def first(self: Ownership, keys: list[str]) -> None:
        if not (self.held and any(not key.startswith(HEADS) for key in keys)):
            confirm(self, keys)  # at a takeover, and for `flush()`

    patch.setattr(Ownership, "confirm", first)


def reuses_the_head_key(patch: pytest.MonkeyPatch) -> None:
    """After an unknown outcome another head goes to the same key."""
    prepare = Writer.prepare

    def untainted(self: Writer, *arguments: Any, **named: Any) -> None:
        self._tainted = False
        prepare(self, *arguments, **named)

    patch.setattr(Writer, "prepare", untainted)


def forgets_a_lost_answer(patch: pytest.MonkeyPatch) -> None:
    """Once a write that failed was repeated, its first copy counts as arrived."""
    send = Writer.send

    def forgetful(self: Writer, timeout: float | None) -> Any:
        self._tainted = False
        return send(self, timeout)

    patch.setattr(Writer, "send", forgetful)


def owner_names_no_later_head(patch: pytest.MonkeyPatch) -> None:
    """The record of the owner stays as it is when the head gets a new key."""
    write = GuardedOwnership.write

    def once(
        self: GuardedOwnership, puts: Any, deletes: Any, timeout: Any, *, head: Any = None
    ) -> Any:
        return write(self, puts, deletes, timeout, head=None if self._named else head)

    patch.setattr(GuardedOwnership, "write", once)
    patch.setattr(recovery, "check_owner_record", lambda *_: None)


def nothing_is_expected(patch: pytest.MonkeyPatch) -> None:
    """The store is not asked to compare the record of the owner."""
    write = AnsweringStore.write

    def blindly(self: AnsweringStore, puts: Any, deletes: Any = (), **named: Any) -> None:
        write(self, puts, deletes, **named | {"expect": None})

    patch.setattr(AnsweringStore, "write", blindly)


def claims_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A newcomer's epoch is above those of all heads, but not of all claims."""
    begin = Journal._begin

    def lower(self: Journal, found: Found, epoch: int) -> None:
        begin(self, found, max((key.epoch for key in found.sighting.heads), default=0))

    patch.setattr(Journal, "_begin", lower)


def head_before_its_segments(patch: pytest.MonkeyPatch) -> None:
    """The head is written first, and then what it names."""
    write = ClaimedOwnership.write

    def reversed_(self: ClaimedOwnership, puts: Any, *arguments: Any, **named: Any) -> Any:
        return write(self, dict(reversed(puts.items())), *arguments, **named)

    patch.setattr(ClaimedOwnership, "write", reversed_)


def readers_believe_their_first_look(patch: pytest.MonkeyPatch) -> None:
    """What is missing counts as damage, also where a compaction has just replaced it."""

    def once(store: Any, timeout: Any, read: Any, _: str) -> Any:
        return read(look(store, timeout))

    patch.setattr(recovery, "unchanging", once)


def a_refusal_is_always_a_takeover(patch: pytest.MonkeyPatch) -> None:
    """A refused write is not compared with those whose answers were lost."""
    patch.setattr(GuardedOwnership, "_has_arrived", lambda *_: False)


def builds_on_its_last_claim(patch: pytest.MonkeyPatch) -> None:
    """Who takes over anew looks for heads above its last claim, not above its last head."""
    move_to = ClaimedOwnership.move_to

    def careless(self: ClaimedOwnership, me: HeadKey) -> None:
        move_to(self, me)
        self._held_as = self.ranks[-2]

    patch.setattr(ClaimedOwnership, "move_to", careless)


def trusts_its_last_check(patch: pytest.MonkeyPatch) -> None:
    """The owner does not ask again after a write, because it has asked a moment ago."""
    patch.setattr(ClaimedOwnership, "_nobody_rang", lambda self, _: self._rung is not None)


def rings_too_late(patch: pytest.MonkeyPatch) -> None:
    """A newcomer rings when it has read its base again."""
    ring, examine = ClaimedOwnership._ring, ClaimedOwnership._examine_claim

    def examine_first(self: ClaimedOwnership, timeout: float | None) -> None:
        examine(self, timeout)
        ring(self, timeout)

    patch.setattr(ClaimedOwnership, "_ring", lambda *_: {})
    patch.setattr(ClaimedOwnership, "_examine_claim", examine_first)


def repeats_a_ring(patch: pytest.MonkeyPatch) -> None:
    """A ring whose answer was lost is sent again as it was."""
    ring = ClaimedOwnership._ring

    def same(self: ClaimedOwnership, timeout: float | None) -> dict[str, bytes]:
        self._rings = 0
        return ring(self, timeout)

    patch.setattr(ClaimedOwnership, "_ring", same)


def trusts_a_ring_at_once(patch: pytest.MonkeyPatch) -> None:
    """The owner that has rung again does not wait for a listing: perhaps it replaced a ring."""
    ring = ClaimedOwnership._ring

    def trusting(self: ClaimedOwnership, timeout: float | None) -> dict[str, bytes]:
        written = ring(self, timeout)
        self._rung = self._ringing
        return written

    patch.setattr(ClaimedOwnership, "_ring", trusting)

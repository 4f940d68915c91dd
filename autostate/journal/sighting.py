"""The records of a store at one moment: which head is the newest, and whether one is missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from autostate.errors import StoreUnavailableError
from autostate.journal.head import HEADS, OWNER, SEGMENTS, HeadKey, HeadPin, kind_of, parse_key
from autostate.journal.record import DamagedRecordError, open_record
from autostate.ownership.owner import Owner
from autostate.stores.base import Store

T = TypeVar("T")

_COPIED = ": perhaps the store is a copy that was made while a process was writing to it"
_ROUNDS = 5  # how often a state may be replaced under a reader before it gives up


class Sighting(Struct, frozen=True):
    """The records of a store at one moment, on which a takeover builds and which it checks again.

    Attributes:
        heads: The names of the heads that have a state, the newest first.
        claims: The names of the other heads.
        watched: Records that must still be the same when this incarnation takes over: the
            newest head, the one that was recovered, the record of the owner.
    """

    heads: tuple[HeadKey, ...] = ()
    claims: tuple[HeadKey, ...] = ()
    watched: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def keys(self) -> set[HeadKey]:
        """The names of all heads and claims."""
        return {*self.heads, *self.claims}


def look(store: Store, timeout: float | None) -> Sighting:
    """List the heads; read the newest one, and the record of the owner in stores with one."""
    watched: dict[str, bytes | None] = {}
    records: dict[str, bytes] | None = None
    if store.atomic and store.conditional:
        records = store.scan((OWNER, HEADS), timeout=timeout)
        watched[OWNER] = records.get(OWNER)
    keys = store.list(HEADS, timeout=timeout) if records is None else records
    heads: list[HeadKey] = []
    claims: list[HeadKey] = []
    for name in filter(None, map(parse_key, keys)):
        (claims if name.is_claim else heads).append(name)
    heads.sort(reverse=True)
    if heads:
        newest = heads[0].text
        read = store.read(newest, timeout=timeout) if records is None else records.get(newest)
        watched[newest] = read
    return Sighting(tuple(heads), tuple(claims), watched)


def unchanging(store: Store, timeout: float | None, read: Callable[[Sighting], T], what: str) -> T:
    """Read the newest state; begin again if it was replaced meanwhile.

    Args:
        store: The store.
        timeout: The most seconds to wait for each answer of the store.
        read: Reads the state that was sighted.
        what: What `read` does with the state, as a participle.

    Raises:
        DamagedRecordError: `read` has raised it, and the store was unchanged.
        StoreUnavailableError: The state was replaced again and again.
    """
    for left in reversed(range(_ROUNDS + 1)):
        # The owner waits for a reader of one moment, so that it is the last resort.
        at_one_moment = nullcontext if left else getattr(store, "at_one_moment", nullcontext)
        with at_one_moment():
            sighting = look(store, timeout)
            try:
                return read(sighting)
            except DamagedRecordError:
                # Another incarnation may have compacted, and deleted the record: no damage.
                if look(store, timeout) == sighting:
                    raise
    raise StoreUnavailableError(
        f"{store.url} is being written by another process, faster than it can be {what}: "
        "stop that process, or try again"
    )


def check_owner_record(store: Store, sighting: Sighting, timeout: float | None) -> HeadPin | None:
    """Check that the newest head has the key which the record of the owner names.

    In an atomic store both change together. If they differ, somebody has deleted or renamed a
    record; or the store is a copy of a file that was made during a write, with records of two
    moments, and perhaps without the newest head.

    Returns:
        The named head, whose digest is still to be compared; None: the store has no record of the
        owner.

    Raises:
        DamagedRecordError: They differ, or one of them is missing.
    """
    if OWNER not in sighting.watched:
        _check_claims(store, sighting, timeout)
        return None
    data = sighting.watched[OWNER]
    newest = sighting.heads[0] if sighting.heads else None
    if data is None:
        if newest is not None or any(map(parse_key, store.list(SEGMENTS, timeout=timeout))):
            raise DamagedRecordError(OWNER, f"is missing{_COPIED}", None)
        return None
    pin = head_named(data)
    named = None if pin.key is None else parse_key(pin.key)
    if newest is None or (named is not None and newest < named):
        if pin.key is not None:
            raise DamagedRecordError(pin.key, f"is missing{_COPIED}", None)
    elif newest != named:
        raise DamagedRecordError(OWNER, f"names an older head than the newest{_COPIED}", data)
    return pin


def _check_claims(store: Store, sighting: Sighting, timeout: float | None) -> None:
    """Check that the head which the newest claim names, or a newer one, is there.

    Raises:
        DamagedRecordError: The head is missing, or the claim is damaged.
    """
    newest = sighting.heads[0] if sighting.heads else None
    for claim in sorted(sighting.claims, reverse=True):
        if claim.is_proof:  # the record of a takeover names no head
            continue
        if newest is not None and claim.rank < newest.rank:
            return
        data = store.read(claim.text, timeout=timeout)
        if data is None:  # a claimant that gave up has deleted its claim
            continue
        body = _read_body(claim.text, data, "claim")
        named = None if body.head is None else parse_key(body.head)
        if named is not None and (newest is None or newest < named):
            raise DamagedRecordError(named.text, f"is missing{_COPIED}", None)


def head_named(data: bytes) -> HeadPin:
    """Return the head that a record of the owner names.

    Raises:
        DamagedRecordError: The record cannot be read.
    """
    body = _read_body(OWNER, data, "owner")
    return HeadPin(body.head, body.digest)


def _read_body(key: str, data: bytes, kind: str) -> _OwnerBody:
    try:
        body = msgspec.json.decode(open_record(key, data, kind).body, type=_OwnerBody)
    except msgspec.MsgspecError as error:
        raise DamagedRecordError(key, f"does not read ({error})", data) from error
    named = None if body.head is None else parse_key(body.head)
    if body.head is not None and (named is None or named.is_claim):
        raise DamagedRecordError(key, "names no head", data)
    return body


def owner_named(key: str, data: bytes | None) -> Owner | None:
    """Return the writer of a record of the owner or of a claim; None if it is not known."""
    with suppress(DamagedRecordError, msgspec.MsgspecError):
        body = msgspec.json.decode(open_record(key, data, kind_of(key)).body)
        return Owner.from_json(body.get("owner"))
    return None


class _OwnerBody(msgspec.Struct):
    head: str | None = None
    digest: str = ""

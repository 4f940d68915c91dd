"""Recovery: finding the current head, and the state that it names.

Recovery only reads. A record that fails its check is an error that names the record or, if the user
chose so, the reason to go back to the next older head. It is never a reason to begin from nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Struct, field

from autostate import memory
from autostate.depth import TooDeepError
from autostate.errors import CorruptStateError, StoreError, StoreUnavailableError
from autostate.journal.commit import Convert, DecodedReplay, NodeState, Replay
from autostate.journal.head import (
    HEADS,
    OWNER,
    SEGMENTS,
    Head,
    HeadKey,
    HeadPin,
    Ref,
    open_head,
    parse_key,
)
from autostate.journal.record import DamagedRecordError, open_record, segment_lines, whole
from autostate.ownership.owner import Owner
from autostate.stores.base import Store

OnCorrupt = Literal["raise", "previous"]

_COPIED = ": perhaps the store is a copy that was made while a process was writing to it"
_ROUNDS = 5  # how often a state may be replaced under a reader before it gives up


class Sighting(Struct, frozen=True):
    """The records of a store at one moment, on which a takeover builds and which it checks again.

    Attributes:
        keys: The names of all heads and claims.
        watched: Records that must still be the same when this incarnation takes over: the
            newest head, the one that was recovered, the record of the owner.
    """

    keys: frozenset[HeadKey] = frozenset()
    watched: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def heads(self) -> list[HeadKey]:
        """The names of the heads that have a state, the newest first."""
        return sorted((key for key in self.keys if not key.is_claim), reverse=True)


class Found(Struct):
    """The result of a recovery.

    Attributes:
        sighting: The records that the store held.
        key: The name of the head that was recovered; None: there was none.
        head: The body of the head.
        digest: The digest of the head.
        sequence: The sequence number of the head.
        nodes: The state.
        damaged: Records that had to be passed over.
    """

    sighting: Sighting = field(default_factory=Sighting)
    key: HeadKey | None = None
    head: Head = field(default_factory=Head)
    digest: str = ""
    sequence: int = 0
    nodes: dict[int, NodeState] = field(default_factory=dict)
    damaged: list[DamagedRecordError] = field(default_factory=list)

    @property
    def pin(self) -> HeadPin:
        """The head that was recovered."""
        return HeadPin(None if self.key is None else self.key.text, self.digest)


def find(
    store: Store,
    on_corrupt: OnCorrupt,
    timeout: float | None,
    convert: Convert | None = None,
) -> Found:
    """Find the newest state in a store and rebuild it; `convert` is as for `DecodedReplay`.

    Raises:
        CorruptStateError: A record is damaged, and there is no other state to go back to, or the
            user has not asked for that.
        StoreError: The store could not be read.
    """
    for _ in range(_ROUNDS):
        found = _find_once(store, on_corrupt, timeout, convert)
        if found is not None:
            return found
    at_one_moment = getattr(store, "at_one_moment", None)
    if at_one_moment is not None:  # the owner waits as long: so it is the last resort
        with at_one_moment():
            found = _find_once(store, on_corrupt, timeout, convert)
        if found is not None:
            return found
    raise StoreUnavailableError(
        f"{store.url} is being written by another process, faster than it can be read: "
        "stop that process, or try again"
    )


def _find_once(
    store: Store, on_corrupt: OnCorrupt, timeout: float | None, convert: Convert | None
) -> Found | None:
    """Find the newest state; None if it was replaced while it was read."""
    sighting = look(store, timeout)
    try:
        with memory.no_collections():
            found = _newest_good(store, sighting, on_corrupt, timeout, convert)
    except DamagedRecordError as error:
        # If another incarnation has compacted meanwhile, this is not damage.
        if look(store, timeout) == sighting:
            advised = _advised(store, sighting, error, timeout)
            advised.args = (f"{store.url}: {advised.args[0]}",)
            raise advised from error
        return None
    return found if not found.damaged or look(store, timeout) == sighting else None


def look(store: Store, timeout: float | None) -> Sighting:
    """List the heads; read the newest one, and the record of the owner in stores with one."""
    watched = {}
    if store.atomic and store.conditional:
        watched[OWNER] = store.read(OWNER, timeout=timeout)
    names = map(parse_key, store.list(HEADS, timeout=timeout))
    sighting = Sighting(frozenset(name for name in names if name is not None), watched)
    for key in sighting.heads[:1]:
        watched[key.text] = store.read(key.text, timeout=timeout)
    return sighting


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
    newest = next(iter(sighting.heads), None)
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
    newest = next(iter(sighting.heads), None)
    for claim in sorted((key for key in sighting.keys if not key.is_proof), reverse=True):
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
        for kind in ("owner", "claim"):
            with suppress(DamagedRecordError):
                body = msgspec.json.decode(open_record(key, data, kind).body)
                return Owner.from_json(body.get("owner"))
    return None


class _OwnerBody(msgspec.Struct):
    head: str | None = None
    digest: str = ""


def read_lines(store: Store, refs: Iterable[Ref], timeout: float | None) -> Iterator[bytes]:
    """Read the lines of segments; a line that was cut is still in pieces.

    Raises:
        DamagedRecordError: A segment is missing, damaged, or another one than its reference names.
    """
    for ref in refs:
        data = store.read(ref.key, timeout=timeout)
        record = open_record(ref.key, data, "segment")
        if record.digest != ref.digest:
            raise DamagedRecordError(ref.key, "is not the one that its head names", data)
        yield from segment_lines(record.body)


def replay(
    replayed: Replay[msgspec.Raw] | DecodedReplay, lines: Iterable[bytes], where: str
) -> None:
    """Apply lines to a replay.

    Raises:
        CorruptStateError: A line is no change, or a change that does not fit; the message names
            its record.
    """
    try:
        for line in whole(lines):
            replayed.apply(line)
    except (DamagedRecordError, TooDeepError):
        raise
    except (msgspec.MsgspecError, CorruptStateError, ValueError, TypeError) as error:
        raise CorruptStateError(f"the state that {where} names does not fit: {error}") from error


def _newest_good(
    store: Store,
    sighting: Sighting,
    on_corrupt: OnCorrupt,
    timeout: float | None,
    convert: Convert | None,
) -> Found:
    damaged: list[DamagedRecordError] = []
    pin = None
    try:
        pin = check_owner_record(store, sighting, timeout)
    except DamagedRecordError as error:
        if on_corrupt == "raise" or error.intact:
            raise
        damaged.append(error)
    for key in sighting.heads:
        data = sighting.watched.get(key.text) or store.read(key.text, timeout=timeout)
        try:
            found = _rebuild(store, sighting, key, data, timeout, convert=convert, pin=pin)
        except StoreError:  # a damaged file is no reason to go back, and then to write to it
            raise
        except CorruptStateError as error:
            problem = _as_damage(error, key, data)
            if on_corrupt == "raise" or problem.intact:
                raise problem from error
            damaged.append(problem)
            continue
        found.sighting = Sighting(sighting.keys, {**sighting.watched, key.text: data})
        found.damaged = damaged
        return found
    if damaged:
        raise damaged[0]
    return Found(sighting)


def _advised(
    store: Store, sighting: Sighting, error: DamagedRecordError, timeout: float | None
) -> DamagedRecordError:
    """Add advice: to go back if there is a state to go back to, else to begin a new one."""
    if error.intact:
        return error
    left = "Nothing was touched: restore the store from a copy"
    with suppress(CorruptStateError, StoreError):
        found = _newest_good(store, sighting, "previous", timeout, None)
        if found.key is not None:
            back = f'{left}, or go back to {age(found)} with on_corrupt="previous"'
            return error.with_advice(back, previous=True)
    anew = (
        f"{left}. {store.url} holds no earlier state to go back to. To begin anew, call "
        "autostate.delete(name): it keeps a copy of what cannot be read"
    )
    return error.with_advice(anew, previous=False)


def age(found: Found) -> str:
    """Describe the age of a state to which recovery goes back."""
    saved_at = found.head.saved_at
    if saved_at is None:
        return "the state before it"
    return f"the state of {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(saved_at))}"


def _rebuild(
    store: Store,
    sighting: Sighting,
    key: HeadKey,
    data: bytes | None,
    timeout: float | None,
    *,
    convert: Convert | None,
    pin: HeadPin | None,
) -> Found:
    head, record = open_head(key.text, data, pin)
    replayed = DecodedReplay(convert)
    replay(replayed, map(bytes, head.nodes), key.text)
    replay(replayed, read_lines(store, head.refs, timeout), key.text)
    replay(replayed, map(bytes, head.changes), key.text)
    return Found(sighting, key, head, record.digest, record.sequence, replayed.nodes)


def _as_damage(error: CorruptStateError, key: HeadKey, data: bytes | None) -> DamagedRecordError:
    if isinstance(error, DamagedRecordError):
        return error
    if isinstance(error, TooDeepError):
        return DamagedRecordError(
            key.text, f"names a state that is intact, but {error}", data, intact=True
        )
    return DamagedRecordError(key.text, f"names a state that does not fit ({error})", data)

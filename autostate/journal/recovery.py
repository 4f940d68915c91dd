"""Recovery: finding the current head, and the state that it names.

Recovery only reads. A record that fails its check is an error that names the record or, if the user
chose so, the reason to go back to the next older head. It is never a reason to begin from nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from itertools import chain
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from autostate import memory
from autostate.depth import TooDeepError
from autostate.errors import CorruptStateError, StoreError, StoreUnavailableError
from autostate.journal.commit import NodeState
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
from autostate.journal.record import DamagedRecordError, Record, open_record, segment_lines, whole
from autostate.journal.replay import Convert, DecodedReplay, Replay
from autostate.ownership.owner import Owner
from autostate.stores.base import Store

T = TypeVar("T")
OnCorrupt = Literal["raise", "previous"]

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

    def rebuild(sighting: Sighting) -> Found:
        with memory.no_collections():
            found = _newest_good(store, sighting, on_corrupt, timeout, convert)
        if found.damaged and look(store, timeout) != sighting:
            raise found.damaged[0]
        return found

    try:
        return unchanging(store, timeout, rebuild, "read")
    except DamagedRecordError as error:
        raise _advised(store, error, timeout) from error


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


def look(store: Store, timeout: float | None) -> Sighting:
    """List the heads; read the newest one, and the record of the owner in stores with one."""
    watched = {}
    if store.atomic and store.conditional:
        watched[OWNER] = store.read(OWNER, timeout=timeout)
    heads: list[HeadKey] = []
    claims: list[HeadKey] = []
    for name in filter(None, map(parse_key, store.list(HEADS, timeout=timeout))):
        (claims if name.is_claim else heads).append(name)
    heads.sort(reverse=True)
    if heads:
        newest = heads[0].text
        watched[newest] = store.read(newest, timeout=timeout)
    return Sighting(tuple(heads), tuple(claims), watched)


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
        yield from segment_lines(open_segment(ref, data).body)


def open_segment(ref: Ref, data: bytes | None) -> Record:
    """Check a segment and take it apart.

    Raises:
        DamagedRecordError: It is missing, damaged, or another one than its reference names.
    """
    record = open_record(ref.key, data, "segment")
    if record.digest != ref.digest:
        raise DamagedRecordError(ref.key, "is not the one that its head names", data)
    return record


def lines_of(store: Store, head: Head, timeout: float | None) -> Iterator[bytes]:
    """Read all changes that make the state of a head; see `read_lines`."""
    segments = read_lines(store, head.refs, timeout)
    return chain(map(bytes, head.nodes), segments, map(bytes, head.changes))


def replay(replayed: Replay[Raw] | DecodedReplay, lines: Iterable[bytes], where: str) -> None:
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
        text = key.text
        data = sighting.watched.get(text) or store.read(text, timeout=timeout)
        replayed = DecodedReplay(convert)
        try:
            head, record = open_head(text, data, pin)
            replay(replayed, lines_of(store, head, timeout), text)
        except StoreError:  # a damaged file is no reason to go back, and then to write to it
            raise
        except CorruptStateError as error:
            problem = _as_damage(error, text, data)
            if on_corrupt == "raise" or problem.intact:
                raise problem from error
            damaged.append(problem)
            continue
        watched = {**sighting.watched, text: data}
        seen = Sighting(sighting.heads, sighting.claims, watched)
        return Found(seen, key, head, record.digest, record.sequence, replayed.nodes, damaged)
    if damaged:
        raise damaged[0]
    return Found(sighting)


def _advised(store: Store, error: DamagedRecordError, timeout: float | None) -> DamagedRecordError:
    """Add advice: to go back if there is a state to go back to, else to begin a new one."""
    advice, previous = error.advice, error.previous
    if not error.intact:
        advice = "Nothing was touched: restore the store from a copy"
        found = Found()
        with suppress(CorruptStateError, StoreError):
            found = _newest_good(store, look(store, timeout), "previous", timeout, None)
        previous = found.key is not None
        advice += (
            f', or go back to {age(found)} with on_corrupt="previous"'
            if previous
            else f". {store.url} holds no earlier state to go back to. To begin anew, call "
            "autostate.delete(name): it keeps a copy of what cannot be read"
        )
    return DamagedRecordError(
        error.key,
        error.problem,
        error.data,
        intact=error.intact,
        advice=advice,
        previous=previous,
        store=store.url,
    )


def age(found: Found) -> str:
    """Describe the age of a state to which recovery goes back."""
    saved_at = found.head.saved_at
    if saved_at is None:
        return "the state before it"
    return f"the state of {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(saved_at))}"


def _as_damage(error: CorruptStateError, key: str, data: bytes | None) -> DamagedRecordError:
    if isinstance(error, DamagedRecordError):
        return error
    if isinstance(error, TooDeepError):
        return DamagedRecordError(
            key, f"names a state that is intact, but {error}", data, intact=True
        )
    return DamagedRecordError(key, f"names a state that does not fit ({error})", data)

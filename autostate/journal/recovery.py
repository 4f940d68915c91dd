"""Recovery: which head counts, and the state that it names.

Reads only. A record that fails its check is either an error that names it or, if the user chose
so, the reason to go back to the next older head; never the reason to begin from nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from autostate import heap
from autostate.errors import CorruptStateError, StoreUnavailableError
from autostate.journal.commit import Convert, DecodedMerge, Merge, NodeState
from autostate.journal.frame import DamagedRecordError, open_record, segment_lines, whole
from autostate.journal.head import HEADS, OWNER, Head, HeadKey, Ref, open_head, parse_key
from autostate.stores.base import Store

OnCorrupt = Literal["raise", "previous"]

_ROUNDS = 5  # how often a state may be replaced under a reader before it gives up


class Deadline:
    """What is left of a timeout that several calls of a store share."""

    def __init__(self, timeout: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if timeout is None else clock() + timeout

    def left(self) -> float | None:
        """Seconds left; None: no limit.

        Raises:
            StoreUnavailableError: No time is left; nothing was sent.
        """
        if self._end is None:
            return None
        left = self._end - self._clock()
        if left <= 0:
            raise StoreUnavailableError("no time was left to ask the store: try again")
        return left


@dataclass(frozen=True)
class Sighting:
    """What a store held at one look: what a takeover builds on, and checks again.

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


@dataclass
class Found:
    """What recovery found.

    Attributes:
        sighting: What the store held.
        key: The name of the head that was recovered; None: there was none.
        head: What it says.
        digest: Its digest.
        sequence: Its sequence number.
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


def find(
    store: Store, on_corrupt: OnCorrupt, deadline: Deadline, convert: Convert | None = None
) -> Found:
    """Find the newest state in a store and rebuild it; `convert` is as for `DecodedMerge`.

    Raises:
        CorruptStateError: A record is damaged, and there is no other state to go back to or
            that was not asked for.
        StoreError: The store could not be read.
    """
    for _ in range(_ROUNDS):
        sighting = look(store, deadline)
        try:
            with heap.no_collections():
                found = _newest_good(store, sighting, on_corrupt, deadline, convert)
        except CorruptStateError:
            # Perhaps another incarnation has compacted meanwhile: then this is not damage.
            if look(store, deadline) == sighting:
                raise
            continue
        if not found.damaged or look(store, deadline) == sighting:
            return found
    raise StoreUnavailableError(
        f"{store.url} is being written by another process, faster than it can be read: "
        "stop that process, or try again"
    )


def look(store: Store, deadline: Deadline) -> Sighting:
    """See which heads there are; reads the newest, and the record of the owner if there can be."""
    watched = {}
    if store.atomic and store.conditional:
        watched[OWNER] = store.read(OWNER, timeout=deadline.left())
    names = map(parse_key, store.list(HEADS, timeout=deadline.left()))
    sighting = Sighting(frozenset(name for name in names if name is not None), watched)
    for key in sighting.heads[:1]:
        watched[key.text] = store.read(key.text, timeout=deadline.left())
    return sighting


def read_lines(store: Store, refs: Iterable[Ref], deadline: Deadline) -> Iterator[bytes]:
    """Read the lines of segments; a line that was cut still lies in pieces.

    Raises:
        DamagedRecordError: A segment is missing, damaged, or not the one that is meant.
    """
    for ref in refs:
        data = store.read(ref.key, timeout=deadline.left())
        record = open_record(ref.key, data, "segment")
        if record.digest != ref.digest:
            raise DamagedRecordError(ref.key, "is not the one that its head names", data)
        yield from segment_lines(record.body)


def replay(merge: Merge[msgspec.Raw] | DecodedMerge, lines: Iterable[bytes], where: str) -> None:
    """Apply lines to a merge; what does not fit is an error that says where it was.

    Raises:
        CorruptStateError: A line is no change, or one that does not fit.
    """
    try:
        for line in whole(lines):
            merge.apply(line)
    except DamagedRecordError:
        raise
    except (msgspec.MsgspecError, CorruptStateError, ValueError, TypeError) as error:
        raise CorruptStateError(f"the state that {where} names does not fit: {error}") from error


def _newest_good(
    store: Store,
    sighting: Sighting,
    on_corrupt: OnCorrupt,
    deadline: Deadline,
    convert: Convert | None,
) -> Found:
    damaged: list[DamagedRecordError] = []
    for key in sighting.heads:
        data = sighting.watched.get(key.text) or store.read(key.text, timeout=deadline.left())
        try:
            found = _rebuild(store, sighting, key, data, deadline, convert=convert)
        except CorruptStateError as error:
            problem = _as_damage(error, key, data)
            if on_corrupt == "raise" or problem.newer:
                raise
            damaged.append(problem)
            continue
        found.sighting = Sighting(sighting.keys, {**sighting.watched, key.text: data})
        found.damaged = damaged
        return found
    if damaged:
        raise damaged[0]
    return Found(sighting)


def _rebuild(
    store: Store,
    sighting: Sighting,
    key: HeadKey,
    data: bytes | None,
    deadline: Deadline,
    *,
    convert: Convert | None,
) -> Found:
    head, record = open_head(key.text, data)
    merge = DecodedMerge(convert)
    replay(merge, map(bytes, head.nodes), key.text)
    replay(merge, read_lines(store, head.refs, deadline), key.text)
    replay(merge, map(bytes, head.changes), key.text)
    return Found(sighting, key, head, record.digest, record.sequence, merge.nodes)


def _as_damage(error: CorruptStateError, key: HeadKey, data: bytes | None) -> DamagedRecordError:
    if isinstance(error, DamagedRecordError):
        return error
    return DamagedRecordError(key.text, f"names a state that does not fit ({error})", data)

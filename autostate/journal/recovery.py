"""Recovery: finding the current head, and the state that it names.

Recovery only reads. A record that fails its check is an error that names the record or, if the user
chose so, the reason to go back to the next older head. It is never a reason to begin from nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

from autostate import steps
from autostate.collector import no_collections
from autostate.depth import TooDeepError
from autostate.errors import CorruptStateError, StoreError
from autostate.journal.commit import NodeState
from autostate.journal.head import Head, HeadKey, HeadPin, Ref, open_head
from autostate.journal.record import DamagedRecordError, Record, open_record, segment_lines, whole
from autostate.journal.replay import Convert, DecodedReplay, Replay
from autostate.journal.sighting import Sighting, check_owner_record, look, unchanging
from autostate.stores.base import Store

OnCorrupt = Literal["raise", "previous"]


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


class Recovered(Struct, frozen=True):
    """The state that was found in the store.

    Attributes:
        nodes: The nodes of the state by id.
        saved_at: When the last commit was made, in seconds since 1970; None: there was none.
        epoch: The epoch of the incarnation that made that commit; 0: there was none.
        next_id: An id above all ids in use.
        notices: Messages for the user, one sentence each.
    """

    nodes: dict[int, NodeState]
    saved_at: float | None
    epoch: int
    next_id: int
    notices: list[str]


class Recovery(Struct, frozen=True):
    """One search for the newest state.

    Attributes:
        store: The store.
        on_corrupt: "raise", or "previous" to go back to the last good state before a damaged one.
        timeout: The most seconds to wait for each answer of the store.
        convert: As for `DecodedReplay`.
    """

    store: Store
    on_corrupt: OnCorrupt
    timeout: float | None
    convert: Convert | None = None

    def find(self) -> Found:
        """Find the newest state in the store and rebuild it.

        Raises:
            CorruptStateError: A record is damaged, and there is no other state to go back to, or
                the user has not asked for that.
            StoreError: The store could not be read.
        """
        try:
            return unchanging(self.store, self.timeout, self._rebuild, "read")
        except DamagedRecordError as error:
            raise self._advised(error) from error

    def _rebuild(self, sighting: Sighting) -> Found:
        with no_collections():
            found = self._newest_good(sighting)
        if found.damaged and look(self.store, self.timeout) != sighting:
            raise found.damaged[0]  # perhaps no damage: see `unchanging`
        return found

    def _newest_good(self, sighting: Sighting) -> Found:
        """Rebuild the newest state that can be read."""
        store, timeout = self.store, self.timeout
        damaged: list[DamagedRecordError] = []
        pin = None
        try:
            pin = check_owner_record(store, sighting, timeout)
        except DamagedRecordError as error:
            if self.on_corrupt == "raise" or error.intact:
                raise
            damaged.append(error)
        for key in sighting.heads:
            text = key.text
            data = sighting.watched.get(text) or store.read(text, timeout=timeout)
            replayed = DecodedReplay(self.convert)
            try:
                head, record = open_head(text, data, pin)
                replay(replayed, lines_of(store, head, timeout), text)
            except StoreError:  # a damaged file is no reason to go back, and then to write to it
                raise
            except CorruptStateError as error:
                problem = _as_damage(error, text, data)
                if self.on_corrupt == "raise" or problem.intact:
                    raise problem from error
                damaged.append(problem)
                continue
            watched = {**sighting.watched, text: data}
            seen = Sighting(sighting.heads, sighting.claims, watched)
            return Found(seen, key, head, record.digest, record.sequence, replayed.nodes, damaged)
        if damaged:
            raise damaged[0]
        return Found(sighting)

    def _advised(self, error: DamagedRecordError) -> DamagedRecordError:
        """Add advice: to go back if there is a state to go back to, else to begin a new one."""
        advice, previous = error.advice, error.previous
        if not error.intact:
            found, back = Found(), Recovery(self.store, "previous", self.timeout)
            with suppress(CorruptStateError, StoreError):
                found = back._newest_good(look(self.store, self.timeout))
            advice, previous = "Nothing was touched: restore the store from a copy", bool(found.key)
            if previous:
                previously = steps.setting("on_corrupt", "previous")
                advice += f", or go back to {age(found)} with {previously}"
            else:
                advice += (
                    f". {self.store.url} holds no earlier state to go back to. To begin anew, "
                    f"{steps.delete()}: it keeps a copy of what cannot be read"
                )
        return DamagedRecordError(
            error.key,
            error.problem,
            error.data,
            intact=error.intact,
            advice=advice,
            previous=previous,
            store=self.store.url,
        )


def read_lines(store: Store, refs: Iterable[Ref], timeout: float | None) -> Iterator[bytes]:
    """Read the lines of segments; a line that was cut is still in pieces.

    Raises:
        DamagedRecordError: A segment is missing, damaged, or another one than its reference names.
    """
    refs = tuple(refs)
    found = store.read_many([ref.key for ref in refs], timeout=timeout)
    for ref, data in zip(refs, found, strict=True):
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

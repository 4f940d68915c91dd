"""A copy of a state: the records of one moment, byte for byte, each checked on its way.

The newest head and the segments that it names are a state of one moment, and a named segment is
never changed. While another process writes, a segment may be deleted before it was copied; then the
copy begins again with the newest head. Copied segments that the newest head does not name are
deleted from the copy.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

from autostate.errors import StoreError, StoreUnavailableError
from autostate.journal.head import OWNER, open_head
from autostate.journal.record import DamagedRecordError, open_record, seal
from autostate.journal.recovery import check_owner_record, look
from autostate.memory import encode
from autostate.stores.base import Store

_ROUNDS: Final = 5


def copy_state(source: Store, target: Store, *, timeout: float | None = None) -> None:
    """Copy the newest state of a store into an empty one.

    Args:
        source: The store to copy; it is only read.
        target: An empty store that is atomic.
        timeout: The most seconds to wait for each answer of a store.

    Raises:
        CorruptStateError: A record is damaged; the message names it.
        StoreError: There is no state, or a store could not be read or written.
    """
    copied: dict[str, str] = {}
    for attempt in range(_ROUNDS + 1):
        at_one_moment = getattr(source, "at_one_moment", nullcontext)
        with at_one_moment() if attempt == _ROUNDS else nullcontext():
            if _copy_once(source, target, copied, timeout):
                return
    raise StoreUnavailableError(
        f"{source.url} is being written by another process, faster than it can be copied: "
        "stop that process, or try again"
    )


def _copy_once(source: Store, target: Store, copied: dict[str, str], timeout: float | None) -> bool:
    """Copy the newest head and its segments; return whether all of them were still there."""
    sighting = look(source, timeout)
    try:
        pin = check_owner_record(source, sighting, timeout)
        if not sighting.heads:
            raise StoreError(f"{source.url} holds no state: there is nothing to copy")
        key = sighting.heads[0]
        data = sighting.watched[key.text]
        head, record = open_head(key.text, data, pin)
        for ref in head.refs:
            if copied.get(ref.key) != ref.digest:
                segment = source.read(ref.key, timeout=timeout)
                if open_record(ref.key, segment, "segment").digest != ref.digest:
                    raise DamagedRecordError(ref.key, "is not the one that its head names", segment)
                assert segment is not None
                target.write({ref.key: segment}, timeout=timeout)
                copied[ref.key] = ref.digest
    except DamagedRecordError:
        if look(source, timeout) == sighting:
            raise
        return False
    assert data is not None
    body = encode({"head": key.text, "digest": record.digest})
    owner, _ = seal(OWNER, "owner", (record.epoch, 0), "", body)
    unnamed = copied.keys() - {ref.key for ref in head.refs}
    target.write({OWNER: owner, key.text: data}, unnamed, timeout=timeout)
    return True

"""A copy of a state: the records of one moment, byte for byte, each checked on its way.

The newest head and the segments that it names are a state of one moment, and a named segment is
never changed. While another process writes, a segment may be deleted before it was copied; then the
copy begins again with the newest head. Copied segments that the newest head does not name are
deleted from the copy.
"""

from __future__ import annotations

from functools import partial

from autostate.errors import StoreError
from autostate.journal.head import OWNER, open_head
from autostate.journal.record import seal
from autostate.journal.recovery import open_segment
from autostate.journal.sighting import Sighting, check_owner_record, unchanging
from autostate.memory import encode
from autostate.stores.base import Store


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
    copied: dict[str, str] = {}  # the digests of segments by key: those that are there by now
    copy = partial(_copy_once, source, target, copied, timeout)
    unchanging(source, timeout, copy, "copied")


def _copy_once(
    source: Store, target: Store, copied: dict[str, str], timeout: float | None, sighting: Sighting
) -> None:
    """Copy the newest head and its segments."""
    pin = check_owner_record(source, sighting, timeout)
    if not sighting.heads:
        raise StoreError(f"{source.url} holds no state: there is nothing to copy")
    key = sighting.heads[0].text
    data = sighting.watched[key]
    head, record = open_head(key, data, pin)
    assert data is not None
    for ref in head.refs:
        if copied.get(ref.key) != ref.digest:
            segment = source.read(ref.key, timeout=timeout)
            open_segment(ref, segment)
            assert segment is not None
            target.write({ref.key: segment}, timeout=timeout)
            copied[ref.key] = ref.digest
    body = encode({"head": key, "digest": record.digest})
    owner, _ = seal(OWNER, "owner", (record.epoch, 0), "", body)
    unnamed = copied.keys() - {ref.key for ref in head.refs}
    target.write({OWNER: owner, key: data}, unnamed, timeout=timeout)

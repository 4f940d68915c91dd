"""Salvage: unreadable records are copied to other keys, so that a new state can begin.

This happens only when the user asks for it, by `autostate.delete(name)`. It is not known which
state objects were in the unreadable records, and no other state object may come back empty. So all
records, damaged or not, are searched for names: changes are JSON, and a name is at the beginning of
the first change of a root. Each other name that is found gets a node of the kind `unreadable` in
the new state: creating that state object is an error until it is deleted too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from autostate.journal.commit import KINDS, UNREADABLE
from autostate.journal.head import CORRUPT, HEADS, OWNER, PREFIX, SEGMENTS
from autostate.journal.record import PIECE, parts, seal, segment_body
from autostate.journal.recovery import lines_of, replay
from autostate.journal.replay import RawReplay
from autostate.journal.writer import Writer
from autostate.memory import encode
from autostate.stores.base import Store

_ROOT = rb'\{"id":\d+,"kind":"(\w+)","name":("(?:[^"\\]|\\.)*")'


def names_in(data: bytes) -> set[str]:
    """Find the names of roots that begin in a record, or in a part of a file."""
    if PIECE in data:  # a long line that was cut: JSON within a string of JSON
        data += data.replace(b'\\"', b'"')
    found = set()
    for kind, name in re.findall(_ROOT, data):
        if kind.decode() in KINDS:
            try:
                found.add(msgspec.json.decode(name, type=str))
            except msgspec.MsgspecError:
                continue
    return found


def names_of(store: Store, timeout: float | None) -> set[str]:
    """Find the names of roots in the records of a state."""
    found = _records(store, (HEADS, SEGMENTS), timeout)
    return set().union(*(names_in(data) for _, data in found))


def _records(
    store: Store, prefixes: Iterable[str], timeout: float | None
) -> Iterator[tuple[str, bytes]]:
    """Read all records of some kinds."""
    for key in sorted(key for prefix in prefixes for key in store.list(prefix, timeout=timeout)):
        data = store.read(key, timeout=timeout)
        if data is not None:
            yield key, data


def copy_records(store: Store, timeout: float | None) -> tuple[set[str], set[str]]:
    """Copy all records of a state to keys that are never overwritten.

    Returns:
        The keys of the records, and the names of roots that were found in them.
    """
    keys, names = set[str](), set[str]()
    for key, data in _records(store, (HEADS, SEGMENTS, OWNER), timeout):
        keys.add(key)
        names |= names_in(data)
        store.write({CORRUPT + key.removeprefix(PREFIX): data}, timeout=timeout)
    return keys, names


def first_changes(unreadable: Iterable[str]) -> list[bytes]:
    """Make the changes that begin a new state, in which these names cannot be read."""
    changes: list[dict[str, object]] = [{"id": 1, "delete": True}]  # a state needs a commit
    for node_id, name in enumerate(sorted(unreadable), 2):
        changes.append({"id": node_id, "kind": UNREADABLE, "name": name})
    return [encode(change) for change in changes]


def copy_root(
    store: Store, writer: Writer, name: str, part_limit: int, timeout: float | None
) -> list[str]:
    """Copy a root, with all nodes that it reaches, to new keys; return these keys."""
    replayed, head = RawReplay(), writer.head
    replay(replayed, lines_of(store, head, timeout), writer.me.text)
    keys: list[str] = []
    me, taken = writer.me, len(store.list(f"{CORRUPT}root-"))
    for group in parts(replayed.reached(replayed.roots(name), set(), set()), part_limit):
        key = f"{CORRUPT}root-{me.epoch:08d}-{me.token}-{taken + len(keys)}"
        data, _ = seal(key, "segment", (me.epoch, 0), "", segment_body(group))
        store.write({key: data}, timeout=timeout)
        keys.append(key)
    return keys

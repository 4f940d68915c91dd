"""A shared state as it is stored, read without the programs that write it.

Values stay as they are stored. Of a dict whose values a function of the program merges, all values
that are not merged yet are kept: nobody else has that function.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Final, NamedTuple

from autostate.errors import AutostateError
from autostate.journal.verifying import Verified, verify as verify_records
from autostate.runtime.opening import open_state
from autostate.runtime.place import shared_url
from autostate.settings import Settings
from autostate.shared import fold
from autostate.shared.handle import ABSENT
from autostate.shared.keys import kind_named
from autostate.shared.kinds import (
    COUNTER,
    MERGED,
    SET,
    DictKind,
    Entries,
    Entry,
    Kind,
    Origin,
    joined,
    merge_into,
)
from autostate.shared.line import LINES, opened, parse_key
from autostate.shared.past import PAST, opened as opened_past
from autostate.shared.shelf import Prefixed, Reading, Shelf
from autostate.stores import Store, file_of

_VALUES: Final = 2
"""The place in an entry of a dict from which on values stand."""


class Candidates(DictKind):
    """A dict, of whose values none is left out that a function of the program would merge."""

    def entry(self, key: str, operation: Any, seen: Entry | None, origin: Origin) -> Entry:
        """Contribute the text of a value; ABSENT: the key is deleted."""
        origin.next()
        return [origin.stamp(), origin.id, None if operation is ABSENT else operation]

    def merge(self, key: str, one: Entry, other: Entry) -> Entry:
        """Keep the later one; or all values that have to be merged."""
        if MERGED not in (one[0], other[0]):
            return super().merge(key, one, other)
        return joined(one, other)

    def show(self, key: str, entry: Entry) -> list[str] | object:
        """Give the texts of the values; ABSENT: the key was deleted."""
        if entry[0] == MERGED:
            single = entry[1]
            return sorted({*entry[_VALUES:], *(single[_VALUES:] if single else ())} - {None})
        return ABSENT if entry[_VALUES] is None else entry[_VALUES:]


KINDS: Final[dict[str, Kind]] = {"counter": COUNTER, "set": SET, "dict": Candidates()}
"""The kinds, by name, for programs that merge nothing."""


class StoredObject(NamedTuple):
    """A shared object.

    Attributes:
        kind: The name of its kind: counter, set or dict.
        content: The number, True, or the texts of the values, by the text of the key.
        size: Bytes of what is stored of it, about.
    """

    kind: str
    content: dict[str, Any]
    size: int


class StoredShared(NamedTuple):
    """The content of a shared state, as of one moment.

    Attributes:
        url: The URL of the store.
        objects: The objects by name, in order.
        writers: How many processes have contributed since the last fold.
    """

    url: str
    objects: dict[str, StoredObject]
    writers: int


def read_shared(url: str | os.PathLike[str], settings: Settings) -> StoredShared | None:
    """Read a shared state; make and write nothing, and disturb no process.

    Returns:
        The state; None: the store holds none.

    Raises:
        CorruptStateError: A record is damaged.
        StateTypeError: Two programs use a name for different kinds.
        StoreError: There is no such store, or it cannot be read.
    """
    with contextlib.closing(open_state(url, settings, readonly=True)) as store:
        if not is_in(store):
            return None
        reading = Shelf(store).read(settings.flush_timeout)
    names = {*reading.base.objects, *(n for line in reading.lines.values() for n in line.objects)}
    objects = {name: _object(name, reading) for name in sorted(names)}
    return StoredShared(store.url, objects, len({key.writer for key in reading.lines}))


def is_in(store: Store, timeout: float | None = None) -> bool:
    """Tell whether a store holds a shared state."""
    return bool(Prefixed(store).list("", timeout=timeout))


def beside(own: str) -> str | None:
    """Give the URL of what a program with a state of its own shares; None: nothing can be there.

    Raises:
        ValueError: AUTOSTATE_SHARED_URL is not the URL of a store.
    """
    try:
        url = shared_url(own, Settings.for_store(own).shared)
    except AutostateError:  # it would have to be named
        return None
    path = file_of(url)
    return url if path is None or path.exists() else None


def _object(name: str, reading: Reading) -> StoredObject:
    parts = [*reading.base.objects.get(name, {}).items()]
    parts += [line.objects[name] for line in reading.lines.values() if name in line.objects]
    kind = KINDS[kind_named(parts[0][0]).name]
    merged: Entries = {}
    size = 0
    for kind_name, entries in parts:
        fold.checked(kind, name, kind_name)
        merge_into(kind, merged, entries)
        size += sum(len(key) + len(str(entry)) for key, entry in entries.items())
    shown = {key: kind.show(key, entry) for key, entry in merged.items()}
    content = {key: value for key, value in shown.items() if value is not ABSENT}
    return StoredObject(kind.name, content, size)


def verify(store: Store, timeout: float | None = None) -> Verified:
    """Check each record of a shared state.

    Raises:
        StoreError: The store could not be read.
    """
    inside = Prefixed(store)
    base = verify_records(inside, timeout=timeout)
    keys = [key for text in inside.list(LINES, timeout=timeout) if (key := parse_key(text))]
    texts = [key.text for key in keys]
    records, size, problems = base.records, base.bytes, base.problems
    for key, data in zip(keys, inside.read_many(texts, timeout=timeout), strict=True):
        if data is None:  # it was folded meanwhile
            continue
        records, size = records + 1, size + len(data)
        try:
            opened(key, data)
        except AutostateError as error:
            problems.append(str(error))
    past = inside.scan([PAST], timeout=timeout)
    for text, content in past.items():
        try:
            opened_past(text, content)
        except AutostateError as error:
            problems.append(str(error))
    records, size = records + len(past), size + sum(map(len, past.values()))
    return Verified(records, size, base.copies, problems)

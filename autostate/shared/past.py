"""What the base has forgotten of writers whose names outlast their processes.

The base remembers how far it has taken in the last thousand writers. A program with a state of its
own may be killed before it has noted that its changes are published, and go on after thousands of
others. So a fold writes what it forgets of such writers into a record beside the base, before it
commits. Only a program that goes on, and that the base does not know, reads these records.

    {"autostate":2,"record":"past",…,"body":{"1f…":[7,42]}}

What such a record says is true for good, since it was in a base. So it does not matter whether the
fold that wrote it was completed, or how often it was done. Its key is `past-GENERATION-DIGEST`, of
the fold and of the content: of two processes that fold at once neither replaces the record of the
other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from autostate.digest import blake2b
from autostate.errors import CorruptStateError
from autostate.journal.record import open_record, seal
from autostate.memory import encode
from autostate.stores.base import Store

if TYPE_CHECKING:
    from autostate.shared.shelf import Base

PAST: Final = "past-"
_KEY: Final = re.compile(rf"{PAST}([0-9]{{8,}})-[0-9a-f]{{16}}")

Taken = tuple[int, int]
"""Generation and number of the last change of a writer that was taken in; 0, 0: none was."""

_decode: Final = msgspec.json.Decoder(dict[str, Taken]).decode


class Past:
    """What the base has forgotten.

    Args:
        store: The records of the shared state.
        other: What looks for the same writers in another process.
    """

    def __init__(self, store: Store, other: Past | None = None) -> None:
        self._store = store
        self._wanted: dict[str, bool] = {} if other is None else other._wanted
        self._since: dict[str, int] = {} if other is None else dict(other._since)
        self._found: tuple[int, dict[str, Taken]] = 0, {}

    def recall(self, writer: str, *, is_new: bool) -> None:
        """Look for a writer from now on wherever the base does not know it.

        Args:
            writer: Its name.
            is_new: Whether no process has ever published under this name.
        """
        self._wanted = {**self._wanted, writer: is_new}  # another thread may look through it

    def is_unknown(self, writer: str, base: Base) -> bool:
        """Tell whether a base that was read before does not know a writer, and has forgotten some.

        Args:
            writer: Its name; it is looked for.
            base: The base.
        """
        return not self._wanted[writer] and writer not in base.taken and base.known_from > 1

    def recalled(self, base: Base, timeout: float | None) -> Base:
        """Give a base that also knows what it has forgotten of the writers that are looked for.

        Raises:
            CorruptStateError: A record is damaged.
            StoreError: The store could not be read.
        """
        wanted = [who for who in self._wanted if self._is_forgotten(who, base)]
        if not wanted:
            return base
        if self._found[0] != base.known_from:  # the base has forgotten more
            self._found = base.known_from, {}
        found = self._found[1]
        if left := [who for who in wanted if who not in found]:
            since = min(self._since[who] for who in left)
            found.update(dict.fromkeys(left, (0, 0)) | self._find(left, since, timeout))
        return base._replace(taken={who: found[who] for who in wanted} | base.taken)

    def _is_forgotten(self, writer: str, base: Base) -> bool:
        """Tell whether a base may have forgotten how far it has taken in a writer."""
        since = self._since.setdefault(writer, base.through if self._wanted[writer] else 0)
        return writer not in base.taken and since + 1 < base.known_from

    def _find(
        self, writers: Collection[str], since: int, timeout: float | None
    ) -> dict[str, Taken]:
        keys = [key for key in self._store.list(PAST, timeout=timeout) if _generation(key) > since]
        found: dict[str, Taken] = {}
        for key, data in zip(keys, self._store.read_many(keys, timeout=timeout), strict=True):
            known = opened(key, data)
            for who in known.keys() & set(writers):
                found[who] = max(found.get(who, (0, 0)), known[who])
        return found


def keep(
    store: Store, generation: int, writers: Mapping[str, Taken], timeout: float | None = None
) -> None:
    """Keep what the fold of a generation forgets."""
    if writers:
        body = encode(writers)
        key = f"{PAST}{generation:08}-{blake2b(body, digest_size=8).hexdigest()}"
        store.write({key: seal(key, "past", (0, generation), "", body)[0]}, timeout=timeout)


def opened(key: str, data: bytes | None) -> dict[str, Taken]:
    """Read such a record.

    Raises:
        CorruptStateError: It is damaged, or missing.
    """
    record = open_record(key, data, "past")
    try:
        return _decode(record.body)
    except msgspec.MsgspecError as error:
        raise CorruptStateError(f"the record {key} does not read: {error}") from None


def _generation(key: str) -> int:
    found = _KEY.fullmatch(key)
    return int(found[1]) if found else 0

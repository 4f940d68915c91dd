"""What the writes of `atomic()` blocks have found in a mapping or set: see `entry_log.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field, structs

from autostate.tracking.barrier import INTERCHANGEABLE
from autostate.tracking.differences import MISSING

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint

UNKNOWN: Final = object()
"""In the place of a key: which key was held is not known."""


class Former(Struct):
    """The former state of an entry.

    Attributes:
        value: The value under a key, or the member as it was held; MISSING if there was none.
        key: The key as it was held, if it was removed.
        time: The time of its place: see `key_order.py`. None: the order was not known yet.
    """

    value: Any
    key: Any = UNKNOWN
    time: int | None = None


class Record(Struct):
    """The content that consecutive writes of one owner have found in a container.

    Attributes:
        owner: The savepoint of the block that wrote; None for those of no open block.
        entries: The former entries by key or member; None if the whole content is kept.
        content: A plain copy of the whole former content.
        time: The time at first: see `key_order.py`. None: the order was not known yet.
        written: With a whole copy: the keys that are known to have been written.
        repeated: The keys of which the owner has only written what was there already.
        absolute: The keys of numbers that do not depend on what the owner found, and so are no
            differences: it has assigned what was there already, or has removed the entry before.
    """

    owner: Savepoint | None
    entries: dict[Any, Former] | None
    content: Any = None
    time: int | None = None
    written: set[Any] = field(default_factory=set)
    repeated: set[Any] = field(default_factory=set)
    absolute: set[Any] = field(default_factory=set)

    def has_written(self, key: Any) -> bool:
        """Tell whether an entry was certainly written; a copy of the content does not tell."""
        return key in (self.written if self.entries is None else self.entries)

    def join(self, later: Record) -> tuple[set[Any], set[Any]]:
        """Return `repeated` and `absolute` of this record and a later one of the same owner."""
        repeated = {
            key
            for key in self.repeated | later.repeated
            if all(key in one.repeated or not one.has_written(key) for one in (self, later))
        }
        return repeated, self.absolute | later.absolute


def is_of_another(records: list[Record], key: Any, owner: Savepoint | None) -> bool:
    """Tell whether somebody else has written an entry, and the owner has not since."""
    for record in reversed(records):
        has_written = record.has_written(key)
        if record.owner is owner:
            if has_written:
                return False
        elif record.entries is None or (has_written and key not in record.repeated):
            return True
    return False


def first_fixed(records: list[Record], values: list[Any], key: Any) -> int | None:
    """Find the first record whose owner left a number that does not depend on what was there.

    Args:
        records: The records of one entry.
        values: What each of them has found, and what the last one has left.
        key: The key of the entry.
    """
    for at, record in enumerate(records):
        removed = values[at] is not MISSING and values[at + 1] is MISSING
        if removed or key in record.absolute:
            return at
    return None


def earlier(former: Former, later: Former | None) -> Former:
    """Merge the former states before two writes; the key comes from the write that removed it."""
    if later is None:
        return former
    key = former.key
    if key is UNKNOWN and former.value is not MISSING and later.value is not MISSING:
        key = later.key
    return Former(former.value, key, later.time if former.time is None else former.time)


def shifted_former(number: Any, value: Any, former: Former) -> Former:
    """Return what a later writer would have found without the write that is undone.

    If the writer has found no entry, there would have been one, under the former key.

    Args:
        number: The number that would have been found.
        value: What was found.
        former: What the undone write had found.
    """
    return structs.replace(former, value=number) if value is MISSING else Former(number)


def is_one_key(key: Any, other: Any) -> bool:
    """Tell whether equal keys are the same in every respect."""
    if key is other:
        return True
    return type(key) is type(other) and type(key) in INTERCHANGEABLE and key == other

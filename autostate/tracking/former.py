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
    """

    owner: Savepoint | None
    entries: dict[Any, Former] | None
    content: Any = None
    time: int | None = None
    written: set[Any] = field(default_factory=set)

    def has_written(self, key: Any) -> bool:
        """Tell whether an entry was certainly written; a copy of the content does not tell."""
        return key in (self.written if self.entries is None else self.entries)


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

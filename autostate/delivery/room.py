"""The room of an outbox: how many items it may keep, and how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from autostate.delivery.ledger import size_of

if TYPE_CHECKING:
    from autostate.delivery.ledger import Ledger

CAPACITY: Final = 100_000
CAPACITY_BYTES: Final = 64_000_000
"""What an outbox keeps is in memory as the rest of the state: once, and again in a save."""


class Room:
    """Whether an outbox has room for some more items.

    What was set aside takes room, too: it is kept in memory and in the state like the rest.

    Args:
        ledger: What the outbox keeps.
        capacity: The most items.
        capacity_bytes: The most bytes.
        texts: The texts of the items.
    """

    def __init__(
        self, ledger: Ledger, capacity: int, capacity_bytes: int, texts: Sequence[str]
    ) -> None:
        self._ledger = ledger
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._count = len(texts)
        self._bytes = sum(map(size_of, texts))
        self._saved = ledger.saved

    def is_there(self) -> bool:
        """Tell whether there is room."""
        return self._fits() or self._fits_without_undone()

    def is_out_of_reach(self) -> bool:
        """Tell whether all that is left was put by open blocks, or since the last save.

        Who is inside such a block would wait for its own end. It goes on without room.
        """
        return self._ledger.saved > self._saved and self._ledger.is_all_fresh

    def _fits(self) -> bool:
        ledger = self._ledger
        count, size = self._count, self._bytes
        if not len(ledger):  # else a call with more than the capacity could never be made
            count, size = min(count, 1), min(size, 1)
        return (
            len(ledger) + ledger.aside_count + count <= self._capacity
            and ledger.bytes + ledger.aside_bytes + size <= self._capacity_bytes
        )

    def _fits_without_undone(self) -> bool:
        """Tell the same when items of undone blocks are counted no longer."""
        before = self._ledger.bytes
        self._ledger.drop_undone()
        return self._ledger.bytes < before and self._fits()

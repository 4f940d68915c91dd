"""A copy of a shared state in another store, also while processes write it.

The lineages are read before the base: what is folded in between is in the base, whose generation
tells that the lineages are in it. So the copy has of each writer all changes up to one.

The base is a journal, and copied as one. The lineages are written in the same step as its head: in
a store that writes several records as a whole, an interrupted copy leaves no shared state behind.
Elsewhere it may leave lineages, and the next copy refuses the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from autostate.errors import CorruptStateError
from autostate.journal import Journal
from autostate.journal.head import HEADS
from autostate.shared.line import sealed
from autostate.shared.past import PAST
from autostate.shared.shelf import CLOSED, ERAS, Prefixed, Shelf
from autostate.stores.base import Store
from autostate.stores.wrapping import StoreAround


def fill(source: Store, target: Store, timeout: float | None) -> None:
    """Copy the shared state of a store into one that has none, and compare it.

    Raises:
        CorruptStateError: A record is damaged, or does not come back as it was written.
        StoreError: A store could not be read or written.
    """
    inside, to = Prefixed(source), Prefixed(target)
    reading = Shelf(source).read(timeout)
    records = {key.text: sealed(key, line) for key, line in reading.lines.items()}
    marks = [*inside.list(CLOSED, timeout=timeout), *inside.list(ERAS, timeout=timeout)]
    records |= dict.fromkeys(marks, b"{}")

    def gather() -> dict[str, bytes]:
        # Later than the base, which has forgotten what they hold.
        records.update(inside.scan([PAST], timeout=timeout))
        return records

    if inside.list(HEADS, timeout=timeout):
        journal = Journal(_Together(to, gather))
        journal.recover(timeout=timeout)
        journal.fill(inside, _nothing, _nothing, timeout=timeout)
    else:
        to.write(records, timeout=timeout)
    found = to.read_many([*records], timeout=timeout)
    for (key, data), copied in zip(records.items(), found, strict=True):
        if data != copied:
            raise CorruptStateError(
                f"{target.url} does not return what was written to it ({key}): the copy is of no "
                f"use. {source.url} was not touched"
            )


class _Together(StoreAround):
    """A store that gets other records in the same write as the head of a journal.

    Args:
        store: The store.
        gather: Gives the other records.
    """

    def __init__(self, store: Store, gather: Callable[[], Mapping[str, bytes]]) -> None:
        super().__init__(store)
        self._gather = gather

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records; see `Store.write`."""
        if any(key.startswith(HEADS) for key in puts):
            puts = {**self._gather(), **puts}
        self.store.write(puts, deletes, expect=expect, timeout=timeout)


def _nothing(*_arguments: object) -> None:
    """Show no progress; and there is nothing pickled in a shared state."""

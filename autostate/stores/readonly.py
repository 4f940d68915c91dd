"""Stores of any kind that are only read: every write is refused before it begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from autostate import steps
from autostate.errors import ReadOnlyError
from autostate.stores.wrapping import StoreAround


def refused(url: str) -> ReadOnlyError:
    """Make the error for an attempt to change a state that is only read."""
    return ReadOnlyError(
        f"the state in {url} is only read here, and nothing of it was changed. "
        f"{steps.to_write()} to write"
    )


class Unwritable:
    """A store without `write`."""

    url: str

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Refuse to write.

        Raises:
            ReadOnlyError: Always.
        """
        raise refused(self.url)


class ReadOnlyStore(Unwritable, StoreAround):
    """Another store, without its `write`."""

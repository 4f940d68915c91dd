"""A dataset outside of the platform as the destination of an outbox: files, or memory.

It is written through the client of Crawlee, which keeps the number of items in memory. The client
writes the items of a push as files one after another, and then their number: a kill in between
leaves files that the next client does not count, and would overwrite.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from autostate.apify.items import LARGEST, Wanted, encode_item
from autostate.delivery.destination import Destination, Found, OutboxItem


class LocalDataset(Destination[Any]):
    """A dataset outside of the platform.

    Args:
        inner: The client of Crawlee.
    """

    batch = 1_000
    batch_bytes = LARGEST

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def encode(self, value: Any) -> str:
        """Return an item as the SDK would send it."""
        return encode_item(value)

    def decode(self, text: str) -> Any:
        """Return the text."""
        return text

    async def begin(self) -> int:
        """Return the number of items."""
        return await self._count()

    async def deliver(self, items: Sequence[OutboxItem[str]], place: Any) -> int:
        """Push items, as Crawlee does: what they cost was charged when they were put here."""
        await self._mend()
        data = [json.loads(item.value) for item in items]
        await _pushes(self._inner)(data)
        return await self._count()

    async def find(self, items: Sequence[OutboxItem[str]], place: Any) -> Found:
        """Compare what may have been written with what lies behind the place."""
        count = await self._count()
        wanted = Wanted(items)
        offset = min(place or 0, count)
        if offset < (place or 0):
            offset = 0  # it was purged
        wanted.look_at(await self._items(offset, count))
        return wanted.found, count

    async def _items(self, offset: int, end: int) -> list[Any]:
        """Read items, without those that are no dicts: Crawlee writes them and cannot read them."""
        try:
            return list((await self._inner.get_data(offset=offset)).items)
        except ValueError:
            found: list[Any] = []
            for at in range(offset, end):
                with contextlib.suppress(ValueError):
                    found += (await self._inner.get_data(offset=at, limit=1)).items
            return found

    async def _count(self) -> int:
        return int((await self._inner.get_data(limit=0)).total)

    async def _mend(self) -> None:
        """Let the client count the files that are there."""
        metadata = await self._inner.get_metadata()
        metadata.item_count = max(metadata.item_count, await self._count())


def _pushes(inner: Any) -> Any:
    """Give Crawlee's method: the SDK's would cut and charge a second time."""
    from apify.storage_clients import FileSystemStorageClient  # noqa: F401 - loads the class
    from crawlee.storage_clients._file_system import FileSystemDatasetClient

    if isinstance(inner, FileSystemDatasetClient):
        return FileSystemDatasetClient.push_data.__get__(inner)
    return inner.push_data

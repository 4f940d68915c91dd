"""A dataset on the platform as the destination of an outbox: each item arrives exactly once.

The place of an outbox is the number of items in the dataset behind which the next one will land. It
is recorded with each delivery, so after a kill or a lost answer only the items from there on have
to be compared with those that may have been sent.

What this rests on:

- A dataset only grows, and the items of one push are stored in order.
- Reading by offset shows every item that was stored. The counters of a dataset (`itemCount`, the
  total of a page) lag by seconds, and are never read: the end is where a page is empty.
- A request without an answer has been carried out after `api.LATE` seconds, or never will be: so
  long `find` waits, after an error, and after the start of a process that finds items of a former
  one, whose last push may still be under way. A former container asks the store before each batch
  whether it was replaced; one that is paused right after the answer, for longer than that, can push
  the items of one batch again.
- Nobody else pushes equal items to the same dataset at the same moment; with `id_key` nobody can.

What does not work: to look for whole pushes, as runs of items in their order. A later process does
not know how the items were divided into pushes, nor in which order they became durable.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from autostate.apify import api
from autostate.apify.items import LARGEST, Wanted, encode_item, pushes
from autostate.delivery.destination import Destination, OutboxItem
from autostate.stores.apify_http import AnswerTooLargeError

_PAGE: Final = 1_000


class PlatformDataset(Destination[Any]):
    """A dataset, given by its id.

    Args:
        dataset_id: The id, or `username~name`.
        credentials: Where the API is.
        id_key: Add the id of the item to each one under this key, so that no two are equal. The
            platform hides keys that begin with "#", such as "#id", from clean downloads.
    """

    batch = 10_000
    batch_bytes = LARGEST
    settle = api.LATE

    def __init__(
        self, dataset_id: str, credentials: api.Credentials, *, id_key: str | None = None
    ) -> None:
        self._api = api.Api(credentials)
        self._id_key = id_key
        self._path = f"/v2/datasets/{quote(dataset_id, safe='~')}/items"

    def settle_after(self, error: BaseException | None) -> float:
        """Return how many seconds a request may still be carried out: not after an answer."""
        is_answered = error is not None and not isinstance(error, api.UnansweredError)
        return 0.0 if is_answered else api.lateness(self.settle)

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    def encode(self, value: Any) -> str:
        """Return an item as the SDK would send it; the platform takes no NaN."""
        text = encode_item(value, allow_nan=False)
        if self._id_key is not None and self._id_key in value:
            raise ValueError(f"an item has a key {self._id_key!r}, which is for its id")
        return text

    def decode(self, text: str) -> Any:
        """Return the text: it is sent as it is."""
        return text

    def begin(self) -> int:
        """Return the number of items."""
        return self._end(0)

    def deliver(self, items: Sequence[OutboxItem[str]], place: Any) -> int:
        """Push items.

        The end is looked up before: others may have pushed meanwhile, and the fewer items lie
        between the recorded place and the own ones, the less can be taken for them.
        """
        end = self._end(place or 0)
        for count, body in pushes(map(self._text, items)):
            self._api.send("POST", self._path, body)
            end += count
        return end

    def find(self, items: Sequence[OutboxItem[str]], place: Any) -> tuple[Collection[int], int]:
        """Compare what may have been sent with what lies behind the place."""
        offset = place or 0
        if offset and not self._read(offset - 1, 1):
            offset = 0  # emptied or deleted meanwhile: what lies there has come later
        wanted = Wanted([item._replace(value=self._text(item)) for item in items])
        while wanted and (page := self._page(offset)):
            wanted.look_at(page)
            offset += len(page)
        return wanted.found, offset

    def _text(self, item: OutboxItem[str]) -> str:
        """Return an item as it is pushed."""
        if self._id_key is None:
            return item.value
        known = f"{json.dumps(self._id_key)}:{json.dumps(item.id)}"
        return f"{{{known}}}" if item.value == "{}" else f"{{{known},{item.value[1:]}"

    def _page(self, offset: int) -> list[Any]:
        """Read the items from an offset on, as many as fit into one answer."""
        limit = _PAGE
        while True:
            try:
                return self._read(offset, limit)
            except AnswerTooLargeError:
                if limit == 1:
                    raise
                limit = max(1, limit // 10)

    def _end(self, least: int) -> int:
        """Return the number of items; it is known that there are at least so many.

        The distance to the end is doubled, then halved: a dataset of ten millions needs 50
        requests, and one to which nobody else pushes needs one.
        """
        if not self._is_there(least):
            return least
        low, step = least, 1  # there is an item at `low`
        while self._is_there(low + step):
            low += step
            step *= 2
        high = low + step  # there is none
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._is_there(middle) else (low, middle)
        return high

    def _is_there(self, offset: int) -> bool:
        return bool(self._read(offset, 1))

    def _read(self, offset: int, limit: int) -> list[Any]:
        """Read a page, with empty items and hidden fields, without which offsets would shift."""
        found: Iterator[Any] = self._api.read(f"{self._path}?offset={offset}&limit={limit}")
        return list(found)

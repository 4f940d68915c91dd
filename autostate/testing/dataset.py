"""A dataset as the platform has it: items are appended and listed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from autostate.testing.storages import Storage
from autostate.testing.wire import ApiError, Request, Response, decompress, json_response


class Dataset(Storage):
    """A dataset. `items` may be read by a test directly.

    Attributes:
        items: The items.
        lag: Seconds for which the counters do not show a push; on the platform some seconds.
        on_push: Is told the number of items of each push.
    """

    kind = "datasets"

    def __init__(self, name: str | None, base_url: str) -> None:
        super().__init__(name, base_url)
        self.items: list[Any] = []
        self.lag: float = 0.0
        self.on_push: Callable[[int], None] = lambda _count: None
        self._counted: list[tuple[float, int]] = []

    def describe(self) -> dict[str, Any]:
        """The dataset object of the API."""
        count = self._count()
        return {**super().describe(), "itemCount": count, "cleanItemCount": count}

    def _count(self) -> int:
        """What the counters show: pushes that are younger than the lag are missing."""
        young = sum(count for at, count in self._counted if time.monotonic() - at < self.lag)
        return len(self.items) - young

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to its items."""
        match request.method, rest:
            case "POST", ["items"]:
                more = _items(request)
                self.items.extend(more)
                if self.lag:
                    self._counted.append((time.monotonic(), len(more)))
                self.on_push(len(more))
                self.touch()
                return json_response({}, 201)
            case "GET", ["items"]:
                return self._list_items(request)
        raise ApiError.no_such_path()

    def _list_items(self, request: Request) -> Response:
        descending = request.flag("desc")
        offset = request.number("offset", 0)
        limit = request.number("limit", 999_999_999_999)
        items = (self.items[::-1] if descending else self.items)[offset : offset + limit]
        page = {
            "total": self._count(),
            "offset": offset,
            "limit": limit,
            "count": len(items),
            "desc": str(descending).lower(),
        }
        headers = {f"x-apify-pagination-{name}": str(value) for name, value in page.items()}
        return json_response(items, headers=headers)


def _items(request: Request) -> list[Any]:
    """Read what is pushed: an object, or an array of objects, as JSON without NaN."""
    try:
        body = decompress(request.body, request.headers.get("content-encoding", ""))
        pushed = json.loads(body, parse_constant=_refuse)
    except ValueError:
        raise ApiError(400, "invalid-json", "The request body is not valid JSON.") from None
    items = pushed if isinstance(pushed, list) else [pushed]
    if not all(isinstance(item, dict) for item in items):
        raise ApiError(400, "invalid-item", "The items of a dataset are objects.")
    return items


def _refuse(constant: str) -> None:
    raise ValueError(constant)

"""A dataset as the platform has it: items are appended and listed."""

from __future__ import annotations

from typing import Any

from autostate.testing.storages import Storage
from autostate.testing.wire import ApiError, Request, Response, json_response


class Dataset(Storage):
    """A dataset. `items` may be read by a test directly."""

    kind = "datasets"

    def __init__(self, name: str | None, base_url: str) -> None:
        super().__init__(name, base_url)
        self.items: list[Any] = []

    def describe(self) -> dict[str, Any]:
        """The dataset object of the API."""
        count = len(self.items)
        return {**super().describe(), "itemCount": count, "cleanItemCount": count}

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to its items."""
        match request.method, rest:
            case "POST", ["items"]:
                pushed = request.json()
                self.items.extend(pushed if isinstance(pushed, list) else [pushed])
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
            "total": len(self.items),
            "offset": offset,
            "limit": limit,
            "count": len(items),
            "desc": str(descending).lower(),
        }
        headers = {f"x-apify-pagination-{name}": str(value) for name, value in page.items()}
        return json_response(items, headers=headers)

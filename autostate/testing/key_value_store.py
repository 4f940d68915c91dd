"""A key-value store as the platform has it: records as uploaded, keys in pages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from autostate.testing.storages import Storage
from autostate.testing.wire import ApiError, Request, Response, data_response, decompress

MAX_RECORD_BYTES = 9_437_184
_KEY = re.compile(r"[a-zA-Z0-9!\-_.'()]{1,256}")
_PAGE = 1000


@dataclass(frozen=True)
class Record:
    """One record, the body as it was uploaded."""

    body: bytes
    content_type: str = "application/octet-stream"
    content_encoding: str = ""

    @property
    def value(self) -> bytes:
        """The body without its content encoding."""
        return decompress(self.body, self.content_encoding)


def record_of(request: Request) -> Record | None:
    """Give what a request has uploaded as a record; None if that is nothing."""
    if not request.body:
        return None
    return Record(
        request.body,
        request.headers.get("content-type", "application/json"),
        request.headers.get("content-encoding", ""),
    )


class KeyValueStore(Storage):
    """A key-value store. `records` may be read and changed by a test directly.

    Attributes:
        records: The records by key.
        written: The key of each record that an Actor has put, in order.
    """

    kind = "key-value-stores"

    def __init__(self, name: str | None, base_url: str) -> None:
        super().__init__(name, base_url)
        self.records: dict[str, Record] = {}
        self.written: list[str] = []

    def set_json(self, key: str, value: Any) -> None:
        """Put a record of JSON, as the Console would."""
        self.records[key] = Record(json.dumps(value).encode(), "application/json")

    def get_json(self, key: str) -> Any:
        """The value of a record of JSON; None when there is none."""
        record = self.records.get(key)
        return None if record is None else json.loads(record.value)

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to its keys or records."""
        match request.method, rest:
            case "GET", ["keys"]:
                return self._list_keys(request)
            case "GET" | "HEAD", ["records", key]:
                return self._get(request, key)
            case "PUT" | "POST", ["records", key]:
                return self._put(request, key)
            case "DELETE", ["records", key]:
                self.records.pop(key, None)
                self.touch()
                return Response(204)
        raise ApiError.no_such_path()

    def _list_keys(self, request: Request) -> Response:
        limit = min(request.number("limit", _PAGE), _PAGE)
        start = request.query.get("exclusiveStartKey")
        prefix = request.query.get("prefix", "")
        keys = [
            key
            for key in sorted(self.records)
            if key.startswith(prefix) and (start is None or key > start)
        ]
        page = keys[:limit]
        truncated = len(keys) > limit
        return data_response(
            {
                "items": [
                    {
                        "key": key,
                        "size": len(self.records[key].body),
                        "recordPublicUrl": f"{self.url}/records/{key}",
                    }
                    for key in page
                ],
                "count": len(page),
                "limit": limit,
                "exclusiveStartKey": start,
                "isTruncated": truncated,
                "nextExclusiveStartKey": page[-1] if truncated else None,
            }
        )

    def _get(self, request: Request, key: str) -> Response:
        record = self.records.get(key)
        if record is None:
            raise ApiError(404, "record-not-found", "Record was not found")
        headers = {"content-type": record.content_type}
        # The platform sends a record as uploaded to whoever can read that, else decompresses it.
        if record.content_encoding in request.headers.get("accept-encoding", ""):
            if record.content_encoding:
                headers["content-encoding"] = record.content_encoding
            return Response(200, record.body, headers)
        return Response(200, record.value, headers)

    def _put(self, request: Request, key: str) -> Response:
        if not _KEY.fullmatch(key):
            raise ApiError(400, "invalid-record-key", "The key holds characters not allowed.")
        if len(request.body) > MAX_RECORD_BYTES:
            message = f"The POST payload is too large (limit: {MAX_RECORD_BYTES} bytes)."
            raise ApiError(413, "request-too-large", message)
        self.records[key] = Record(
            request.body,
            request.headers.get("content-type", "application/octet-stream"),
            request.headers.get("content-encoding", ""),
        )
        self.written.append(key)
        self.touch()
        return Response(201, b"{}", {"content-type": "application/json"})

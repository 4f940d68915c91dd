"""A request queue as the platform has it: ordered, deduplicated by unique key, with locks."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from autostate.testing.storages import Storage
from autostate.testing.wire import ApiError, Request, Response, data_response


def request_id(unique_key: str) -> str:
    """The id that the platform gives to a request of this unique key."""
    digest = base64.b64encode(hashlib.sha256(unique_key.encode()).digest()).decode()
    return re.sub(r"[+/=]", "", digest)[:15]


@dataclass
class _Entry:
    content: dict[str, Any]
    order: int
    locked_by: str | None = None
    locked_until: float = field(default=0.0)

    @property
    def handled(self) -> bool:
        return bool(self.content.get("handledAt"))

    def locked_for(self, client: str | None) -> bool:
        return self.locked_until > time.time() and self.locked_by != client

    def lock(self, client: str | None, seconds: float) -> str:
        self.locked_by, self.locked_until = client, time.time() + seconds
        return datetime.fromtimestamp(self.locked_until, UTC).isoformat()


class RequestQueue(Storage):
    """A request queue. `requests` gives all requests to a test."""

    kind = "request-queues"

    def __init__(self, name: str | None, base_url: str) -> None:
        super().__init__(name, base_url)
        self._entries: dict[str, _Entry] = {}
        self._first, self._last = 0, 0
        self._clients: set[str] = set()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """All requests in the order of the queue."""
        return [entry.content for entry in sorted(self._entries.values(), key=lambda e: e.order)]

    @property
    def unhandled(self) -> list[str]:
        """The URLs of the requests that are not handled, in the order of the queue."""
        return [each["url"] for each in self.requests if not each.get("handledAt")]

    @property
    def handled(self) -> int:
        """The number of requests that are handled."""
        return sum(entry.handled for entry in list(self._entries.values()))

    def describe(self) -> dict[str, Any]:
        """The request queue object of the API."""
        handled = self.handled
        return {
            **super().describe(),
            "totalRequestCount": len(self._entries),
            "handledRequestCount": handled,
            "pendingRequestCount": len(self._entries) - handled,
            "hadMultipleClients": len(self._clients) > 1,
            "stats": {},
        }

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to its head, its requests or their locks."""
        if client := request.query.get("clientKey"):
            self._clients.add(client)
        match request.method, rest:
            case "GET", ["head"]:
                return data_response(self._head(request))
            case "POST", ["head", "lock"]:
                return data_response(self._lock_head(request))
            case "POST", ["requests", "batch"]:
                added = [self._add(each, request.flag("forefront")) for each in request.json()]
                return data_response({"processedRequests": added, "unprocessedRequests": []}, 201)
            case "DELETE", ["requests", "batch"]:
                return data_response(self._delete_batch(request.json()))
            case "POST", ["requests", "unlock"]:
                return data_response({"unlockedCount": self._unlock_all(client)})
            case "POST", ["requests"]:
                return data_response(self._add(request.json(), request.flag("forefront")), 201)
            case "GET", ["requests"]:
                items = self.requests[: request.number("limit", 10_000)]
                return data_response({"items": items, "limit": 10_000})
            case _, ["requests", id_, *lock]:
                return self._answer_one(request, id_, lock)
        raise ApiError.no_such_path()

    def _answer_one(self, request: Request, id_: str, lock: list[str]) -> Response:
        entry = self._entries.get(id_)
        match request.method, lock:
            case "PUT", []:
                return data_response(self._update(request.json(), request.flag("forefront")))
            case _ if entry is None:
                raise ApiError(404, "record-not-found", "Request was not found")
            case "GET", []:
                return data_response(entry.content)
            case "DELETE", []:
                del self._entries[id_]
                return Response(204)
            case "PUT", ["lock"]:
                until = entry.lock(request.query.get("clientKey"), request.number("lockSecs", 60))
                return data_response({"lockExpiresAt": until})
            case "DELETE", ["lock"]:
                entry.locked_until = 0.0
                return Response(204)
        raise ApiError.no_such_path()

    def _order(self, *, forefront: bool) -> int:
        if forefront:
            self._first -= 1
            return self._first
        self._last += 1
        return self._last

    def _add(self, content: dict[str, Any], forefront: bool) -> dict[str, Any]:
        id_ = request_id(content["uniqueKey"])
        known = self._entries.get(id_)
        if known is None:
            order = self._order(forefront=forefront)
            self._entries[id_] = _Entry({**content, "id": id_}, order)
            self.touch()
        return self._registration(id_, known is not None, known is not None and known.handled)

    def _update(self, content: dict[str, Any], forefront: bool) -> dict[str, Any]:
        id_ = request_id(content["uniqueKey"])
        known = self._entries.get(id_)
        was_handled = known is not None and known.handled
        entry = _Entry({**content, "id": id_}, known.order if known else 0)
        if known is None or not entry.handled:  # new, or given back to the queue
            entry.order = self._order(forefront=forefront)
        self._entries[id_] = entry
        self.touch()
        return self._registration(id_, known is not None, was_handled)

    def _registration(self, id_: str, present: bool, handled: bool) -> dict[str, Any]:
        return {
            "requestId": id_,
            "uniqueKey": self._entries[id_].content["uniqueKey"],
            "wasAlreadyPresent": present,
            "wasAlreadyHandled": handled,
        }

    def _pending(self, request: Request) -> list[_Entry]:
        client = request.query.get("clientKey")
        waiting = [e for e in self._entries.values() if not e.handled and not e.locked_for(client)]
        return sorted(waiting, key=lambda entry: entry.order)[: request.number("limit", 1000)]

    def _head(self, request: Request) -> dict[str, Any]:
        return {
            "limit": request.number("limit", 1000),
            "queueModifiedAt": self.modified_at,
            "hadMultipleClients": len(self._clients) > 1,
            "items": [entry.content for entry in self._pending(request)],
        }

    def _lock_head(self, request: Request) -> dict[str, Any]:
        client, seconds = request.query.get("clientKey"), request.number("lockSecs", 60)
        free = [entry for entry in self._pending(request) if entry.locked_until <= time.time()]
        items = [{**e.content, "lockExpiresAt": e.lock(client, seconds)} for e in free]
        return {
            **self._head(request),
            "items": items,
            "lockSecs": seconds,
            "clientKey": client,
            "queueHasLockedRequests": any(
                entry.locked_until > time.time() for entry in self._entries.values()
            ),
        }

    def _delete_batch(self, wanted: list[dict[str, Any]]) -> dict[str, Any]:
        for each in wanted:
            self._entries.pop(each.get("id") or request_id(each["uniqueKey"]), None)
        return {"processedRequests": wanted, "unprocessedRequests": []}

    def _unlock_all(self, client: str | None) -> int:
        mine = [entry for entry in self._entries.values() if entry.locked_by == client]
        for entry in mine:
            entry.locked_until = 0.0
        return len(mine)

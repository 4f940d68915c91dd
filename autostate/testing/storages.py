"""The three kinds of storages as the platform keeps them: found by id, or made by name."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from autostate.testing.wire import ApiError, Request, Response, data_response


def new_id() -> str:
    """An id as Apify makes them: 17 letters and digits."""
    alphabet = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(secrets.choice(alphabet) for _ in range(17))


def now() -> str:
    """The time as Apify writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


LONGEST_PAGE = 1000


class Storage:
    """What key-value stores, datasets and request queues have in common."""

    kind: str

    def __init__(self, name: str | None, base_url: str) -> None:
        self.id: str = new_id()
        self.name = name
        self.url: str = f"{base_url}/v2/{self.kind}/{self.id}"
        self.created_at: str = now()
        self.modified_at: str = self.created_at

    def touch(self) -> None:
        """It has changed now."""
        self.modified_at = now()

    def describe(self) -> dict[str, Any]:
        """The storage object of the API."""
        return {
            "id": self.id,
            "name": self.name,
            "userId": "local-user",
            "createdAt": self.created_at,
            "modifiedAt": self.modified_at,
            "accessedAt": now(),
            "consoleUrl": self.url,
        }

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to something inside the storage; `rest` is the path below its id."""
        raise NotImplementedError


StorageT = TypeVar("StorageT", bound=Storage)


class Storages(Generic[StorageT]):
    """All storages of one kind."""

    def __init__(self, make: type[StorageT], base_url: str) -> None:
        self._make = make
        self._base_url = base_url
        self._by_id: dict[str, StorageT] = {}

    def create(self, name: str | None = None) -> StorageT:
        """A storage of that name, made if there is none; without a name always a new one."""
        found = self.find(name) if name is not None else None
        if found is None:
            if name is not None and not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})", name):
                raise ApiError(
                    400, "invalid-name", "Name can only hold letters, digits and dashes."
                )
            found = self._make(name, self._base_url)
            self._by_id[found.id] = found
        return found

    def all(self) -> list[StorageT]:
        """All storages of this kind, the oldest first."""
        return list(self._by_id.values())

    def find(self, id_or_name: str) -> StorageT | None:
        """A storage by its id, its name or `username~name`."""
        if id_or_name in self._by_id:
            return self._by_id[id_or_name]
        name = id_or_name.rpartition("~")[2]
        return next((each for each in self._by_id.values() if each.name == name), None)

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to the collection or to one of its members."""
        if not rest:
            return self._answer_collection(request)
        storage = self.find(rest[0])
        if storage is None:
            raise ApiError(404, "record-not-found", f"{self._make.__name__} was not found")
        if rest[1:]:
            return storage.answer(request, rest[1:])
        if request.method == "DELETE":
            del self._by_id[storage.id]
            return Response(204)
        return data_response(storage.describe())

    def _answer_collection(self, request: Request) -> Response:
        if request.method == "POST":
            return data_response(self.create(request.query.get("name")).describe(), 201)
        unnamed = request.query.get("unnamed", "0") in ("1", "true")
        found = [each for each in self._by_id.values() if each.name is not None or unnamed]
        offset, limit = (int(request.query.get(name, 0)) for name in ("offset", "limit"))
        limit = min(limit or LONGEST_PAGE, LONGEST_PAGE)
        items = [each.describe() for each in found[offset : offset + limit]]
        page = {"total": len(found), "offset": offset, "limit": limit, "count": len(items)}
        return data_response({**page, "desc": False, "unnamed": unnamed, "items": items})

"""The Actors of the local platform, and the runs that are started over its API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autostate.testing.key_value_store import Record, record_of
from autostate.testing.run import Run
from autostate.testing.storages import now
from autostate.testing.wire import ApiError, Request, Response, data_response

_PAGE: Final = 1000


@dataclass(frozen=True)
class LocalActor:
    """A program that can be run by its id. Made by `LocalPlatform.add_actor`.

    Attributes:
        id: The id.
        cmd: The command, as for `subprocess.Popen`.
        env: Environment variables above those of the platform.
        cwd: The working directory.
        prices: The price of each event in dollars; None: it is not paid per event.
    """

    id: str
    cmd: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    prices: Mapping[str, float] | None = None


class Actors:
    """All Actors by id.

    Args:
        start: Starts a run of an Actor, which has this input if there is one.
        runs: Gives all runs.

    Attributes:
        by_id: The Actors.
    """

    def __init__(
        self, start: Callable[[LocalActor, Record | None, int], Run], runs: Callable[[], list[Run]]
    ) -> None:
        self._start = start
        self._runs = runs
        self.by_id: dict[str, LocalActor] = {}

    def add(self, actor: LocalActor) -> None:
        """Make an Actor known; one of the same id is replaced, as by a new build."""
        self.by_id[actor.id] = actor

    def get(self, actor_id: str) -> LocalActor:
        """Give an Actor by its id, or `username~id`.

        Raises:
            ApiError: There is no such Actor.
        """
        name = actor_id.rpartition("~")[2].rpartition("/")[2]
        found = self.by_id.get(actor_id) or self.by_id.get(name)
        if found is None:
            raise ApiError(404, "record-not-found", "Actor was not found")
        return found

    def answer(self, request: Request, actor_id: str, rest: list[str]) -> Response:
        """Answer a request to an Actor."""
        actor = self.get(actor_id)
        match request.method, rest:
            case "POST", ["runs"]:
                timeout = request.number("timeout", 0)
                run = self._start(actor, record_of(request), timeout)
                return data_response(run.describe(), 201)
            case "GET", ["runs"]:
                return list_runs(request, [run for run in self._runs() if run.is_of(actor.id)])
            case "GET", []:
                return data_response(_described(actor))
        raise ApiError.no_such_path()


def _described(actor: LocalActor) -> dict[str, Any]:
    """The Actor object of the API."""
    return {
        "id": actor.id,
        "name": actor.id,
        "username": "local",
        "userId": "local-user",
        "isPublic": False,
        "createdAt": now(),
        "modifiedAt": now(),
        "stats": {},
        "versions": [],
        "defaultRunOptions": {"build": "latest", "timeoutSecs": 0, "memoryMbytes": 1024},
    }


def list_runs(request: Request, runs: list[Run]) -> Response:
    """Answer with the runs that a query asks for."""
    first, last = request.query.get("startedAfter", ""), request.query.get("startedBefore", "~")
    statuses = request.query.get("status", "")
    found = [
        run
        for run in runs
        if first <= run.started_at <= last and (not statuses or run.status in statuses.split(","))
    ]
    if request.flag("desc"):
        found.reverse()
    offset = request.number("offset", 0)
    limit = min(request.number("limit", _PAGE), _PAGE)
    items: list[Any] = [run.describe() for run in found[offset : offset + limit]]
    page = {"total": len(found), "offset": offset, "limit": limit, "count": len(items)}
    return data_response({**page, "desc": request.flag("desc"), "items": items})

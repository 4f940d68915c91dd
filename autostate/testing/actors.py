"""Actors that can be started through the API, and lists of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autostate.testing.run import Run
from autostate.testing.wire import ApiError, Request, Response, data_response

LONGEST_LIST = 1000


@dataclass(frozen=True)
class LocalActor:
    """How the runs of an Actor are started. Made by `LocalPlatform.add_actor`.

    Attributes:
        id: Its id, or `username~name`.
        cmd: The command of a container.
        env: Environment variables above those of the platform.
        cwd: The working directory.
        prices: The price of each event; None: it is not paid per event.
    """

    id: str
    cmd: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None
    prices: Mapping[str, float] | None


def answer_runs(
    request: Request,
    actor: LocalActor,
    runs: Iterable[Run],
    start: Callable[[LocalActor, Any], Run],
) -> Response:
    """Answer a request to the runs of an Actor: list them, or start one."""
    if request.method == "GET":
        return list_runs(request, (run for run in runs if run.actor_id == actor.id))
    if request.method == "POST":
        return data_response(start(actor, request.json()).describe(), 201)
    raise ApiError.no_such_path()


def list_runs(request: Request, runs: Iterable[Run]) -> Response:
    """Answer with a page of runs, the oldest first unless `desc` is set."""
    query = request.query
    wanted = set(filter(None, query.get("status", "").split(",")))
    every: list[dict[str, Any]] = [{**run.describe(), "usageTotalUsd": 0.0} for run in runs]
    found = [
        told
        for told in every
        if (not wanted or told["status"] in wanted)
        and query.get("startedAfter", "") <= told["startedAt"]
        and told["startedAt"] <= query.get("startedBefore", "~")
    ]
    found.sort(key=lambda told: str(told["startedAt"]), reverse=request.flag("desc"))
    offset = request.number("offset", 0)
    limit = min(request.number("limit", LONGEST_LIST), LONGEST_LIST)
    items = found[offset : offset + limit]
    page = {"total": len(found), "offset": offset, "limit": limit, "count": len(items)}
    return data_response({**page, "desc": request.flag("desc"), "items": items})

"""The local platform itself: the API's front door, and runs.

    with LocalPlatform() as platform:
        run = platform.start_run([sys.executable, "-m", "my_actor"], input={"start": 1})
        run.migrate(notice=5)
        assert run.wait() == 0
        assert run.store.get_json("OUTPUT") == ...

Everything is real but the distance: the unmodified SDK in a real process speaks HTTP and websocket
to this process over the loopback interface.
"""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from types import TracebackType
from typing import Any, Self

from autostate.apify.api import LATE_VARIABLE
from autostate.testing.actors import Actors, LocalActor, list_runs
from autostate.testing.charging import Charging
from autostate.testing.container import Container
from autostate.testing.dataset import Dataset
from autostate.testing.events import EventServer
from autostate.testing.key_value_store import KeyValueStore, Record
from autostate.testing.random_faults import RandomFaults
from autostate.testing.request_queue import RequestQueue
from autostate.testing.run import Run
from autostate.testing.storages import Storages
from autostate.testing.traffic import Traffic
from autostate.testing.wire import ApiError, HttpServer, Request, Response, data_response


class LocalPlatform:
    """An Apify platform on the loopback interface. A context manager: leaving it kills all runs.

    Args:
        system_info_interval: Seconds between `systemInfo` events.
        clock: Seconds that never jump, by which idempotency keys are forgotten.
        late: Seconds after which a request is carried out, or never will be; see `late` below.

    Attributes:
        traffic: The log of requests, and the faults.
        token: The only token that the API accepts.
        runs: All runs by id.
        late: Containers that start are told so. An Actor in step waits so long after a kill, and
            not the ten seconds that it assumes of Apify's platform; `autostate.call` waits so long
            for a run to appear in the list. Faults that delay or hold requests for longer need
            more.
    """

    def __init__(
        self,
        *,
        system_info_interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        late: float = 1.0,
    ) -> None:
        self._clock = clock
        self.late: float = late
        self.traffic: Traffic = Traffic()
        self.token = "apify_api_local"  # noqa: S105
        self._disks = TemporaryDirectory(prefix="local-apify-", ignore_cleanup_errors=True)
        self.runs: dict[str, Run] = {}
        self._actors = Actors(self._start_called, lambda: list(self.runs.values()))
        self._lock = threading.RLock()
        self._http = HttpServer(lambda request: self.traffic.pass_through(request, self._answer))
        self._events = EventServer(system_info_interval)
        self.stores: Storages[KeyValueStore] = Storages(KeyValueStore, self.url)
        self.datasets: Storages[Dataset] = Storages(Dataset, self.url)
        self.queues: Storages[RequestQueue] = Storages(RequestQueue, self.url)

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return self._http.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs and stop serving."""
        self.traffic.heal()
        for run in self.runs.values():
            run.close()
        self._events.close()
        self._http.close()
        self._disks.cleanup()

    def _with_a_disk(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Give each container temporary files of its own, as one on the platform has."""
        return {**variables, "TMPDIR": mkdtemp(dir=self._disks.name)}

    def faults(
        self, *, probability: float, seed: int, method: str = "*", path: str = "*"
    ) -> RandomFaults:
        """Let requests go wrong at random: refused, failed, or carried out with a lost answer.

        Args:
            probability: The share of the requests.
            seed: Chooses them.
            method: Only this method.
            path: Only paths that match this pattern, as `fnmatch` reads it.

        Returns:
            The faults, which count what they have met; `traffic.heal()` ends them.
        """
        return self.traffic.random_faults(probability, seed, method=method, path=path)

    def add_actor(
        self,
        actor_id: str,
        cmd: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        prices: Mapping[str, float] | None = None,
    ) -> LocalActor:
        """Make an Actor known that others can call, start, or change into by `metamorph`.

        Args:
            actor_id: Its id, as for `Actor.call`.
            cmd: The command, as for `subprocess.Popen`.
            env: Environment variables above those of the platform.
            cwd: The working directory.
            prices: The price of each event in dollars: the Actor is paid per event.
        """
        actor = LocalActor(actor_id, cmd, env or {}, cwd, prices)
        self._actors.add(actor)
        return actor

    @property
    def actors(self) -> Mapping[str, LocalActor]:
        """The Actors that `add_actor` has made known, by id."""
        return self._actors.by_id

    def start_run(
        self,
        cmd: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: Any = None,  # noqa: A002
        prices: Mapping[str, float] | None = None,
        max_total_charge_usd: float | None = None,
        standby: bool = False,
        actor_id: str = "local-actor",
        origin: str = "API",
    ) -> Run:
        """Start an Actor as a real process that believes itself on the Apify platform.

        Args:
            cmd: The command, as for `subprocess.Popen`.
            env: Environment variables above those of the platform.
            cwd: The working directory.
            input: The Actor's input, saved as the record INPUT.
            prices: The price of each event in dollars: the Actor is paid per event.
            max_total_charge_usd: The most that its user will pay.
            standby: Start it in Standby mode: it serves at `run.standby_url`.
            actor_id: The Actor that the run is of.
            origin: Who has started it, as the platform tells: "API", or "ACTOR" for a child run.
        """
        if isinstance(cmd, str):
            raise TypeError(f"cmd is a list of words: {shlex.split(cmd)}, not {cmd!r}")
        actor = LocalActor(actor_id, cmd, env or {}, cwd)
        charging = Charging(prices, max_total_charge_usd, self._clock)
        run = self._make_run(actor, charging, standby=standby, origin=origin)
        if input is not None:
            run.store.set_json("INPUT", input)
        run.start_next_container()
        return run

    def _start_called(self, actor: LocalActor, record: Record | None, timeout: int) -> Run:
        """Start a run that an Actor has asked for."""
        charging = Charging(actor.prices, None, self._clock)
        run = self._make_run(actor, charging, timeout=timeout, origin="ACTOR")
        if record is not None:
            run.store.records["INPUT"] = record
        run.start_next_container()
        return run

    def _make_run(
        self,
        actor: LocalActor,
        charging: Charging,
        *,
        standby: bool = False,
        timeout: int = 0,
        origin: str = "API",
    ) -> Run:
        port = free_port() if standby else None
        run = Run(
            charging=charging,
            store=self.stores.create(),
            dataset=self.datasets.create(),
            queue=self.queues.create(),
            events=self._events,
            start=self._starter(actor),
            platform_env={
                **self.environment(),
                "ACTOR_ID": actor.id,
                "APIFY_META_ORIGIN": origin,
                **_standby(port),
            },
            env=actor.env,
            actor_id=actor.id,
            metamorph=self._metamorph,
            standby_port=port,
            timeout=timeout,
            origin="STANDBY" if standby else origin,
        )
        self.runs[run.id] = run
        return run

    def _starter(self, actor: LocalActor) -> Callable[[Mapping[str, str]], Container]:
        return lambda env: Container(actor.cmd, self._with_a_disk(env), actor.cwd)

    def _metamorph(self, run: Run, actor_id: str) -> None:
        """Let the further containers of a run be those of another Actor."""
        actor = self._actors.get(actor_id)
        run.replace_program(self._starter(actor), actor.env)

    def environment(self) -> dict[str, str]:
        """What the platform tells every container, whatever its run."""
        return {
            "APIFY_IS_AT_HOME": "1",
            "APIFY_API_BASE_URL": self.url,
            "APIFY_API_PUBLIC_BASE_URL": self.url,
            "APIFY_TOKEN": self.token,
            "APIFY_USER_ID": "local-user",
            "APIFY_META_ORIGIN": "API",
            "APIFY_HEADLESS": "1",
            "APIFY_DEDICATED_CPUS": "1",
            "ACTOR_ID": "local-actor",
            "ACTOR_BUILD_ID": "local-build",
            "ACTOR_BUILD_NUMBER": "0.0.1",
            "ACTOR_MEMORY_MBYTES": "1024",
            "ACTOR_TIMEOUT_AT": "",
            "PYTHONUNBUFFERED": "1",
            LATE_VARIABLE: str(self.late),
        }

    def _answer(self, request: Request) -> Response:
        try:
            with self._lock:
                return self._route(request)
        except ApiError as error:
            return error.response()

    def _route(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if (given or request.query.get("token")) != self.token:
            raise ApiError(401, "user-or-token-not-found", "The token is not valid.")
        match request.segments:
            case ["v2", "key-value-stores", *rest]:
                return self.stores.answer(request, rest)
            case ["v2", "datasets", *rest]:
                return self.datasets.answer(request, rest)
            case ["v2", "request-queues", *rest]:
                return self.queues.answer(request, rest)
            case ["v2", "actors" | "acts", actor_id, *rest]:
                return self._actors.answer(request, actor_id, rest)
            case ["v2", "actor-runs"]:
                return list_runs(request, list(self.runs.values()))
            case ["v2", "actor-runs", run_id, *rest] if run_id in self.runs:
                return self.runs[run_id].answer(request, rest)
            case ["v2", "users", "me"]:
                return data_response({"id": "local-user", "username": "local"})
        raise ApiError.no_such_path()


def free_port() -> int:
    """Give a port at which nothing listens now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _standby(port: int | None) -> dict[str, str]:
    """What the platform tells a container in Standby mode."""
    if port is None:
        return {}
    url = f"http://127.0.0.1:{port}"
    return {
        "APIFY_META_ORIGIN": "STANDBY",
        "ACTOR_STANDBY_PORT": str(port),
        "ACTOR_WEB_SERVER_PORT": str(port),
        "ACTOR_WEB_SERVER_URL": url,
        "ACTOR_STANDBY_URL": url,
    }

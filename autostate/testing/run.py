"""An Actor run: the same id and storages through all its containers."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from autostate.testing.charging import ChargedEvent, Charging
from autostate.testing.container import Container, actor_environment
from autostate.testing.dataset import Dataset
from autostate.testing.events import ABSENT, EventServer
from autostate.testing.key_value_store import KeyValueStore, Record, record_of
from autostate.testing.killing import RandomKills
from autostate.testing.reading import is_save, plain, read
from autostate.testing.request_queue import RequestQueue
from autostate.testing.storages import new_id, now
from autostate.testing.wire import ApiError, Request, Response, data_response

GRACEFUL_ABORT_SECONDS = 30.0
REBOOT_SECONDS = 0.2
"""How long a container lives on after it asked for a reboot."""
_LOOK = 0.01
_ENDING = {"ABORTED": "ABORTING", "TIMED-OUT": "TIMING-OUT"}
"""What a run is called whose end is asked for, while its container lives."""


class Run:
    """One run of an Actor on the local platform. Made by `LocalPlatform.start_run`.

    Attributes:
        id: The id of the run, the same in all containers.
        store: The default key-value store.
        dataset: The default dataset.
        queue: The default request queue.
        env: The environment variables of its containers.
        containers: All containers so far, the current one last.
        status_message: What the Actor last said about itself.
        charging: What it charges for.
        actor_id: The Actor; another one after a metamorph.
        started_at: The time of its start, as the API writes it.
        standby_port: The port at which an Actor in Standby mode serves; None: it is not in it.
    """

    def __init__(
        self,
        *,
        store: KeyValueStore,
        dataset: Dataset,
        queue: RequestQueue,
        events: EventServer,
        start: Callable[[Mapping[str, str]], Container],
        platform_env: Mapping[str, str],
        env: Mapping[str, str],
        charging: Charging | None = None,
        actor_id: str = "local-actor",
        metamorph: Callable[[Run, str], None] | None = None,
        standby_port: int | None = None,
        timeout: int = 0,
        origin: str = "API",
    ) -> None:
        self.id: str = new_id()
        self.actor_id: str = actor_id
        self.standby_port: int | None = standby_port
        self._timeout = timeout
        self._origin = origin
        self._former_actors: list[str] = []
        self._metamorph = metamorph
        self.charging: Charging = charging or Charging(None, None)
        self.store: KeyValueStore = store
        self.dataset: Dataset = dataset
        self.queue: RequestQueue = queue
        self.containers: list[Container] = []
        self.status_message: str | None = None
        self.reboots: int = 0
        self._events = events
        self._start = start
        self.started_at: str = now()
        self.env: dict[str, str] = actor_environment(platform_env, self._environment(), env)
        dataset.on_push = self.charging.pushed
        self._end_as: str | None = None
        self._finished_at: str | None = None
        self._resurrections = 0
        self._closed = False
        self._rebooting = threading.Lock()

    @property
    def container(self) -> Container:
        """The current container."""
        return self.containers[-1]

    @property
    def output(self) -> str:
        """What all containers have printed."""
        return "".join(container.output for container in self.containers)

    @property
    def charges(self) -> list[ChargedEvent]:
        """What it has charged, in order."""
        return list(self.charging.charges)

    @property
    def status(self) -> str:
        """The status as the API tells it."""
        if not self.containers:
            return "READY"
        if self._end_as is not None:  # however its process ends
            return _ENDING[self._end_as] if self.container.alive else self._end_as
        if self.container.alive or self.container.killed:
            return "RUNNING"
        return "SUCCEEDED" if self.container.process.returncode == 0 else "FAILED"

    @property
    def has_ended(self) -> bool:
        """Whether the status is one of those that stay."""
        return self.status not in {"READY", "RUNNING", *_ENDING.values()}

    def start_next_container(self) -> Container:
        """Start another container of this run; the one before may still be alive.

        Raises:
            RuntimeError: The run was aborted, or has reached its timeout.
        """
        if self._end_as is not None:
            raise RuntimeError(f"the run is {self.status}: let it go on with resurrect()")
        container = self._start({**self.charging.environment(), **self.env})
        self.containers.append(container)
        return container

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until the Actor ends by itself, through reboots, and give its exit code."""
        while True:
            container = self.container
            code = container.wait(timeout)
            with self._rebooting:
                if container is self.container:
                    return code

    def kill(self) -> None:
        """Kill the container without notice. The run stays: start the next one."""
        self.container.kill()

    @property
    def is_connected(self) -> bool:
        """Whether the Actor listens for events now."""
        return self._events.is_connected(self.id)

    @property
    def connections(self) -> int:
        """How many connections for events its container has."""
        return self._events.connections(self.id)

    def disconnect(self) -> None:
        """Close its connections for events, as a platform in trouble does."""
        self._events.disconnect(self.id)

    def wait_connected(self) -> None:
        """Wait until the Actor listens for events."""
        self._events.wait_connected(self.id)

    def send(self, name: str, data: Any = ABSENT) -> None:
        """Send an event, as soon as the Actor listens; without `data` it has none at all."""
        self.wait_connected()
        self._events.send(self.id, name, data)

    def persist_state(self) -> None:
        """Send what the platform sends every minute."""
        self.send("persistState", {"isMigrating": False})

    def migrate(self, notice: float = 5.0, *, tell: bool = True) -> Container:
        """Move the run to another container, as the platform does when a server goes down.

        Args:
            notice: Seconds between the event and the kill.
            tell: Whether the event says how much time remains.

        Returns:
            The next container, or the old one if the run ended meanwhile.
        """
        old = self.container
        self.send("migrating", {"timeRemainingSecs": notice} if tell else ABSENT)
        return old if old.ended_within(notice) else self.replace(old)

    def replace(self, old: Container) -> Container:
        """Kill a container without notice, and start the next one.

        Returns:
            The current container: it is the old one if that has ended by itself, or the run has.
        """
        old.kill()
        with self._rebooting:
            if self._closed or self.status != "RUNNING" or self.container is not old:
                return self.container
            return self.start_next_container()

    def abort(self, *, gracefully: bool = False, notice: float = GRACEFUL_ABORT_SECONDS) -> None:
        """End the run from outside; one that has ended already stays as it is.

        Args:
            gracefully: The Actor hears of it, and is killed after the notice. The run is ABORTED
                also if the Actor ends by itself meanwhile, whatever its exit code.
            notice: Seconds between the event and the kill.
        """
        if not self._is_to_end_as("ABORTED"):
            return
        if gracefully:
            self.send("aborting")
            self.persist_state()
            self.container.ended_within(notice)
        self.container.kill()

    def time_out(self) -> None:
        """End the run as one that has reached its timeout."""
        if self._is_to_end_as("TIMED-OUT"):
            self.container.kill()

    def _is_to_end_as(self, status: str) -> bool:
        """Note that the end is asked for, unless the run has ended; tell whether it has not."""
        with self._rebooting:
            if self.status == "RUNNING":
                self._end_as = status
            return not self.has_ended

    def resurrect(self) -> Container:
        """Let a run that has ended go on, with a container that finds what the last one left.

        Raises:
            ApiError: The run has not ended.
        """
        with self._rebooting:
            if not self.has_ended:
                raise ApiError(400, "run-not-finished", "Run is still running")
            self._end_as = self._finished_at = None
            self._resurrections += 1
            return self.start_next_container()

    def metamorph(self, actor_id: str, input: Any = None) -> Container:  # noqa: A002
        """Let another Actor go on in this run, with the same storages.

        Args:
            actor_id: An Actor that `LocalPlatform.add_actor` knows.
            input: The input of that Actor, saved as the record INPUT-METAMORPH-1, and so on.
        """
        body = None if input is None else json.dumps(input).encode()
        return self._become(actor_id, None if body is None else Record(body, "application/json"))

    def _become(self, actor_id: str, record: Record | None) -> Container:
        if self._metamorph is None:
            raise RuntimeError("this run was made without a platform: there is no other Actor")
        with self._rebooting:
            if self._closed or self.status != "RUNNING":
                raise RuntimeError(f"the run is {self.status}, or the platform is closed")
            self._metamorph(self, actor_id)
            self.container.kill()
            former, self.actor_id = self.actor_id, actor_id
            self._former_actors.append(former)
            key = f"INPUT-METAMORPH-{len(self._former_actors)}"
            if record is not None:
                self.store.records[key] = record
            for prefix in ("ACTOR", "APIFY"):
                self.env[f"{prefix}_INPUT_KEY"] = key
            self.env["ACTOR_ID"] = actor_id
            return self.start_next_container()

    def replace_program(
        self, start: Callable[[Mapping[str, str]], Container], env: Mapping[str, str]
    ) -> None:
        """Start further containers in another way; for the platform."""
        self._start = start
        self.env.update(env)

    def is_of(self, actor_id: str) -> bool:
        """Tell whether the platform lists it among the runs of an Actor."""
        return (self._former_actors or [self.actor_id])[0] == actor_id

    def kill_at_random(
        self,
        *,
        seed: int,
        kills: int = 10,
        between: tuple[float, float] = (0.2, 2.0),
        migrations: float = 0.0,
        notice: tuple[float, float] = (0.3, 5.0),
        progress: Callable[[], object] | None = None,
        timeout: float = 300.0,
    ) -> int:
        """Kill containers and start the next ones, until the Actor or the run ends.

        The seed chooses how long each container lives after its first line of output. How far the
        Actor gets in that time depends on the machine; with `progress` each container gets
        somewhere.

        Args:
            seed: Chooses the moments.
            kills: The most kills.
            between: The shortest and the longest life of a container, in seconds.
            migrations: The share of the kills that a `migrating` event announces, in an order
                that the seed chooses.
            notice: The shortest and the longest notice of those, in seconds.
            progress: Tells how far the Actor is, such as `lambda: len(run.dataset.items)`. The
                life of a container is counted from the moment when this has changed.
            timeout: The most seconds for the whole.

        Returns:
            The exit code of the last container.

        Raises:
            TimeoutError: The Actor did not end in time.
            RuntimeError: The Actor has succeeded before any kill.
        """
        killing = RandomKills(
            self,
            seed=seed,
            kills=kills,
            between=between,
            migrations=migrations,
            notice=notice,
            progress=progress,
        )
        return killing.carry_out(timeout)

    def state(self, name: str) -> Any:
        """Read a state object from the run's store: what the next container would find.

        Objects of the program's classes are dicts of their fields. A state that a key protects
        cannot be read.

        Raises:
            KeyError: No state object of that name was saved so far.
            CorruptStateError: The state cannot be read.
        """
        count = len(self._former_actors)
        return plain(read(self.store.records, f"metamorph-{count}-" if count else "").of(name))

    @property
    def saves(self) -> int:
        """How often the state was written: the commits in the run's store so far."""
        return sum(map(is_save, list(self.store.written)))

    def wait_for(
        self,
        *,
        items: int | None = None,
        saves: int | None = None,
        pages: int | None = None,
        condition: Callable[[], bool] | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Wait until all that is asked for is there.

        Args:
            items: So many items in the default dataset.
            saves: So many saves of the state, since the run began.
            pages: So many requests in the default request queue that are handled.
            condition: A function that returns true.
            timeout: The most seconds to wait.

        Raises:
            TimeoutError: It was not there in time, or the container ended without it.
        """
        checks: list[Callable[[], bool]] = [] if condition is None else [condition]
        if items is not None:
            checks.append(lambda: len(self.dataset.items) >= items)
        if saves is not None:
            checks.append(lambda: self.saves >= saves)
        if pages is not None:
            checks.append(lambda: self.queue.handled >= pages)
        end = time.monotonic() + timeout
        while not all(check() for check in checks):
            ended = self.has_ended  # asked first: it may do the last thing and end
            if (ended and not all(check() for check in checks)) or time.monotonic() > end:
                raise TimeoutError(
                    f"{len(self.dataset.items)} items, {self.saves} saves, {self.queue.handled} "
                    f"pages, status {self.status}: not what was waited for. Output:\n{self.output}"
                )
            time.sleep(_LOOK)

    @property
    def standby_url(self) -> str:
        """Where an Actor in Standby mode serves.

        Raises:
            RuntimeError: The run was not started in Standby mode.
        """
        if self.standby_port is None:
            raise RuntimeError("start the run with standby=True")
        return f"http://127.0.0.1:{self.standby_port}"

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until an Actor in Standby mode answers, as the platform does before it sends more.

        Raises:
            TimeoutError: It did not answer in time, or its container ended.
        """
        self.wait_for(condition=self._answers, timeout=timeout)

    def _answers(self) -> bool:
        probe = {"x-apify-container-server-readiness-probe": "1"}
        request = urllib.request.Request(self.standby_url, headers=probe)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            return False

    def reboot(self) -> None:
        """Kill the container after a moment and start the next, as asked by the Actor."""
        old = self.container
        with self._rebooting:
            if self._closed or self.status != "RUNNING" or old is not self.container:
                return
            if old.ended_within(REBOOT_SECONDS):
                return
            old.kill()
            self.reboots += 1
            self.start_next_container()

    def close(self) -> None:
        """Kill whatever still runs, and start nothing any more."""
        with self._rebooting:
            self._closed = True
        for container in self.containers:
            container.kill()

    def answer(self, request: Request, rest: list[str]) -> Response:
        """Answer a request to the run's API endpoints."""
        match request.method, rest:
            case "GET", []:
                pass
            case "PUT", []:
                self.status_message = request.json().get("statusMessage", self.status_message)
            case "POST", ["reboot"]:
                threading.Thread(target=self.reboot, name="local-apify-reboot").start()
            case "POST", ["abort"]:
                gracefully = request.flag("gracefully")
                threading.Thread(
                    target=self.abort, kwargs={"gracefully": gracefully}, name="local-apify-abort"
                ).start()
            case "POST", ["metamorph"]:
                target = request.query.get("targetActorId", "")
                threading.Thread(
                    target=self._become,
                    args=(target, record_of(request)),
                    name="local-apify-metamorph",
                ).start()
            case "POST", ["resurrect"]:
                self.resurrect()
            case "GET", ["log"]:
                return Response(200, self.output.encode(), {"content-type": "text/plain"})
            case "POST", ["charge"]:
                return self.charging.answer(request)
            case _:
                raise ApiError.no_such_path()
        return data_response(self.describe())

    def _environment(self) -> dict[str, str]:
        """What the platform tells a container about its run."""
        env = {
            "ACTOR_RUN_ID": self.id,
            "ACTOR_STARTED_AT": self.started_at,
            "ACTOR_EVENTS_WEBSOCKET_URL": self._events.url(self.id),
            "ACTOR_DEFAULT_KEY_VALUE_STORE_ID": self.store.id,
            "ACTOR_DEFAULT_DATASET_ID": self.dataset.id,
            "ACTOR_DEFAULT_REQUEST_QUEUE_ID": self.queue.id,
            "ACTOR_INPUT_KEY": "INPUT",
        }
        old_names = {f"APIFY_{key.replace('ACTOR_DEFAULT', 'DEFAULT')}": env[key] for key in env}
        return env | old_names | {"APIFY_ACTOR_EVENTS_WS_URL": env["ACTOR_EVENTS_WEBSOCKET_URL"]}

    def _exit_code(self) -> int | None:
        return self.container.process.returncode if self.has_ended else None

    def _finished(self) -> str | None:
        if self.has_ended and self._finished_at is None:
            self._finished_at = now()  # it is asked for now, and has ended before
        return self._finished_at

    def describe(self) -> dict[str, Any]:
        """The run object of the API."""
        return {
            "id": self.id,
            "actId": self.actor_id,
            "userId": "local-user",
            "startedAt": self.started_at,
            "status": self.status,
            "statusMessage": self.status_message,
            "finishedAt": self._finished(),
            "exitCode": self._exit_code(),
            "meta": {"origin": self._origin},
            "stats": {
                "rebootCount": self.reboots,
                "restartCount": max(0, len(self.containers) - 1),
                "resurrectCount": self._resurrections,
                "metamorph": len(self._former_actors),
            },
            "usageTotalUsd": 0.0,
            "buildNumber": "0.0.1",
            "options": {
                "build": "latest",
                "timeoutSecs": self._timeout,
                "memoryMbytes": 1024,
                "diskMbytes": 2048,
                **self.charging.options(),
            },
            **self.charging.describe(),
            "buildId": "local-build",
            "defaultKeyValueStoreId": self.store.id,
            "defaultDatasetId": self.dataset.id,
            "defaultRequestQueueId": self.queue.id,
        }

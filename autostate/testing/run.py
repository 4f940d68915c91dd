"""An Actor run: the same id and storages through all its containers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from autostate.testing.charging import ChargedEvent, Charging
from autostate.testing.container import Container, actor_environment
from autostate.testing.dataset import Dataset
from autostate.testing.events import ABSENT, EventServer
from autostate.testing.key_value_store import KeyValueStore
from autostate.testing.request_queue import RequestQueue
from autostate.testing.storages import new_id, now
from autostate.testing.wire import ApiError, Request, Response, data_response

GRACEFUL_ABORT_SECONDS = 30.0
REBOOT_SECONDS = 0.2
"""How long a container lives on after it asked for a reboot."""


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
        actor_id: The Actor.
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
        origin: str = "API",
    ) -> None:
        self.id: str = new_id()
        self.actor_id: str = actor_id
        self._origin = origin
        self.charging: Charging = charging or Charging(None, None)
        self.store = store
        self.dataset = dataset
        self.queue = queue
        self.containers: list[Container] = []
        self.status_message: str | None = None
        self.reboots: int = 0
        self._events = events
        self._start = start
        self._started_at = now()
        self.env: dict[str, str] = actor_environment(platform_env, self._environment(), env)
        dataset.on_push = self.charging.pushed
        self._aborted = False
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
        if self._aborted:
            return "ABORTED"
        if self.container.alive or self.container.killed:
            return "RUNNING"
        return "SUCCEEDED" if self.container.process.returncode == 0 else "FAILED"

    def start_next_container(self) -> Container:
        """Start another container of this run; the one before may still be alive."""
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
            The next container, or the old one if the Actor ended itself meanwhile.
        """
        old = self.container
        self.send("migrating", {"timeRemainingSecs": notice} if tell else ABSENT)
        if old.ended_within(notice):
            return old
        old.kill()
        return self.start_next_container()

    def abort(self, *, gracefully: bool = False, notice: float = GRACEFUL_ABORT_SECONDS) -> None:
        """End the run from outside; gracefully: after an event and so many seconds."""
        if gracefully:
            self.send("aborting")
            self.persist_state()
            self.container.ended_within(notice)
        self._aborted = True
        self.container.kill()

    def reboot(self) -> None:
        """Kill the container after a moment and start the next, as asked by the Actor."""
        old = self.container
        with self._rebooting:
            if self._closed or old is not self.container or old.ended_within(REBOOT_SECONDS):
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
            case "GET", ["log"]:
                return Response(200, self.output.encode(), {"content-type": "text/plain"})
            case "PUT", []:
                self.status_message = request.json().get("statusMessage", self.status_message)
            case "POST", ["reboot"]:
                threading.Thread(target=self.reboot, name="local-apify-reboot").start()
            case "POST", ["abort"]:
                gracefully = request.flag("gracefully")
                threading.Thread(
                    target=self.abort, kwargs={"gracefully": gracefully}, name="local-apify-abort"
                ).start()
            case "POST", ["charge"]:
                return self.charging.answer(request)
            case _:
                raise ApiError.no_such_path()
        return data_response(self.describe())

    def _environment(self) -> dict[str, str]:
        """What the platform tells a container about its run."""
        env = {
            "ACTOR_RUN_ID": self.id,
            "ACTOR_STARTED_AT": self._started_at,
            "ACTOR_EVENTS_WEBSOCKET_URL": self._events.url(self.id),
            "ACTOR_DEFAULT_KEY_VALUE_STORE_ID": self.store.id,
            "ACTOR_DEFAULT_DATASET_ID": self.dataset.id,
            "ACTOR_DEFAULT_REQUEST_QUEUE_ID": self.queue.id,
            "ACTOR_INPUT_KEY": "INPUT",
        }
        old_names = {f"APIFY_{key.replace('ACTOR_DEFAULT', 'DEFAULT')}": env[key] for key in env}
        return env | old_names | {"APIFY_ACTOR_EVENTS_WS_URL": env["ACTOR_EVENTS_WEBSOCKET_URL"]}

    def describe(self) -> dict[str, Any]:
        """The run object of the API."""
        return {
            "id": self.id,
            "actId": self.actor_id,
            "userId": "local-user",
            "startedAt": self._started_at,
            "status": self.status,
            "statusMessage": self.status_message,
            "meta": {"origin": self._origin},
            "stats": {"rebootCount": self.reboots, "restartCount": len(self.containers) - 1},
            "options": {
                "build": "latest",
                "timeoutSecs": 0,
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

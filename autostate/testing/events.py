"""The platform's events websocket: one server, connections sorted by run."""

from __future__ import annotations

import json
import threading
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from autostate.testing.storages import now

ABSENT: Final = object()
"""The event has no data at all, which is not the same as null."""


class EventServer:
    """Sends platform events to the Actor processes that are connected.

    Args:
        system_info_interval: Seconds between the `systemInfo` events that a connection gets.
    """

    def __init__(self, system_info_interval: float = 1.0) -> None:
        self._interval = system_info_interval
        self._changed = threading.Condition()
        self._connections: list[tuple[str, ServerConnection]] = []
        self._server = serve(self._handle, "127.0.0.1", 0, ping_interval=None, close_timeout=1)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="local-apify-events", daemon=True
        )
        self._thread.start()

    def url(self, run_id: str) -> str:
        """Where the processes of a run listen for events."""
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/{run_id}"

    def wait_connected(self, run_id: str, timeout: float = 30.0) -> None:
        """Wait until a process of this run listens."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._of(run_id), timeout):
                message = f"no process of run {run_id} connected to the events in {timeout} s"
                raise TimeoutError(message)

    def is_connected(self, run_id: str) -> bool:
        """Tell whether a process of this run listens now."""
        with self._changed:
            return bool(self._of(run_id))

    def connections(self, run_id: str) -> int:
        """Count the connections of a run."""
        with self._changed:
            return len(self._of(run_id))

    def send(self, run_id: str, name: str, data: Any = ABSENT) -> None:
        """Send an event to the processes of a run that listen now."""
        event = {"name": name, "createdAt": now()}
        if data is not ABSENT:
            event["data"] = data
        with self._changed:
            connections = self._of(run_id)
        for connection in connections:
            _send(connection, json.dumps(event))

    def disconnect(self, run_id: str, code: int = 1011) -> None:
        """Close the connections of a run, as a platform in trouble does."""
        for connection in self._of(run_id):
            connection.close(code)

    def close(self) -> None:
        """Hang up and stop."""
        self._server.shutdown()
        self._thread.join()
        for _, connection in list(self._connections):
            connection.close()

    def _of(self, run_id: str) -> list[ServerConnection]:
        return [connection for of, connection in self._connections if of == run_id]

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        entry = (connection.request.path.strip("/"), connection)
        with self._changed:
            self._connections.append(entry)
            self._changed.notify_all()
        try:
            self._serve(connection)
        except ConnectionClosed:
            pass
        finally:
            with self._changed:
                self._connections.remove(entry)
                self._changed.notify_all()

    def _serve(self, connection: ServerConnection) -> None:
        """Actors say nothing: waiting for a message is waiting for the next systemInfo."""
        while True:
            _send(connection, json.dumps(_system_info()))
            try:
                connection.recv(timeout=self._interval)
            except TimeoutError:
                continue


def _send(connection: ServerConnection, text: str) -> None:
    try:
        connection.send(text)
    except ConnectionClosed:
        return


def _system_info() -> dict[str, Any]:
    """The load of a container that has nothing to fear."""
    memory = {"memAvgBytes": 5e7, "memCurrentBytes": 5e7, "memMaxBytes": 4e9}
    cpu = {"cpuAvgUsage": 10, "cpuMaxUsage": 20, "cpuCurrentUsage": 10, "isCpuOverloaded": False}
    data = {**memory, **cpu, "createdAt": now()}
    return {"name": "systemInfo", "createdAt": now(), "data": data}

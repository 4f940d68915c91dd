"""Web servers, whose processes import the application, and so its state objects."""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.campaign import sampled
from tests.processes.conftest import processes
from tests.processes.programs import WAIT, Processes, stored

__all__ = ["processes"]

APPLICATION = """
from autostate import PersistedDict, StateInUseError
state = PersistedDict("state", hits=0)

def hit():
    try:
        state["hits"] += 1
    except StateInUseError as error:
        return 503, f"{os.getpid()} {state['hits']} {error}"
    return 200, f"{os.getpid()} {state['hits']}"

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        status, text = hit()
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": text.encode()})

def wsgi(environ, start_response):
    status, text = hit()
    start_response(f"{status} {text[:1]}", [("Connection", "close")])
    return [text.encode()]
"""


class Server:
    """A server of the application, on a port of its own."""

    def __init__(self, processes: Processes, *command: str, on_fenced: str = "raise") -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        processes.write(APPLICATION, "app.py")
        address = f"127.0.0.1:{self.port}"
        at = ["--bind", address] if "gunicorn" in command else ["--port", str(self.port)]
        env = {"AUTOSTATE_ON_FENCED": on_fenced}
        self.process = processes.start("-m", *command, *at, **env)

    def ask(self) -> tuple[int, str]:
        """Send a request; gives status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def begin(self) -> tuple[int, str]:
        """Wait for the first answer."""
        end = time.monotonic() + WAIT
        while True:
            try:
                return self.ask()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    pytest.fail(str(self.process.communicate()))
                time.sleep(0.02)  # nothing announces that the server listens

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.communicate(timeout=WAIT)


def answers(server: Server) -> Iterator[tuple[int, str]]:
    """So many answers that each of four processes has given some, or enough of one."""
    yield server.begin()
    for _ in range(40):
        yield server.ask()


COMMANDS = {
    "uvicorn": ["uvicorn", "app:asgi"],
    "uvicorn, 4 workers": ["uvicorn", "app:asgi", "--workers", "4"],
    "uvicorn, reload": ["uvicorn", "app:asgi", "--reload"],
    "gunicorn": ["gunicorn", "app:wsgi"],
    "gunicorn, 4 workers": ["gunicorn", "app:wsgi", "--workers", "4"],
    "gunicorn, preload": ["gunicorn", "app:wsgi", "--workers", "4", "--preload"],
}


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn"])
def test_a_hit_is_counted_or_refused(processes: Processes, kind: str, rng: random.Random) -> None:
    """One process counts; what the others are asked for raises before anything has changed."""
    for name in sampled(rng, [name for name in COMMANDS if name.startswith(kind)], 1):
        check(processes, name)


def test_a_worker_that_came_before_the_old_one_ended(processes: Processes) -> None:
    """At gunicorn's HUP: what it has read is old, so it ends, and another one begins anew."""
    server = Server(processes, *COMMANDS["gunicorn"], on_fenced="exit")
    _, text = server.begin()
    old, counted = text.split()[0], 1
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + WAIT
    while text.split()[0] == old or counted < 3:
        assert time.monotonic() < end
        with contextlib.suppress(OSError):  # a worker has ended
            status, said = server.ask()
            if status == 200:
                counted, text = counted + 1, said
                assert text.split()[1] == str(counted)
    server.stop()
    assert stored("state", ".autostate/app.db") == {"hits": counted}


def check(processes: Processes, name: str) -> None:
    """Ask a server many times, and look at what is stored."""
    server = Server(processes, *COMMANDS[name])
    counted, refused = 0, 0
    for status, text in answers(server):
        if status == 200:
            counted += 1
            assert text.split()[1] == str(counted)
        else:
            refused += 1
            assert status == 503
            assert "belongs to process" in text
    server.stop()
    processes.close()
    if "4" not in COMMANDS[name]:
        assert not refused
    assert stored("state", ".autostate/app.db") == {"hits": counted}
    (processes.folder / ".autostate" / "app.db").unlink()
    assert counted or "--preload" in COMMANDS[name]

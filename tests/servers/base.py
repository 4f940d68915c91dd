"""What the tests of stores need of a server, whichever it is."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Protocol

from autostate.errors import StoreUnavailableError

START = 60.0
"""Seconds that a server has to start."""


class Server(Protocol):
    """A server that runs without root, with its data in a folder of its own."""

    def url(self, state: str) -> str:
        """The URL of a state, with credentials."""
        ...

    def start(self) -> None:
        """Start it, with the data that it had, and wait until it answers."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...

    def remove(self) -> None:
        """End it, and remove what lies elsewhere than in its folder."""
        ...

    def wipe(self) -> None:
        """Delete all that autostate has stored, as somebody else would."""
        ...

    def remember(self, state: str) -> None:
        """Keep what is stored of a state."""
        ...

    def go_back(self, state: str) -> None:
        """Put it back, as a copy does that has not received the last writes."""
        ...


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(answers: Callable[[], bool], runs: Callable[[], bool]) -> None:
    """Wait until a server answers."""

    def is_ready() -> bool:
        assert runs(), "the server has ended"
        return answers()

    wait_until(is_ready)


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + START
    while not true():
        assert time.monotonic() < end, "it is not true"
        time.sleep(0.02)


def patient(call: Callable[[], object]) -> None:
    """Repeat a call for as long as it fails because the server is not there."""
    end = time.monotonic() + START
    while True:
        try:
            call()
        except StoreUnavailableError:
            assert time.monotonic() < end, "it is not there"
            time.sleep(0.05)
        else:
            return

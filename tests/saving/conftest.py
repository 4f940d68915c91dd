"""Fixtures of the tests of saving."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autostate import hub
from autostate.settings import Settings
from tests.saving.flushing import CALM, Bench


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    """Make flush threads that are ended after the test."""
    made: list[Bench] = []

    def maker(settings: Settings = CALM, *, start: bool = True, **options: Any) -> Bench:
        bench = Bench(settings, **options)
        made.append(bench)
        if start:
            bench.flush_thread.start()
        return bench

    yield maker
    for bench in made:
        bench.store.before_write = lambda: None
        bench.close()


@pytest.fixture
def listen() -> Iterator[Callable[[hub.HubSignal], queue.SimpleQueue[dict[str, Any]]]]:
    """Collect what a signal of the hub tells, until the test ends."""
    connected: list[tuple[hub.HubSignal, Callable[..., None]]] = []

    def listener(signal: hub.HubSignal) -> queue.SimpleQueue[dict[str, Any]]:
        heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        def receive(sender: object, **details: Any) -> None:
            heard.put(details)

        signal.connect(receive)
        connected.append((signal, receive))
        return heard

    yield listener
    for signal, receive in connected:
        signal.disconnect(receive)

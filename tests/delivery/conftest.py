"""Fixtures of the tests of outboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import autostate
from autostate import StateManager, hub
from autostate.delivery.courier import Courier
from autostate.delivery.destination import Destination, OutboxItem, encode
from autostate.delivery.ledger import Ledger


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Shelf(Destination[Any]):
    """A destination in memory, which fails as it is told.

    Attributes:
        values: What has arrived.
        calls: The values of each call of `deliver`.
        asked: The positions of each call of `find`.
        fails: Called with the items before they arrive.
        loses: Called with the items after they have arrived.
    """

    def __init__(self, batch: int = 1_000) -> None:
        self.batch = batch
        self.values: list[Any] = []
        self.calls: list[list[Any]] = []
        self.fails: Callable[[Sequence[OutboxItem[Any]]], None] = nothing
        self.loses: Callable[[Sequence[OutboxItem[Any]]], None] = nothing

    def deliver(self, items: Sequence[OutboxItem[Any]], place: Any) -> Any:
        self.calls.append([item.value for item in items])
        self.fails(items)
        self.values += [item.value for item in items]
        self.loses(items)
        return place


class FindingShelf(Shelf):
    """One that can tell what has arrived; its place is the number of values."""

    settle = 5.0

    def __init__(self, batch: int = 1_000) -> None:
        super().__init__(batch)
        self.asked: list[list[int]] = []

    def begin(self) -> int:
        return len(self.values)

    def deliver(self, items: Sequence[OutboxItem[Any]], place: Any) -> int:
        super().deliver(items, place)
        return len(self.values)

    def find(self, items: Sequence[OutboxItem[Any]], place: Any) -> tuple[list[int], int]:
        self.asked.append([item.position for item in items])
        there = self.values[place:]
        return [item.position for item in items if item.value in there], len(self.values)


def nothing(_items: Sequence[OutboxItem[Any]]) -> None:
    """Neither fail nor lose anything."""


class Bench:
    """A ledger and a courier without a thread: a test takes the steps."""

    def __init__(self, manager: StateManager, destination: Destination[Any]) -> None:
        self.manager = manager
        self.told = 0
        self.clock = Clock()
        self.ledger = Ledger(manager, "box", self._tell)
        self.courier: Courier[Any] = Courier(
            "box", self.ledger, destination, attempts=3, sender=manager, clock=self.clock
        )

    def _tell(self) -> None:
        self.told += 1

    def put(self, *values: Any) -> None:
        """Put items and make them durable."""
        self.ledger.put(map(encode, values))
        self.manager.flush()

    def step(self) -> float | None:
        """Take one step."""
        return self.courier._step()

    def run(self, seconds: float = 1_000) -> None:
        """Take steps, and let the pauses between them pass, until nothing is left to do."""
        end = self.clock.now + seconds
        while self.clock.now < end and (pause := self.step()) is not None:
            self.clock.now += pause


@pytest.fixture
def manager() -> Iterator[StateManager]:
    """A state that is saved when a test asks for it."""
    with autostate.open("memory:", debounce=60, max_delay=60) as manager:
        yield manager


@pytest.fixture
def bench(manager: StateManager) -> Callable[[Destination[Any]], Bench]:
    """Make ledgers and couriers."""
    return lambda destination: Bench(manager, destination)


@pytest.fixture
def failures() -> Iterator[list[dict[str, Any]]]:
    """What `hub.delivery_failed` has told."""
    told: list[dict[str, Any]] = []

    def receive(sender: object, **details: Any) -> None:
        told.append(details)

    hub.delivery_failed.connect(receive)
    yield told
    hub.delivery_failed.disconnect(receive)

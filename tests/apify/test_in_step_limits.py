"""How long marks may lag behind, by a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from crawlee import Request
from crawlee.storage_clients import MemoryStorageClient
from crawlee.storage_clients._memory import MemoryRequestQueueClient
from crawlee.storage_clients.models import ProcessedRequest

import autostate
from autostate.apify import in_step_queue, units
from autostate.apify.in_step_queue import OLD, TOO_OLD, InStepQueueClient
from autostate.apify.units import WorkUnit, working
from autostate.errors import FencedError
from autostate.runtime.api import current_manager

Queue = tuple[InStepQueueClient, asyncio.Event]
SECONDS = 20.0
"""How long a test waits for a save, at most."""


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of units; nothing is saved by itself, and a crawler gets its answer at once."""
    autostate.configure(debounce=1000.0, max_delay=1000.0)
    monkeypatch.setattr(in_step_queue, "HELD_BACK_CHECK", 0.0)
    moved = Clock()
    monkeypatch.setattr(units, "clock", moved)
    return moved


async def queue_of(urls: int, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue with requests, and an event that lets its marks be made."""
    may_mark = asyncio.Event()
    mark = MemoryRequestQueueClient.mark_request_as_handled

    async def marked(self: Any, request: Request) -> ProcessedRequest | None:
        await may_mark.wait()
        return await mark(self, request)

    monkeypatch.setattr(MemoryRequestQueueClient, "mark_request_as_handled", marked)
    inner = await MemoryStorageClient().create_rq_client(name="queue")
    await inner.add_batch_of_requests([Request.from_url(f"https://e.com/{n}") for n in range(urls)])
    return InStepQueueClient(inner, "queue"), may_mark


async def in_crawler(do: Callable[[], Any]) -> Any:
    """Call a coroutine function as the task of a crawler does."""
    unit = WorkUnit(of_crawler=True)
    token = working.set(unit)
    unit.enter()
    try:
        return await do()
    finally:
        unit.end(kept=True)
        unit.leave()
        working.reset(token)


async def work(client: InStepQueueClient, then: Callable[[], object] = lambda: None) -> None:
    """Fetch a request in a task of a crawler, and mark it."""

    async def do() -> None:
        request = await client.fetch_next_request()
        assert request is not None
        then()
        await client.mark_request_as_handled(request)

    await in_crawler(do)


async def test_an_old_mark_asks_for_a_save(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look whether there is something to fetch."""
    client, may_mark = await queue_of(2, monkeypatch)
    may_mark.set()
    await work(client)
    clock.now = OLD - 1
    assert not await client.is_empty()
    assert client._marks.unsaved
    clock.now = OLD
    assert not await client.is_empty()
    assert await client._marks.made(SECONDS)


async def test_the_mark_of_a_long_handler_asks_for_a_save(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, though nobody looks."""
    client, may_mark = await queue_of(1, monkeypatch)
    may_mark.set()
    await work(client, lambda: setattr(clock, "now", OLD))
    assert await client._marks.made(SECONDS)


async def test_no_request_is_handed_out_while_a_mark_is_too_old(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform could soon hand the marked one out again; the queue is not finished either."""
    client, may_mark = await queue_of(2, monkeypatch)
    await work(client)
    clock.now = TOO_OLD - 1
    assert not await client.is_empty()
    clock.now = TOO_OLD
    assert await client.is_empty()
    assert not await client.is_finished()
    assert await in_crawler(client.fetch_next_request) is None
    await autostate.durable()
    may_mark.set()
    assert await client._marks.made(SECONDS)
    assert not await client.is_empty()
    await work(client)


async def test_a_fenced_process_ends_unless_it_is_a_container(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a container would be that of the run: there nothing is handed out."""
    client, _ = await queue_of(1, monkeypatch)
    incarnation = current_manager()._incarnation
    assert incarnation is not None
    job = incarnation.flush_thread.job
    monkeypatch.setattr(job, "fenced", FencedError("another process has taken over"))
    monkeypatch.setattr(in_step_queue, "_at_home", lambda: True)
    assert await in_crawler(client.fetch_next_request) is None
    assert await client.is_empty()
    monkeypatch.setattr(in_step_queue, "_at_home", lambda: False)
    with pytest.raises(FencedError):
        await in_crawler(client.fetch_next_request)
    monkeypatch.undo()


async def test_marks_of_a_process_that_may_not_write_end_quietly(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads the outcome of their task."""
    client, may_mark = await queue_of(2, monkeypatch)
    client._marks.at_once = 1
    for _ in range(2):
        await work(client)
    await autostate.durable()
    client._marks.make_now()
    task = client._marks._task
    assert task is not None

    def refuse() -> None:
        raise FencedError("another process has taken over")

    with monkeypatch.context() as patch:
        patch.setattr(current_manager()._tracker(), "gate", refuse)
        may_mark.set()
        await asyncio.wait([task])
    assert task.exception() is None
    assert len(client._marks) == 2

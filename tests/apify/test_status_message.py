"""The progress as the status message of the run."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

import autostate
from autostate.apify.status_message import _progress
from autostate.testing import LocalPlatform
from tests.actor_runs import PRELUDE, StartActor, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

BEGIN = (
    PRELUDE
    + """
import autostate
import autostate.apify.status_message
autostate.apify.status_message.INTERVAL = 0.1
autostate.configure(status_message=True, debounce=0.05, max_delay=0.05)
"""
)


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor that tells its progress."""
    return starter(platform, tmp_path, BEGIN)


def test_loops_and_outboxes_are_told_of(start: StartActor) -> None:
    """With what is known about them."""
    run = start(
        """
        async def refuse(items):
            raise OSError("not now")

        async with Actor:
            outbox = autostate.outbox("mails", refuse)
            outbox.put("a", "b")
            async for page in autostate.resume("pages", range(100)):
                if page == 3:
                    await asyncio.sleep(600)
        """
    )
    run.wait_for(condition=lambda: run.status_message == "pages: 3 of 100; mails: 2 to deliver")


def test_a_crawler_tells_of_itself(start: StartActor) -> None:
    """In its own words."""
    run = start(
        """
        from crawlee.events import EventCrawlerStatusData
        async with Actor:
            data = EventCrawlerStatusData(message="Crawled 5/9 pages", crawler_id=1)
            Actor.event_manager.emit(event=Event.CRAWLER_STATUS, event_data=data)
            await asyncio.sleep(600)
        """
    )
    run.wait_for(condition=lambda: run.status_message == "Crawled 5/9 pages")


def test_the_message_of_the_program_stays(start: StartActor) -> None:
    """In this container and in the next one."""
    run = start(
        """
        async with Actor:
            async for page in autostate.resume("pages", range(100)):
                if page == 0:
                    await Actor.set_status_message("mine")
                    await autostate.durable()
                print("page", page)
                await asyncio.sleep(0.05)
        """
    )
    run.container.wait_for_output("page 20")
    assert run.status_message == "mine"
    run.kill()
    run.start_next_container().wait_for_output("page 60")
    assert run.status_message == "mine"
    assert run.wait() == 0
    assert run.status_message == "mine"


def test_the_last_message_is_that_of_the_program(
    platform: LocalPlatform, start: StartActor
) -> None:
    """Also where one of the library is on its way."""
    held = platform.traffic.fault("PUT", "/v2/actor-runs/*", times=1, hold=True)
    run = start(
        """
        async with Actor:
            async for page in autostate.resume("pages", range(1)):
                await asyncio.sleep(1)
                print("now")
                await Actor.set_status_message("mine")
        """
    )
    held.wait_hit()
    run.container.wait_for_output("now")
    time.sleep(0.5)  # a message that does not wait has arrived by then
    held.release()
    assert run.wait() == 0
    assert run.status_message == "mine"


def test_nothing_is_told_without_the_setting(platform: LocalPlatform, start: StartActor) -> None:
    """No request, and no note in the state."""
    run = start(
        """
        autostate.configure(status_message=False)
        async with Actor:
            async for page in autostate.resume("pages", range(10)):
                await asyncio.sleep(0.05)
            await Actor.set_status_message("mine")
        """
    )
    assert run.wait() == 0
    assert len(platform.traffic.calls_to("PUT", "/v2/actor-runs/*")) == 1
    assert not any(b"status_message" in record.value for record in run.store.records.values())


def test_a_loop_over_a_file_tells_its_share(isolated: Path) -> None:
    """How many lines there are is not known."""
    with autostate.open("memory:") as manager:
        told: list[str] = []
        for _ in autostate.resume("lines", io.StringIO("line\n" * 4)):
            told += _progress([manager])
        assert told[0] == "lines: 0 (0%)"
        assert told[-1] == "lines: 3 (75%)"

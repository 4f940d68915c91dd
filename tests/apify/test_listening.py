"""Events are heard and state is saved while the event loop of an Actor is blocked."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform, Run
from tests.actor_runs import PRELUDE, StartActor, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

SERVER = (
    PRELUDE
    + """
from http.server import BaseHTTPRequestHandler, HTTPServer

import autostate
from autostate import PersistedDict

autostate.configure(debounce=100, max_delay=100)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if "x-apify-container-server-readiness-probe" not in self.headers:
            PersistedDict("served")["n"] = PersistedDict("served").get("n", 0) + 1
        body = str(PersistedDict("served").get("n", 0)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass
"""
)

SERVE = """
    @autostate.hub.migrating.connect
    def told(sender, time_remaining, **rest):
        print("told of", time_remaining, flush=True)

    async with Actor:
        print("served", dict(PersistedDict("served")))
        HTTPServer(("", Actor.configuration.web_server_port), Handler).serve_forever()
"""

BLOCKED = """
    import time
    import autostate.apify.events as events
    events.LOOP_WATCH = events.LOOP_BLOCKED = 0.1
    async with Actor:
        state = PersistedDict("served")
        print("served", dict(state))
        state["n"] = state.get("n", 0) + 1
        {body}
"""


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor that serves."""
    return starter(platform, tmp_path, SERVER)


def get(run: Run) -> int:
    """Ask the server."""
    with urllib.request.urlopen(run.standby_url) as answer:
        return int(answer.read())


def listening(run: Run, count: int = 2) -> None:
    """Wait until the SDK and the library have connected."""
    run.wait_for(condition=lambda: run.connections == count)


def test_a_migration_is_heard_while_a_server_blocks_the_loop(start: StartActor) -> None:
    """The next container serves on from what was saved at the event."""
    run = start(SERVE, standby=True)
    run.wait_ready()
    assert [get(run) for _ in range(3)] == [1, 2, 3]
    assert run.saves == 0
    listening(run)
    run.migrate(notice=3.0)
    run.wait_ready()
    assert "told of 3" in run.containers[0].output
    assert get(run) == 4


@pytest.mark.parametrize("event", ["persistState", "aborting"])
def test_other_events_save_too(start: StartActor, event: str) -> None:
    """As they do where the loop runs."""
    run = start(SERVE, standby=True)
    run.wait_ready()
    get(run)
    listening(run)
    run.send(event)
    run.wait_for(condition=lambda: run.saves > 0 and run.state("served") == {"n": 1})


def test_a_connection_that_was_lost_is_opened_again(start: StartActor) -> None:
    """The library's own, while the loop is blocked and the SDK's is not."""
    run = start(SERVE, standby=True)
    run.wait_ready()
    get(run)
    listening(run)
    run.disconnect()

    def saved() -> bool:
        run.send("persistState")  # as soon as somebody listens again
        return run.saves > 0

    run.wait_for(condition=saved)


def test_a_loop_that_is_blocked_anywhere(start: StartActor) -> None:
    """A second connection is opened when that is found out, and closed when the loop runs."""
    body = "time.sleep(3); print('runs'); await asyncio.sleep(600)"
    run = start(BLOCKED.replace("{body}", body))
    listening(run, 2)
    run.send("migrating", {"timeRemainingSecs": 2})
    run.wait_for(condition=lambda: run.saves > 0 and run.state("served") == {"n": 1})
    assert "runs" not in run.output
    run.container.wait_for_output("runs")
    listening(run, 1)


def test_a_loop_that_runs_hears_events_once(start: StartActor) -> None:
    """The thread leaves them to the listeners of the loop."""
    run = start(
        """
        import collections
        told = collections.Counter()

        @autostate.hub.persist_state.connect
        def tell(sender, **rest):
            told["persist_state"] += 1

        async with Actor:
            print("begun")
            while not told:
                await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            print("told", dict(told))
        """,
        standby=True,
    )
    listening(run)
    run.persist_state()
    run.container.wait_for_output("told {'persist_state': 1}")

"""What a test can do with a run: wait, read its state, end it in every way, call other Actors."""

from __future__ import annotations

import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from apify_client import ApifyClient

from autostate.testing import LocalPlatform
from autostate.testing.killing import RandomKills
from tests.actor_runs import StartActor, script

pytestmark = pytest.mark.usefixtures("forked_actors")

COUNTING = """
    import autostate
    autostate.configure(debounce=0.05, max_delay=0.05)
    async with Actor:
        progress = autostate.PersistedDict("progress", page=0)
        seen = autostate.PersistedSet("seen")
        while progress["page"] < 40:
            with autostate.atomic():
                progress["page"] += 1
                seen.add(progress["page"])
            print("page", progress["page"])
            await asyncio.sleep(0.05)
"""

WAITING = """
    async with Actor:
        print("begun", Actor.configuration.actor_id, await Actor.get_input())
        await asyncio.sleep(60)
"""


def test_a_state_is_read_while_the_actor_runs(start: StartActor) -> None:
    """What is saved can be read, without disturbing the owner."""
    run = start(COUNTING)
    run.wait_for(saves=3)
    assert run.state("progress")["page"] > 0
    assert run.wait() == 0, run.output
    assert run.state("progress") == {"page": 40}
    assert run.state("seen") == set(range(1, 41))
    with pytest.raises(KeyError, match="no state object 'other' is saved"):
        run.state("other")


def test_objects_are_read_as_their_fields(start: StartActor) -> None:
    """The classes of the program are not needed."""
    run = start(
        """
        import autostate
        @autostate.persisted
        class Progress:
            page: int = 3
            tags: list
            def __init__(self):
                self.tags = [{"a": 1}]
        async with Actor:
            Progress().page = 4
        """
    )
    assert run.wait() == 0, run.output
    assert run.state("Progress") == {"page": 4, "tags": [{"a": 1}]}


def test_waiting_ends_with_what_it_waits_for_or_with_the_actor(start: StartActor) -> None:
    """Items, handled requests, conditions; an Actor that has ended can do no more."""
    run = start(
        """
        async with Actor:
            queue = await Actor.open_request_queue()
            await queue.add_requests([f"https://example.com/{n}" for n in range(3)])
            while request := await queue.fetch_next_request():
                await queue.mark_request_as_handled(request)
                await Actor.push_data({"url": request.url})
        """
    )
    run.wait_for(items=3, pages=3, condition=lambda: run.status == "SUCCEEDED")
    assert run.queue.unhandled == []
    with pytest.raises(TimeoutError, match="3 items"):
        run.wait_for(items=4)


def test_kills_at_random_moments_are_counted(start: StartActor) -> None:
    """The Actor is killed, told of migrations, and comes to its end."""
    run = start(COUNTING)
    code = run.kill_at_random(
        seed=7, kills=4, between=(0.1, 0.4), migrations=0.5, notice=(0.1, 0.2)
    )
    assert code == 0, run.output
    assert len(run.containers) == 5
    assert run.state("seen") == set(range(1, 41))


def test_the_share_of_announced_kills_is_exact() -> None:
    """Also where there are few of them; the seed chooses which ones."""
    orders = set()
    for seed in range(20):
        run: Any = None
        options: Any = {"between": (0, 1), "notice": (0, 1), "migrations": 0.5}
        order = RandomKills(run, seed=seed, kills=4, **options)._announced
        assert sum(order) == 2
        orders.add(tuple(order))
    assert len(orders) > 2


def test_a_container_is_not_killed_before_it_has_got_somewhere(start: StartActor) -> None:
    """Where the test tells how far the Actor is."""
    run = start(COUNTING)
    code = run.kill_at_random(
        seed=1, kills=2, between=(0.0, 0.0), progress=lambda: run.output.count("page")
    )
    assert code == 0, run.output
    assert len(run.containers) == 3
    assert all("page" in container.output for container in run.containers)


def test_a_test_without_a_kill_is_told_of(start: StartActor) -> None:
    """It would pass, and show nothing."""
    run = start("print('done')")
    with pytest.raises(RuntimeError, match="no container was killed"):
        run.kill_at_random(seed=1, between=(30.0, 30.0))
    failing = start("raise SystemExit(3)")
    assert failing.kill_at_random(seed=1, between=(30.0, 30.0)) == 3
    assert start("pass").kill_at_random(seed=1, kills=0) == 0


@pytest.mark.parametrize("migrations", [0.0, 1.0])
def test_a_run_that_was_aborted_is_not_started_again(start: StartActor, migrations: float) -> None:
    """The kills at random end with the run."""
    run = start(WAITING)

    def progress() -> int:
        if len(run.containers) == 2:
            run.abort()
        return len(run.container.output)

    run.kill_at_random(
        seed=1, kills=9, between=(0.0, 0.0), migrations=migrations, progress=progress
    )
    assert run.status == "ABORTED"
    assert len(run.containers) == 2
    assert run.replace(run.container) is run.containers[1]


def test_a_run_that_has_ended_is_resurrected(start: StartActor, platform: LocalPlatform) -> None:
    """It goes on from its state: after an abort and after a timeout."""
    run = start(COUNTING)
    run.wait_for(saves=1)
    run.abort()
    assert run.status == "ABORTED"
    first = run.state("progress")["page"]
    run.resurrect()
    assert run.status == "RUNNING"
    run.wait_for(condition=lambda: run.state("progress")["page"] > first)
    run.time_out()
    assert run.status == "TIMED-OUT"
    client = ApifyClient(platform.token, api_url=platform.url, max_retries=0)
    assert client.run(run.id).resurrect().status == "RUNNING"
    assert run.wait() == 0
    assert run.status == "SUCCEEDED"
    assert run.state("seen") == set(range(1, 41))
    run.abort()
    assert run.status == "SUCCEEDED"


def test_actors_call_each_other(start: StartActor, platform: LocalPlatform, tmp_path: Path) -> None:
    """`Actor.call` starts a run of the other Actor, and waits for it; runs are listed."""
    (tmp_path / "child").mkdir()
    platform.add_actor(
        "child",
        script(
            tmp_path / "child",
            """
            async with Actor:
                await Actor.set_value("OUTPUT", await Actor.get_input())
            """,
        ),
    )
    run = start(
        """
        async with Actor:
            child = await Actor.call("child", {"n": 5}, logger=None)
            print(child.status, child.default_key_value_store_id)
            missing = None
            try:
                await Actor.call("no-such")
            except Exception as error:
                print("refused", error)
        """
    )
    assert run.wait() == 0, run.output
    assert "refused" in run.output
    client = ApifyClient(platform.token, api_url=platform.url, max_retries=0)
    [child] = client.actor("child").runs().list(started_after="2020-01-01T00:00:00Z").items
    assert client.run(child.id).get() is not None
    assert platform.runs[child.id].store.get_json("OUTPUT") == {"n": 5}
    assert client.runs().list().total == 2
    assert client.actor("child").runs().list(status="FAILED").total == 0


def test_an_actor_becomes_another_one(
    start: StartActor, platform: LocalPlatform, tmp_path: Path
) -> None:
    """The run and its storages stay; the Actor and its input are others."""
    (tmp_path / "next").mkdir()
    platform.add_actor(
        "next",
        script(
            tmp_path / "next",
            """
            async with Actor:
                print(Actor.configuration.actor_id, await Actor.get_input())
                print("found", await Actor.get_value("left"))
            """,
        ),
    )
    run = start(
        """
        async with Actor:
            await Actor.set_value("left", "behind")
            await Actor.metamorph("next", {"n": 2})
        """
    )
    run.wait_for(condition=lambda: len(run.containers) == 2)
    assert run.wait() == 0
    assert run.actor_id == "next"
    assert run.status == "SUCCEEDED", run.output
    assert "next {'n': 2}\n" in run.output
    assert "found behind" in run.output


def test_an_actor_in_standby_mode_serves(start: StartActor) -> None:
    """Its server is asked whether it is ready, and then whatever the test asks."""
    run = start(
        """
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"hello")

        async with Actor:
            port = Actor.configuration.web_server_port
            HTTPServer(("", port), Handler).serve_forever()
        """,
        standby=True,
    )
    run.wait_ready()
    with urllib.request.urlopen(run.standby_url) as answer:
        assert answer.read() == b"hello"


def test_a_child_inherits_what_is_left_of_the_timeout(platform: LocalPlatform) -> None:
    """The options of a started run are those of the request."""
    platform.add_actor("child", ["true"])
    client = ApifyClient(platform.token, api_url=platform.url, max_retries=0)
    assert platform.add_actor("priced", ["true"], prices={"page": 0.5}) is platform.actors["priced"]
    priced = client.actor("me~priced").start()
    assert priced.pricing_info is not None
    run = client.actor("child").start(run_timeout=timedelta(seconds=90))
    assert run.options.timeout_secs == 90
    assert run.meta.origin == "ACTOR"

"""An Actor that another one has become finds none of the former one's state objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform, Run
from tests.actor_runs import script, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

BODY = """
    import autostate
    async with Actor:
        progress = autostate.PersistedDict("progress", of=[])
        progress["of"].append(Actor.configuration.actor_id)
        await autostate.durable()
        print("progress", dict(progress), autostate.names())
        if len(progress["of"]) == {lives}:
            await {then}
        await asyncio.sleep(600)
"""


@pytest.fixture
def run(platform: LocalPlatform, tmp_path: Path) -> Run:
    """A run of an Actor that becomes `second` in its second life, which becomes itself."""
    for name, lives, then in (
        ("first", 2, 'Actor.metamorph("second", {"n": 1})'),
        ("second", 3, 'Actor.metamorph("second")'),
    ):
        (tmp_path / name).mkdir()
        body = BODY.replace("{lives}", str(lives)).replace("{then}", then)
        platform.add_actor(name, script(tmp_path / name, body))
    body = BODY.replace("{lives}", "2").replace("{then}", 'Actor.metamorph("second", {"n": 1})')
    return starter(platform, tmp_path)(body)


def wait_for_containers(run: Run, count: int) -> None:
    """Wait until the Actor has become another one."""
    run.wait_for(condition=lambda: len(run.containers) == count)
    run.container.wait_for_output("progress")


def test_each_actor_of_a_run_has_a_state_of_its_own(run: Run) -> None:
    """A kill, an abort with resurrection and a reboot keep the state; a metamorph begins anew."""
    run.container.wait_for_output("progress")
    first = run.state("progress")
    assert first == {"of": ["local-actor"]}
    run.kill()
    run.start_next_container()
    wait_for_containers(run, 3)
    assert run.actor_id == "second"
    assert run.state("progress") == {"of": ["second"]}
    run.abort()
    run.resurrect()
    run.container.wait_for_output("progress")
    assert run.state("progress") == {"of": ["second", "second"]}
    run.kill()
    run.start_next_container()
    wait_for_containers(run, 6)
    assert run.state("progress") == {"of": ["second"]}, run.output
    for container in run.containers:
        assert "['progress']" in container.output
    assert "damaged" not in run.output


def test_the_state_of_the_former_actor_stays(run: Run) -> None:
    """Its records are not touched."""
    run.container.wait_for_output("progress")
    run.kill()
    before = dict(run.store.records)
    run.metamorph("second", {"n": 1})
    run.container.wait_for_output("progress")
    after = {key: run.store.records[key] for key in before}
    assert after == before
    added = sorted(set(run.store.records) - set(before) - {"INPUT-METAMORPH-1"})
    assert added
    assert all(key.startswith("metamorph-1-autostate-") for key in added)


def test_what_is_unsaved_is_saved_before_the_actor_becomes_another_one(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Both Actors of the run share a named store; the kill comes without notice."""
    body = """
        import autostate
        autostate.configure("apify:shared", debounce=100, max_delay=100)
        async with Actor:
            shared = autostate.PersistedDict("shared", pages=0)
            print("shared", dict(shared))
            if not shared["pages"]:
                shared["pages"] += 1
                await Actor.metamorph("second")
    """
    platform.add_actor("second", script(tmp_path, body))
    run = starter(platform, tmp_path)(body)
    run.wait_for(condition=lambda: len(run.containers) == 2)
    assert run.wait() == 0
    assert "shared {'pages': 1}" in run.container.output


def test_outboxes_are_emptied_before_the_actor_becomes_another_one(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """Nobody would deliver what is in them afterwards."""
    body = """
        import autostate
        autostate.configure(debounce=100, max_delay=100)
        async def deliver(items):
            await asyncio.sleep(0.5)
            print("delivered", [item.value for item in items])
        async with Actor:
            outbox = autostate.outbox("mails", deliver)
            if Actor.configuration.actor_id != "second":
                outbox.put("a", "b")
                await Actor.metamorph("second")
    """
    platform.add_actor("second", script(tmp_path, body))
    run = starter(platform, tmp_path)(body)
    run.wait_for(condition=lambda: len(run.containers) == 2)
    assert run.wait() == 0
    assert "delivered ['a', 'b']" in run.containers[0].output

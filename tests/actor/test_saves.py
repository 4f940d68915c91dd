"""When an Actor saves: ends, signals, events, migrations, and the end of its time."""

from __future__ import annotations

import itertools
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from autostate.testing import ABSENT, LocalPlatform
from tests.actor.programs import LISTEN, SAVES, resumed, saves
from tests.actor_runs import StartActor

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")


def test_two_requests_after_the_notice_save_what_was_never_saved(
    platform: LocalPlatform, start: StartActor
) -> None:
    """So many as half a second has room for where each takes 0.2 s."""
    run = start(
        """
        state = PersistedDict("state")
        print("found", state.get("n"))
        state["n"] = 1
        async with Actor:
            print("ready")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("ready")
    run.wait_connected()
    left = itertools.count(2, -1)
    ours = "*/key-value-stores/*"
    platform.traffic.fault(path=ours, when=lambda _: next(left) <= 0, hold=True)
    run.send("migrating", {"timeRemainingSecs": 0.5})
    platform.traffic.wait_for_calls("PUT", SAVES, applied=True)
    run.kill()
    platform.traffic.heal()
    run.start_next_container().wait_for_output("found 1")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("return", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('on purpose')", 91),
        ("await Actor.exit(exit_code=4)", 4),
        ("await Actor.fail(exit_code=5)", 5),
    ],
)
def test_an_orderly_end_saves_exactly_once(
    platform: LocalPlatform, start: StartActor, end: str, code: int
) -> None:
    """Whatever way out of the context: one write, with what a last listener added."""
    run = start(
        f"""
        async with Actor:
            state = PersistedDict("state", n=0)
            state["n"] = 1
            async def last(data):
                await asyncio.sleep(0.05)
                state["last"] = True
            Actor.on(Event.PERSIST_STATE, last)
            {end}
        """
    )
    assert run.wait() == code, run.output
    assert saves(platform) == 1, platform.traffic.calls
    assert resumed(run) == {"n": 1, "last": True}


def test_state_that_nobody_changed_is_not_written(
    platform: LocalPlatform, start: StartActor
) -> None:
    """A second life that only reads writes nothing, not even at its end."""
    run = start('async with Actor: PersistedDict("state", n=0)["n"] += 1')
    assert run.wait() == 0, run.output
    written = saves(platform)
    assert resumed(run) == {"n": 1}
    assert saves(platform) == written


def test_an_idle_actor_writes_nothing_in_ten_persist_state_events(
    platform: LocalPlatform, start: StartActor
) -> None:
    """The first event saves what changed, ten more cost no write."""
    run = start(
        f"""
    async with Actor:
        state = PersistedDict("state", n=0)
        state["n"] = 1
        {LISTEN}
        """
    )
    run.container.wait_for_output("ready")
    run.persist_state()
    platform.traffic.wait_for_calls("PUT", SAVES)
    for _ in range(10):
        run.persist_state()
    run.container.wait_for_output("heard EventPersistStateData", count=11)
    assert saves(platform) == 1
    run.kill()
    assert resumed(run) == {"n": 1}


@pytest.mark.parametrize("last", ["migrating", "aborting"])
@pytest.mark.parametrize("data", ["proper", None, ABSENT])
def test_each_event_saves_whatever_its_data(
    platform: LocalPlatform, start: StartActor, last: str, data: Any
) -> None:
    """Also events that the SDK drops, because their data is null or absent, are heard."""
    proper = {
        "persistState": {"isMigrating": False},
        "migrating": {"timeRemainingSecs": 9.5},
        "aborting": {},
    }
    run = start(
        """
        async with Actor:
            state = PersistedDict("state", n=0)
            print("ready")
            while True:
                state["n"] += 1
                await asyncio.sleep(0.01)
        """
    )
    run.container.wait_for_output("ready")
    for count, event in enumerate(["persistState", last], start=1):
        run.send(event, proper[event] if data == "proper" else data)
        platform.traffic.wait_for_calls("PUT", SAVES, count=count)
    run.kill()
    assert resumed(run)["n"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_exactly_once(
    platform: LocalPlatform, start: StartActor, number: signal.Signals
) -> None:
    """The SDK ignores SIGTERM and loses everything; with autostate nothing is lost."""
    run = start(
        """
        async with Actor:
            PersistedDict("state", n=0)["n"] = 1
            print("ready")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("ready")
    run.container.signal(number)
    assert run.wait() != 0
    assert saves(platform) == 1
    assert resumed(run) == {"n": 1}


def test_after_migrating_every_change_is_saved_soon(
    platform: LocalPlatform, start: StartActor
) -> None:
    """The program goes on until the kill, and so does saving, at a short debounce."""
    run = start(
        """
        async with Actor:
            state = PersistedDict("state", n=0)
            if state["n"]:
                print("resumed at", state["n"])
                return
            async def migrating(data):
                print("migrating at", state["n"])
                moved.set()
            moved = asyncio.Event()
            Actor.on(Event.MIGRATING, migrating)
            state["n"] = 1
            print("ready")
            await moved.wait()
            while True:
                await asyncio.sleep(0.01)
                state["n"] += 1
        """
    )
    run.container.wait_for_output("ready")
    run.send("migrating", {"timeRemainingSecs": 60})
    platform.traffic.wait_for_calls("PUT", SAVES, count=4)
    run.kill()
    run.start_next_container()
    assert run.wait() == 0, run.output
    before = int(run.container.wait_for_output("resumed at").split()[-1])
    assert before > int(run.containers[0].wait_for_output("migrating at").split()[-1])


def test_a_migration_that_is_announced_early_holds_for_what_comes_later(
    platform: LocalPlatform, start: StartActor
) -> None:
    """The Actor was still reading its input: nothing was there to be saved."""
    run = start(
        """
        async with Actor:
            moved = asyncio.Event()
            async def migrating(data):
                moved.set()
            Actor.on(Event.MIGRATING, migrating)
            print("ready")
            await moved.wait()
            state = PersistedDict("state", n=0)
            while True:
                await asyncio.sleep(0.01)
                state["n"] += 1
        """
    )
    run.container.wait_for_output("ready")
    run.send("migrating", {"timeRemainingSecs": 60})
    platform.traffic.wait_for_calls("PUT", SAVES, count=3)
    run.kill()


@pytest.mark.parametrize("known", ["by the environment", "by the configuration"])
def test_all_is_saved_before_the_run_times_out(
    platform: LocalPlatform, start: StartActor, known: str
) -> None:
    """No event tells; after that each change is saved soon."""
    at = (datetime.now(UTC) + timedelta(seconds=14)).isoformat()
    environment = {"ACTOR_TIMEOUT_AT": at} if known == "by the environment" else {}
    actor = "Actor" if environment else f"Actor(Configuration(timeout_at={at!r}))"
    run = start(
        f"""
        from apify import Configuration
        state = PersistedDict("state", n=0)
        async with {actor}:
            while True:
                await asyncio.sleep(0.01)
                state["n"] += 1
        """,
        env=environment,
    )
    platform.traffic.wait_for_calls("PUT", SAVES, count=3)
    run.kill()


def test_an_actor_whose_loop_hears_nothing_is_told(start: StartActor) -> None:
    """Also while there is nothing to be saved, and nobody asks for a cut."""
    run = start(
        """
        import time
        autostate.apify.events.LOOP_WATCH = autostate.apify.events.LOOP_BLOCKED = 0.3
        async with Actor:
            time.sleep(3600)
        """
    )
    told = run.container.wait_for_output("event loop has been blocked")
    run.kill()
    assert "by main() in line" in told


def test_what_was_durable_survives_kill_9(platform: LocalPlatform, start: StartActor) -> None:
    """Life after life the next container goes on where the last durable() was."""
    run = start(
        """
        async with Actor:
            state = PersistedDict("state", lives=[])
            state["lives"].append(len(state["lives"]))
            await autostate.durable()
            print("durable")
            state["lives"].append("not durable")
            await asyncio.Event().wait()
        """
    )
    for _ in range(3):
        run.container.wait_for_output("durable")
        run.kill()
        run.start_next_container()
    run.container.wait_for_output("durable")
    run.kill()
    assert resumed(run) == {"lives": [0, 1, 2, 3]}


def test_the_event_loop_goes_on_while_an_event_is_saved(
    platform: LocalPlatform, start: StartActor
) -> None:
    """A store that does not answer holds up the save, not the program."""
    run = start(
        """
        async with Actor:
            PersistedDict("state", n=0)["n"] = 1
            print("ready")
            for beat in range(10**9):
                await asyncio.sleep(0.01)
                print("beat", beat, "end")
        """
    )
    run.container.wait_for_output("ready")
    fault = platform.traffic.fault("PUT", SAVES, hold=True)
    run.persist_state()
    fault.wait_hit()
    beats = run.output.count("beat")
    run.container.wait_for_output(f"beat {beats + 20} end")
    assert saves(platform) == 0
    fault.release()
    platform.traffic.wait_for_calls("PUT", SAVES)
    run.kill()


def test_several_stores_are_saved_at_an_event(platform: LocalPlatform, start: StartActor) -> None:
    """Each manager with state objects saves, the default one and those that were opened."""
    run = start(
        f"""
    async with Actor:
        own = PersistedDict("own", n=0)
        kept = autostate.open("apify:kept")
        with kept:
            shared = PersistedDict("shared", n=0)
            own["n"] = shared["n"] = 1
            {LISTEN.replace("        ", "            ")}
        """
    )
    run.container.wait_for_output("ready")
    run.persist_state()
    platform.traffic.wait_for_calls("PUT", SAVES, count=2)
    assert any(key.startswith("autostate-") for key in run.store.records)
    kept = platform.stores.find("kept")
    assert kept is not None
    assert any(key.startswith("autostate-") for key in kept.records)
    run.kill()

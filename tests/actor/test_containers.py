"""Containers that are paused, replaced or rebooted, and a second context in one."""

from __future__ import annotations

import signal

import pytest

from autostate.testing import LocalPlatform
from tests.actor.programs import LISTEN, SAVES, resumed, saves
from tests.actor_runs import StartActor

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")


def test_a_container_that_was_only_paused_is_fenced(
    platform: LocalPlatform, start: StartActor
) -> None:
    """Two containers of one run overlap: the older one finds out and changes nothing."""
    run = start(
        """
        async with Actor:
            state = PersistedDict("state", lives=0)
            state["lives"] = life = state["lives"] + 1
            try:
                while True:
                    state["by"] = life
                    state["n"] = state.get("n", 0) + 1
                    await autostate.durable()
                    print("durable", life)
                    await asyncio.sleep(0.01)
            except autostate.FencedError:
                print("fenced", life)
        """
    )
    old = run.container
    old.wait_for_output("durable 1")
    old.signal(signal.SIGSTOP)
    new = run.start_next_container()
    new.wait_for_output("durable 2")
    old.signal(signal.SIGCONT)
    old.wait_for_output("has taken over the state")
    assert "has taken over the state" not in new.output
    run.kill()
    assert resumed(run)["by"] == 2


def test_the_next_write_of_a_container_that_was_replaced_waits_for_its_kill(
    platform: LocalPlatform, start: StartActor
) -> None:
    """An error, or an end, could end the run, which goes on in the new container."""
    run = start(
        """
        async with Actor:
            state = PersistedDict("state", lives=0, by=[])
            state["lives"] = life = state["lives"] + 1
            await autostate.durable()
            print("durable", life)
            while life == 1:
                try:
                    await autostate.durable()
                except autostate.FencedError as error:
                    print("a later process, the run" in str(error))
                    state["by"].append("the old one")
                    print("it went on")
                await asyncio.sleep(0.05)
            await asyncio.sleep(3)
        """
    )
    old = run.container
    old.wait_for_output("durable 1")
    new = run.start_next_container()
    old.wait_for_output("True")
    assert new.wait(60) == 0
    assert old.alive
    assert "it went on" not in old.output
    assert "Error" not in old.output
    old.kill()
    assert resumed(run) == {"lives": 2, "by": []}


def test_a_second_context_in_one_process_is_heard_too(
    platform: LocalPlatform, start: StartActor
) -> None:
    """The SDK forgets its listeners with each context; ours are registered anew."""
    run = start(
        f"""
    state = PersistedDict("state", n=0)
    async with Actor(exit_process=False):
        state["n"] = 1
    assert not autostate.info(state).dirty
    async with Actor(exit_process=False):
        state["n"] = 2
        {LISTEN}
        """
    )
    run.container.wait_for_output("ready")
    assert saves(platform) == 1
    run.persist_state()
    platform.traffic.wait_for_calls("PUT", SAVES, count=2)
    run.kill()
    assert "dropped" not in run.output, "the event was heard only by looking at the messages"
    assert resumed(run) == {"n": 2}


def test_reboot_on_migrating_saves_then_reboots(platform: LocalPlatform, start: StartActor) -> None:
    """The container asks for its end as soon as everything is saved; the next one goes on."""
    run = start(
        """
        autostate.configure(reboot_on_migrating=True)
        async with Actor:
            state = PersistedDict("state", n=0)
            if state["n"]:
                return
            state["n"] = 1
            print("ready")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("ready")
    run.send("migrating", {"timeRemainingSecs": 30})
    platform.traffic.wait_for_calls("POST", "*/reboot")
    methods = [call.path.rpartition("/")[2][:9] for call in platform.traffic.calls]
    assert methods.index("autostate") < methods.index("reboot")
    assert run.wait() == 0, run.output
    assert run.reboots == 1
    assert resumed(run) == {"n": 1}


def test_no_reboot_before_all_is_saved(platform: LocalPlatform, start: StartActor) -> None:
    """While the store refuses, the process that holds the state must not go."""
    run = start(
        """
        autostate.configure(reboot_on_migrating=True)
        async with Actor:
            PersistedDict("state", n=0)["n"] = 1
            print("ready")
            while True:
                await asyncio.sleep(0.01)
                print("rebooting", Actor._is_rebooting)
        """
    )
    run.container.wait_for_output("ready")
    platform.traffic.fault("PUT", SAVES, status=503)
    run.send("migrating", {"timeRemainingSecs": 1.0})
    run.container.wait_for_output("saved before the migration")
    run.container.wait_for_output("rebooting", count=run.output.count("rebooting") + 10)
    assert "rebooting True" not in run.output
    platform.traffic.heal()
    platform.traffic.wait_for_calls("PUT", SAVES, applied=True)
    run.kill()
    assert resumed(run) == {"n": 1}


def test_a_reboot_by_the_program_saves(platform: LocalPlatform, start: StartActor) -> None:
    """Actor.reboot() calls our listeners, and what is saved then is resumed."""
    run = start(
        """
        async with Actor:
            state = PersistedDict("state", n=0)
            if state["n"]:
                return
            state["n"] = 1
            await Actor.reboot()
        """
    )
    assert run.wait() == 0, run.output
    assert run.reboots == 1
    assert resumed(run) == {"n": 1}

"""Runs of Actors that share a named store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform

ACTOR = """
import asyncio
from apify import Actor
import autostate
from autostate import PersistedDict
autostate.configure("apify:seen")
async def main():
    async with Actor:
        state = PersistedDict("state", runs=0)
        state["runs"] += 1
        print("works", flush=True)
        await autostate.durable()
        while not (await Actor.get_input() or await Actor.get_value("stop")):
            await asyncio.sleep(0.05)
asyncio.run(main())
"""


@pytest.mark.usefixtures("forked_actors")
@pytest.mark.parametrize("ended", ["finished", "killed", "aborted"])
def test_two_runs_on_one_named_store(isolated: Path, ended: str) -> None:
    """The second is refused while the first runs, also before that has saved; then it goes on."""
    (isolated / "my_actor.py").write_text(ACTOR)
    command = [sys.executable, "my_actor.py"]
    with LocalPlatform() as platform:
        first = platform.start_run(command, cwd=isolated)
        first.container.wait_for_output("works")
        second = platform.start_run(command, cwd=isolated, input={"stop": 1})
        assert second.wait() != 0
        assert f"StateInUseError: the state in apify:seen belongs to the run {first.id}" in (
            second.output
        )
        if ended == "finished":
            first.store.set_json("stop", True)
            assert first.wait() == 0
        elif ended == "aborted":
            first.abort()
        else:
            first.kill()
            first.abort()
        third = platform.start_run(command, cwd=isolated, input={"stop": 1})
        assert third.wait() == 0, third.output
        [named] = [s for s in platform.stores.all() if "seen" in (s.name or "")]
        assert b'"runs":2' in b"".join(named.records[k].value for k in named.records)


@pytest.mark.usefixtures("forked_actors")
def test_a_second_run_in_step_is_refused_once(isolated: Path) -> None:
    """Its log has the paragraph once: what former runs have left is delivered by the owner."""
    code = ACTOR.replace('"apify:seen"', '"apify:seen", in_step=True')
    (isolated / "my_actor.py").write_text(code)
    command = [sys.executable, "my_actor.py"]
    with LocalPlatform() as platform:
        first = platform.start_run(command, cwd=isolated)
        first.container.wait_for_output("works")
        second = platform.start_run(command, cwd=isolated)
        assert second.wait() != 0
        assert second.output.count("Only one process at a time may write") == 1, second.output
        first.store.set_json("stop", True)
        assert first.wait() == 0


@pytest.mark.usefixtures("forked_actors")
def test_a_child_in_another_run_is_refused_too(isolated: Path) -> None:
    """It claims with its first write, and asks for the owner's run then."""
    (isolated / "my_actor.py").write_text(ACTOR)
    (isolated / "parent.py").write_text(CHILD_OF_A_RUN)
    with LocalPlatform() as platform:
        first = platform.start_run([sys.executable, "my_actor.py"], cwd=isolated)
        first.container.wait_for_output("works")
        second = platform.start_run([sys.executable, "parent.py"], cwd=isolated)
        assert second.wait() == 75, second.output
        first.store.set_json("stop", True)
        assert first.wait() == 0, first.output


CHILD_OF_A_RUN = """
import multiprocessing, sys
def work():
    import autostate
    autostate.configure("apify:seen")
    state = autostate.PersistedDict("state", runs=0)
    try:
        state["runs"] += 1
    except autostate.StateInUseError:
        sys.exit(75)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""

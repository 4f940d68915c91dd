"""Actors: real processes with the real SDK on the local platform, and off it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autostate.testing import ABSENT, LocalPlatform, Run
from tests import programs
from tests.actor_runs import PRELUDE, StartActor, script, starter
from tests.peers.forked import ProgramServer

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")

SAVES = "*/records/autostate-*[0-9a-f]"
"""Records with state; not the claim that announces an incarnation's first one."""
PATIENT = "autostate.configure(debounce=3600)"
"""Nothing is saved because time has passed: only because of an event."""
WITH_AUTOSTATE = f"{PRELUDE}\nimport autostate\nfrom autostate import PersistedDict\n{PATIENT}"
LISTEN = """
        async def nothing(data):
            print("heard", type(data).__name__)
        for event in (Event.MIGRATING, Event.ABORTING, Event.PERSIST_STATE):
            Actor.on(event, nothing)
        print("ready")
        await asyncio.Event().wait()
"""


@pytest.fixture
def platform() -> Iterator[LocalPlatform]:
    """A platform of the test's own."""
    with LocalPlatform() as platform:
        yield platform


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor whose `main` has this body, with autostate imported."""
    return starter(platform, tmp_path, WITH_AUTOSTATE)


def saves(platform: LocalPlatform) -> int:
    """How many records autostate has written."""
    return len(platform.traffic.calls_to("PUT", SAVES))


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


IMPORTS = {
    "autostate first": "import autostate, asyncio\nfrom apify import Actor, Event",
    "apify first": "import asyncio\nfrom apify import Actor, Event\nimport autostate",
    "only a submodule of apify": "import autostate, asyncio\nfrom apify._actor import Actor",
    "state before apify": (
        "import autostate, asyncio\nearly = autostate.PersistedDict('early', n=0)\n"
        "from apify import Actor, Event"
    ),
    "crawlee first": "import asyncio, crawlee, autostate\nfrom apify import Actor",
}


@pytest.mark.parametrize("imports", IMPORTS)
def test_imports_may_come_in_any_order(
    platform: LocalPlatform, start: StartActor, imports: str
) -> None:
    """`import autostate` is all it takes, wherever it stands."""
    run = start(
        f"""
        {PATIENT}
        async with Actor:
            autostate.PersistedDict("state", n=0)["n"] = 1
            print("ready")
            await asyncio.Event().wait()
        """,
        prelude=IMPORTS[imports],
    )
    run.container.wait_for_output("ready")
    run.persist_state()
    platform.traffic.wait_for_calls("PUT", SAVES)
    run.kill()
    assert resumed(run) == {"n": 1}


def test_autostate_may_be_imported_inside_the_context(
    platform: LocalPlatform, start: StartActor
) -> None:
    """A context that is already entered is joined."""
    run = start(
        f"""
        async with Actor:
            import autostate
            {PATIENT}
            autostate.PersistedDict("state", n=0)["n"] = 1
            print("ready")
            await asyncio.Event().wait()
        """,
        prelude=PRELUDE,
    )
    run.container.wait_for_output("ready")
    run.persist_state()
    platform.traffic.wait_for_calls("PUT", SAVES)
    run.kill()
    assert "dropped" not in run.output
    assert resumed(run) == {"n": 1}


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


def test_an_unknown_sdk_is_reported_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the SDK's insides are not as expected, importing it still works."""
    from autostate.apify import events as actor_events

    for name in ("apify", "apify._actor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    actor_events.install()
    assert "not known" in caplog.text


class TestOffThePlatform:
    """On a developer's machine, with the SDK's local storage."""

    BODY = """
    state = PersistedDict("state", n=0)
    async with Actor:
        state["n"] += 1
    """

    @pytest.fixture(autouse=True)
    def _served(self, program_server: ProgramServer) -> None:
        self.server = program_server

    def run(self, folder: Path, body: str, **env: str) -> str:
        """Run an Actor locally to its end, and give its output."""
        command = script(folder, body, WITH_AUTOSTATE)
        code, output, error = self.server.run(command, {**os.environ, **env}, Path.cwd())
        assert code == 0, output + error
        return output + error

    @pytest.mark.parametrize("url", ["apify:", "apify:kept"])
    def test_runs_go_on_where_the_purge_does_not_reach(self, tmp_path: Path, url: str) -> None:
        """A named store is never purged, the default one not with the purge turned off."""
        purge = "0" if url == "apify:" else "1"
        for _ in range(3):
            output = self.run(tmp_path, self.BODY, AUTOSTATE_URL=url, APIFY_PURGE_ON_START=purge)
            assert "has emptied" not in output
        assert self.read(tmp_path, url) == "{'n': 3}"

    def test_state_loaded_before_the_purge_is_saved_again(self, tmp_path: Path) -> None:
        """Records wiped under a resumed state: a warning, and everything written anew."""
        self.run(tmp_path, self.BODY)
        output = self.run(tmp_path, self.BODY)
        assert "has emptied" in output
        assert "saved again" in output
        assert self.read(tmp_path, "apify:") == "{'n': 2}"

    def test_nothing_new_is_written_into_a_wiped_store_by_halves(self, tmp_path: Path) -> None:
        """Also what nobody changed after the purge is there again."""
        body = """
        big = PersistedDict("big", {str(n): "x" * 100 for n in range(1000)})
        small = PersistedDict("small", n=0)
        autostate.flush()
        async with Actor:
            small["n"] += 1
        """
        self.run(tmp_path, body)
        self.run(tmp_path, body)
        read = """
        big, small = PersistedDict("big"), PersistedDict("small")
        print(len(big), dict(small))
        """
        assert "1000 {'n': 2}" in self.run(tmp_path, read, AUTOSTATE_URL="apify:")

    def test_state_made_after_the_purge_begins_anew_with_a_warning(self, tmp_path: Path) -> None:
        """The SDK's fresh start is respected, but not without a word."""
        body = """
        async with Actor:
            state = PersistedDict("state", n=0)
            state["n"] += 1
        """
        assert "has emptied" not in self.run(tmp_path, body)
        assert "has emptied" in self.run(tmp_path, body)
        assert self.read(tmp_path, "apify:") == "{'n': 1}"

    def read(self, folder: Path, url: str) -> str:
        """What a program without an Actor finds."""
        read = 'print("found", dict(PersistedDict("state")))'
        output = self.run(folder, read, AUTOSTATE_URL=url)
        return next(x for x in output.splitlines() if x.startswith("found")).removeprefix("found ")


def resumed(run: Run) -> Any:
    """What another process finds in the run's store, under the name "state"."""
    code = 'import autostate, json; print(json.dumps(autostate.PersistedDict("state")))'
    done = programs.run(code, env=run.env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""`@autostate.actor`: the life of real Actors, on the local platform and off it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autostate.testing import LocalPlatform, Run
from tests import programs

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")


SAVES = "*/records/autostate-*[0-9a-f]"
"""Records with state; not the claim that announces an incarnation's first one."""
PRELUDE = """
from __future__ import annotations
import asyncio, sys
from apify import Actor, Event
import autostate
from autostate import PersistedCounter, PersistedDeque, PersistedDict, PersistedList, PersistedSet
autostate.configure(debounce=3600)  # nothing is saved because time has passed
"""
RUN = "asyncio.run(main())"
WAIT = "await asyncio.Event().wait()"

StartProgram = Callable[..., Run]


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartProgram:
    """Starts a program, given what follows the imports, as an Actor's container."""

    def start(program: str, *, run: str = RUN, **options: Any) -> Run:
        return platform.start_run(script(tmp_path, program, run), **options)

    return start


def script(folder: Path, program: str, run: str = RUN) -> list[str]:
    """Write a program, and give the command that runs it."""
    path = folder / "my_actor.py"
    parts = (PRELUDE, textwrap.dedent(program), textwrap.dedent(run))
    path.write_text("\n".join(parts), encoding="utf-8")
    return [sys.executable, str(path)]


def autostate_first(command: list[str]) -> list[str]:
    """Change the order in which a program imports apify and autostate."""
    path = Path(command[-1])
    line = "from apify import Actor, Event\n"
    first, found, rest = path.read_text(encoding="utf-8").partition(line)
    assert found
    path.write_text(f"{first}import autostate\n{line}{rest}", encoding="utf-8")
    return command


def stored(run: Run, name: str = "progress", kind: str = "Dict") -> Any:
    """What another process finds in the run's store."""
    code = f"import autostate, json; print(json.dumps(autostate.Persisted{kind}({name!r})))"
    done = programs.run(code, env=run.env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def saves(platform: LocalPlatform) -> int:
    """How many records autostate has written."""
    return len(platform.traffic.calls_to("PUT", SAVES))


ALL_KINDS = """
class Seen(PersistedSet[str]): ...
class Chosen(PersistedList[int]):
    def __init__(self): super().__init__("chosen")

@autostate.actor(flush_timeout=20)
async def main(
    first: int, hits: PersistedCounter[str], /, log: PersistedList[int], queue: PersistedDeque,
    chosen: Chosen, step: int = 1, *rest: int, progress: PersistedDict, seen: Seen, **more: int,
) -> None:
    states = [hits, log, queue, chosen, progress, seen]
    print("resumed", len(log), [autostate.info(each).name for each in states])
    print("passed", first, step, rest, more)
    assert type(seen) is Seen and type(chosen) is Chosen
    hits["x"] += 1
    progress["n"] = len(log)
    for each in (log, queue, chosen):
        each.append(step)
    seen.add(str(len(log)))
    assert all(len(each) == len(log) for each in (queue, chosen, seen))
    await autostate.durable()
    print("ready")
    await asyncio.Event().wait()
"""


def test_every_parameter_is_resumed_after_a_kill(start: StartProgram) -> None:
    """Wherever a parameter stands, and of whatever kind: the next container goes on with it."""
    run = start(ALL_KINDS, run="asyncio.run(main(7, 2, 3, 4, other=5))")
    for _ in range(2):
        run.container.wait_for_output("ready")
        run.kill()
        run.start_next_container()
    names = ["hits", "log", "queue", "chosen", "progress", "seen"]
    assert str(names) in run.container.wait_for_output("resumed 2")
    assert "passed 7 2 (3, 4) {'other': 5}" in run.container.wait_for_output("passed")
    run.container.wait_for_output("ready")
    run.kill()
    assert stored(run) == {"n": 2}


CLASSES = """
from dataclasses import dataclass, field

@autostate.persisted
class Progress:
    def __init__(self, page: int = 1) -> None:
        self.page, self.seen = page, set()

@autostate.persisted(name="all totals", transient=("rate",))
@dataclass
class Totals:
    pages: int = 0
    names: list[str] = field(default_factory=list)
    rate: float = 0.5

@autostate.actor
async def main(progress: Progress, totals: Totals) -> None:
    print("resumed", progress.page, sorted(progress.seen), totals)
    progress.seen.add(progress.page)
    progress.page += 1
    totals.names.append("x")
    with autostate.atomic():
        totals.pages += 1
        totals.rate = 2.0
    await autostate.durable()
    print("ready", autostate.info(progress).name, autostate.info(totals).name)
    await asyncio.Event().wait()
"""


def test_classes_are_resumed_after_a_kill(start: StartProgram) -> None:
    """Plain classes and dataclasses alike: called without arguments, and what was saved is back."""
    run = start(CLASSES)
    for _ in range(2):
        run.container.wait_for_output("ready Progress all totals")
        run.kill()
        run.start_next_container()
    line = run.container.wait_for_output("resumed 3")
    assert line.strip() == "resumed 3 [1, 2] Totals(pages=2, names=['x', 'x'], rate=0.5)"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("return", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('on purpose')", 91),
        ("await Actor.exit(exit_code=4)", 4),
        ("await Actor.fail(exit_code=5)", 5),
    ],
)
def test_every_end_saves_once_and_keeps_its_exit_code(
    platform: LocalPlatform, start: StartProgram, end: str, code: int
) -> None:
    """It is `async with Actor`: the same codes, and one write with what a last listener added."""
    run = start(
        f"""
        @autostate.actor
        async def main(progress: PersistedDict) -> None:
            progress["n"] = 1
            async def last(data):
                await asyncio.sleep(0.05)
                progress["last"] = True
            Actor.on(Event.PERSIST_STATE, last)
            {end}
        """
    )
    assert run.wait() == code, run.output
    assert saves(platform) == 1, platform.traffic.calls
    assert stored(run) == {"n": 1, "last": True}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves(
    platform: LocalPlatform, start: StartProgram, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM lose nothing, and end the process as they always do."""
    run = start(
        f"""
        @autostate.actor
        async def main(progress: PersistedDict) -> None:
            progress["n"] = 1
            print("ready")
            {WAIT}
        """
    )
    run.container.wait_for_output("ready")
    run.container.signal(number)
    assert run.wait() != 0
    assert saves(platform) == 1
    assert stored(run) == {"n": 1}


def test_a_migration_goes_on_where_it_was(start: StartProgram) -> None:
    """What was done until the kill is there in the next container, to the last fraction."""
    run = start(
        """
        @autostate.actor(migrating_debounce=0.01)
        async def main(progress: PersistedDict[str, int]) -> None:
            print("begins at", progress.setdefault("n", 0))
            while progress["n"] < 10 or not autostate.info(progress).resumed:
                progress["n"] += 1
                if progress["n"] == 10:
                    print("ready")
                await asyncio.sleep(0.01)
        """
    )
    run.container.wait_for_output("ready")
    run.migrate(notice=1.0)
    assert run.wait() == 0, run.output
    assert len(run.containers) == 2
    assert int(run.container.wait_for_output("begins at").split()[-1]) >= 10


@pytest.mark.parametrize("state", ["progress: PersistedDict[str, int]", ""])
def test_a_reboot_follows_a_migration_if_asked_to(
    platform: LocalPlatform, start: StartProgram, state: str
) -> None:
    """Save, reboot, go on in the next container; also before there is any state."""
    run = start(
        f"""
        @autostate.actor(reboot_on_migrating=True)
        async def main({state}) -> None:
            if Actor.get_env().get("run_id") and (await Actor.get_value("second")):
                return
            if {bool(state)}:
                progress["n"] = 1
            await Actor.set_value("second", True)
            print("ready")
            {WAIT}
        """
    )
    run.container.wait_for_output("ready")
    run.send("migrating", {"timeRemainingSecs": 30})
    platform.traffic.wait_for_calls("POST", "*/reboot")
    assert run.wait() == 0, run.output
    assert run.reboots == 1
    assert stored(run) == ({"n": 1} if state else {})


def test_no_reboot_if_not_asked_to(platform: LocalPlatform, start: StartProgram) -> None:
    """The program goes on until the kill, and is saved soon after each change."""
    run = start(
        """
        @autostate.actor(migrating_debounce=0.01)
        async def main(progress: PersistedDict[str, int]) -> None:
            print("ready")
            while True:
                progress["n"] = progress.get("n", 0) + 1
                await asyncio.sleep(0.01)
        """
    )
    run.container.wait_for_output("ready")
    run.send("migrating", {"timeRemainingSecs": 60})
    platform.traffic.wait_for_calls("PUT", SAVES, count=4)
    run.kill()
    assert not platform.traffic.calls_to("POST", "*/reboot")
    assert run.reboots == 0


@pytest.mark.parametrize(("end", "code"), [("return", 0), ("raise ValueError('on purpose')", 91)])
def test_a_save_that_fails_at_the_end_is_loud(
    platform: LocalPlatform, start: StartProgram, end: str, code: int
) -> None:
    """The log says it, once more when the process ends, and the exit code stays the Actor's."""
    run = start(
        f"""
        @autostate.actor(flush_timeout=0.5)
        async def main(progress: PersistedDict) -> None:
            progress["n"] = 1
            print("ready")
            await Actor.get_value("go")
            {end}
        """
    )
    gate = platform.traffic.fault("GET", "*/records/go", hold=True)
    gate.wait_hit()
    platform.traffic.fault("PUT", SAVES, status=503)
    gate.release()
    assert run.wait() == code, run.output
    assert "was saved at the end of the Actor" in run.output
    assert "unsaved changes are in" in run.output


def test_state_that_cannot_be_resumed_fails_the_run(start: StartProgram) -> None:
    """The Actor was open: the log shows why, the exit code says so, nothing is overwritten."""
    run = start(
        """
        PersistedDict("progress", n=1)
        autostate.flush()

        @autostate.actor
        async def main(progress: PersistedList) -> None:
            print("never comes here")
        """
    )
    assert run.wait() == 91, run.output
    assert "StateTypeError" in run.output
    assert "never comes here" not in run.output
    assert stored(run) == {"n": 1}


def test_wrong_arguments_open_no_actor(start: StartProgram) -> None:
    """The error names the function, and says how a state object is passed."""
    run = start(
        """
        @autostate.actor
        async def main(progress: PersistedDict, limit: int) -> None: ...

        for args, kwargs in [((), {}), ((1, 2), {}), ((), {"limit": 1, "more": 1})]:
            try:
                asyncio.run(main(*args, **kwargs))
            except TypeError as error:
                print("refused", error)
        """,
        run="",
    )
    assert run.wait() == 0, run.output
    assert run.output.count("refused main(): ") == 3
    assert "pass it by its name" in run.output
    assert "Initializing Actor" not in run.output


def test_an_object_that_is_passed_is_taken(start: StartProgram) -> None:
    """It wins over the one of the parameter's name, which is then not even created."""
    run = start(
        """
        @autostate.actor
        async def main(hidden: PersistedDict, /, progress: PersistedDict, seen: PersistedSet):
            print(dict(hidden), dict(progress), len(seen))
            for name in ("hidden", "progress", "seen"):
                try:
                    print(name, "is", autostate.info(name).kind)
                except LookupError:
                    print(name, "is not there")
        """,
        run="asyncio.run(main(progress=PersistedDict('other', n=5), hidden={}))",
    )
    assert run.wait() == 0, run.output
    for line in ("{} {'n': 5} 0", "hidden is not there", "progress is not there", "seen is set"):
        assert line in run.output


NESTED = """
@autostate.actor(flush_timeout=2)
async def main(progress: PersistedDict[str, int], *, fail: bool = False) -> int:
    progress["n"] = progress.get("n", 0) + 1
    if fail:
        raise ValueError("on purpose")
    return progress["n"]

async def outer():
    async with Actor(exit_process=False):
        print("gave", await main(), autostate.info("progress").dirty)
        print("gave", await main(), autostate.info("progress").dirty)
        try:
            await main(fail=True)
        except ValueError as error:
            print("raised", error, autostate.info("progress").dirty)
        await Actor.push_data({"still": "open"})
        await Actor.get_value("go")
        print("gave", await main(), autostate.info("progress").dirty)
"""


def test_an_actor_that_is_open_is_used_and_stays_open(
    platform: LocalPlatform, start: StartProgram
) -> None:
    """Inside `async with Actor`: values and exceptions come out, and all is saved at each end."""
    run = start(NESTED, run="asyncio.run(outer())")
    gate = platform.traffic.fault("GET", "*/records/go", hold=True)
    gate.wait_hit()
    assert saves(platform) == 3
    platform.traffic.fault("PUT", SAVES, status=503)
    gate.release()
    run.container.wait_for_output("was saved at the end of main()")
    platform.traffic.heal()
    assert run.wait() == 0, run.output
    for line in ("gave 1 False", "gave 2 False", "raised on purpose False", "gave 4 True"):
        assert line in run.output
    assert run.output.count("Initializing Actor") == 1
    assert run.dataset.items == [{"still": "open"}]
    assert stored(run) == {"n": 4}


def test_settings_hold_where_the_objects_live(start: StartProgram) -> None:
    """For the process, from the call on; or for the store that was opened around the call."""
    run = start(
        """
        @autostate.actor(debounce=7, reboot_on_migrating=True)
        async def main(progress: PersistedDict) -> None:
            progress["n"] = 1

        print("before", autostate.configure().settings.debounce)
        async def both():
            with autostate.open("memory:") as opened:
                async with Actor(exit_process=False):
                    await main()
                print("opened", opened.settings.debounce, autostate.configure().settings.debounce)
                assert opened.settings.reboot_on_migrating
            await main()
        asyncio.run(both())
        print("after", autostate.configure().settings.debounce)
        """,
        run="",
    )
    assert run.wait() == 0, run.output
    for line in ("before 3600", "opened 7 3600", "after 7"):
        assert line in run.output


def test_off_the_platform_it_goes_on_too(tmp_path: Path) -> None:
    """With the SDK's local storage, if the SDK is told not to empty it."""
    program = """
        @autostate.actor
        async def main(progress: PersistedDict[str, int]) -> None:
            progress["n"] = progress.get("n", 0) + 1
            print("now", progress["n"])
        """
    command = autostate_first(script(tmp_path, program))
    env = {**os.environ, "APIFY_PURGE_ON_START": "0"}
    for n in (1, 2):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"now {n}" in done.stdout

"""`autostate.call`: a child run is started once, whatever becomes of the process that starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.apify.run_input import is_equal
from autostate.testing import LocalPlatform, Run
from tests.actor_runs import script, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

PRELUDE = """
import asyncio
import autostate
import autostate.apify.call
from apify import Actor

autostate.apify.call.SETTLES = {settles}
autostate.apify.call.ANSWERED = 0.5
autostate.apify.call._LOOK = 0.1
"""

CHILD = """
    async with Actor:
        given = await Actor.get_input()
        n = (await Actor.get_value("lives") or 0) + 1
        await Actor.set_value("lives", n)
        print("life", n)
        if n <= given.get("sleeps", 0):
            await asyncio.sleep(600)
        if given.get("fails"):
            await Actor.fail()
        await Actor.push_data(given)
"""

PARENT = """
    async with Actor:
        given = await Actor.get_input()
        try:
            run = await autostate.call(
                "child", given["child"], name="one", logger=None, **given.get("options", {})
            )
            print("ended", run.id, run.status)
        except autostate.ChildRunError as error:
            print("raised", error.run.id, error.run.status)
"""


class Family:
    """A parent, and the runs of its child.

    Args:
        platform: Where they run.
        folder: For their scripts.
    """

    def __init__(self, platform: LocalPlatform, folder: Path) -> None:
        self.platform = platform
        self._folder = folder
        (folder / "child").mkdir()
        platform.add_actor("child", script(folder / "child", CHILD))

    def start(
        self, child: object, body: str = PARENT, settles: float = 5, **options: object
    ) -> Run:
        """Start the parent."""
        start = starter(self.platform, self._folder)
        given = {"child": child, "options": options}
        return start(body, prelude=PRELUDE.replace("{settles}", str(settles)), input=given)

    @property
    def children(self) -> list[Run]:
        """All runs of the child."""
        runs = list(self.platform.runs.values())
        return [run for run in runs if run.actor_id == "child" and run.containers]


STARTS = "/v2/act*/child/runs"


@pytest.fixture
def family(platform: LocalPlatform, tmp_path: Path) -> Family:
    """A parent and its child."""
    return Family(platform, tmp_path)


def next_life(run: Run) -> None:
    """Kill the parent, and start its next container."""
    run.kill()
    run.start_next_container()


def test_a_run_is_waited_for_by_each_process(family: Family) -> None:
    """Kills while it runs and after it has ended start no other one."""
    run = family.start({"sleeps": 1})
    run.wait_for(condition=lambda: bool(family.children))
    child = family.children[0]
    child.container.wait_for_output("life 1")
    next_life(run)
    run.wait_for(condition=lambda: bool(child.container.output))
    child.kill()
    child.start_next_container()
    run.container.wait_for_output(f"ended {child.id} SUCCEEDED")
    run.wait()
    run.resurrect()
    run.container.wait_for_output(f"ended {child.id} SUCCEEDED")
    assert run.wait() == 0
    assert family.children == [child]


def test_a_lost_answer_starts_no_second_run(family: Family) -> None:
    """The process itself finds the run that it has started."""
    family.platform.traffic.fault("POST", STARTS, times=1, lose_answer=True)
    run = family.start({"n": 1})
    assert run.wait() == 0, run.output
    assert len(family.children) == 1
    assert f"ended {family.children[0].id}" in run.output


def test_a_value_that_cannot_be_saved_hinders_no_run(family: Family) -> None:
    """What is noted about the run is durable: it is started, and waited for."""
    bad = PARENT.replace(
        "        given =",
        '        autostate.PersistedDict("state")["bad"] = object()\n        given =',
        1,
    )
    run = family.start({"n": 1}, bad)
    assert run.wait() == 0, run.output
    assert f"ended {family.children[0].id} SUCCEEDED" in run.output
    assert len(family.children) == 1


@pytest.mark.parametrize("lost", [True, False], ids=["carried out", "not carried out"])
def test_a_kill_before_the_answer_starts_no_second_run(family: Family, *, lost: bool) -> None:
    """The next process looks for the run, and starts one if there is none."""
    if lost:
        held = family.platform.traffic.fault("GET", STARTS, hold=True)
        family.platform.traffic.fault("POST", STARTS, times=1, lose_answer=True)
    else:
        held = family.platform.traffic.fault("POST", STARTS, times=1, hold=True, cut=True)
    run = family.start({"n": 1})
    held.wait_hit()
    next_life(run)
    held.release()
    assert run.wait() == 0, run.output
    assert len(family.children) == 1
    assert f"ended {family.children[0].id}" in run.output


def test_a_kill_at_a_save_starts_no_second_run(family: Family) -> None:
    """Before the intent is durable, and before the id of the run is."""
    traffic = family.platform.traffic
    begun = traffic.fault("PUT", "*/records/BEGUN", times=1, delay=0)
    body = PARENT.replace(
        "        try:",
        "        autostate.PersistedDict('saved before')['n'] = 1\n"
        "        await autostate.durable()\n"
        "        await Actor.set_value('BEGUN', 1)\n"
        "        try:",
    )
    before = traffic.fault(
        "PUT", "*/records/autostate-*", when=lambda _: bool(begun.hits), hold=True, cut=True
    )
    run = family.start({"n": 1}, body, settles=1)
    before.wait_hit()
    next_life(run)
    assert family.children == []
    after = traffic.fault(
        "PUT", "*/records/autostate-*", when=lambda _: bool(family.children), hold=True, cut=True
    )
    before.times = 0
    before.release()
    after.wait_hit()
    next_life(run)
    traffic.heal()
    assert run.wait() == 0, run.output
    assert len(family.children) == 1
    assert f"ended {family.children[0].id}" in run.output


def test_a_request_that_arrives_late_is_waited_for(family: Family) -> None:
    """The client has given up, and the list does not show the run at first."""
    family.platform.late = 60.0
    held = family.platform.traffic.fault("POST", STARTS, times=1, hold=True)
    body = f"    autostate.apify.call.SENDING = 1\n{PARENT}"
    run = family.start({"n": 1}, body, settles=8)
    family.platform.traffic.wait_for_calls("GET", STARTS)
    held.release()
    assert run.wait() == 0, run.output
    assert len(family.children) == 1


def test_the_log_of_a_run_that_has_ended_is_not_asked_for(family: Family) -> None:
    """A program that is started again does not tell it again, nor wait for more of it."""
    body = """
        async with Actor:
            first = await autostate.call("child", {"n": 1}, name="one", logger=None)
            second = await autostate.call("child", {"n": 1}, name="one")
            print("ended", first.id == second.id, second.status)
    """
    run = family.start(None, body)
    assert run.wait() == 0, run.output
    assert "ended True SUCCEEDED" in run.output
    assert family.platform.traffic.calls_to("GET", "*/log") == []


@pytest.mark.parametrize("carried_out", [True, False])
def test_an_error_of_the_server_is_looked_into(family: Family, *, carried_out: bool) -> None:
    """The request is sent again when no run can appear any more, which is soon after an answer."""
    family.platform.traffic.fault("POST", STARTS, times=1, status=502, lose_answer=carried_out)
    run = family.start({"n": 1}, settles=600)
    assert run.wait() == 0, run.output
    assert len(family.children) == 1


def test_a_refusal_is_raised_and_leaves_nothing(family: Family) -> None:
    """There is no run to look for afterwards."""
    family.platform.traffic.fault("POST", STARTS, times=1, status=403)
    run = family.start({"n": 1}, settles=600)
    assert run.wait() == 91, run.output
    run.resurrect()
    assert run.wait() == 0
    assert len(family.children) == 1


@pytest.mark.parametrize(
    ("option", "outcome", "status"),
    [("raise", "raised", "ABORTED"), ("resurrect", "ended", "TIMED-OUT")],
)
def test_what_happens_to_a_run_that_was_ended(
    family: Family, option: str, outcome: str, status: str
) -> None:
    """A call that waits raises; the next one does as its option says."""
    run = family.start({"sleeps": 1}, on_abort=option)
    run.wait_for(condition=lambda: bool(family.children))
    child = family.children[0]
    child.container.wait_for_output("life 1")
    child.abort() if status == "ABORTED" else child.time_out()
    run.container.wait_for_output(f"raised {child.id} {status}")
    run.wait()
    run.resurrect().wait_for_output(f"{outcome} {child.id}")
    assert run.wait() == 0
    assert family.children == [child]


@pytest.mark.parametrize(("option", "count"), [("raise", 1), ("restart", 2)])
def test_what_happens_to_a_failed_run(family: Family, option: str, count: int) -> None:
    """Another run is started only if that is asked for, and once."""
    run = family.start({"fails": True}, on_failure=option)
    run.container.wait_for_output("raised")
    run.wait()
    family.platform.traffic.fault("POST", STARTS, times=1, lose_answer=True)
    run.resurrect().wait_for_output("raised")
    run.wait()
    assert len(family.children) == count
    for number, container in enumerate(run.containers):
        assert f"raised {family.children[min(number, count - 1)].id} FAILED" in container.output


def test_calls_of_many_names_with_equal_inputs(family: Family) -> None:
    """Each name has a run of its own, also where answers are lost and the process is killed."""
    body = """
        async with Actor:
            calls = [
                autostate.call("child", {"n": 1}, name=f"call {n}", logger=None) for n in range(4)
            ]
            print("begun")
            runs = await asyncio.gather(*calls)
            print("ended", len({run.id for run in runs}))
    """
    family.platform.traffic.fault("POST", STARTS, times=2, lose_answer=True)
    run = family.start(None, body, settles=3)
    run.kill_at_random(seed=3, kills=4, between=(0.05, 0.5))
    assert "ended 4" in run.container.output, run.output
    assert len(family.children) == 4


def test_two_tasks_that_call_one_name_share_the_run(family: Family) -> None:
    """They wait for the same one."""
    body = """
        async with Actor:
            calls = [autostate.call("child", {"n": 1}, name="one", logger=None) for _ in range(3)]
            print("ended", len({run.id for run in await asyncio.gather(*calls)}))
    """
    run = family.start(None, body)
    assert run.wait() == 0, run.output
    assert "ended 1" in run.output
    assert len(family.children) == 1


def test_mistakes(family: Family) -> None:
    """They start nothing."""
    body = """
        async def fails(kind, **options):
            try:
                await autostate.call("child", {}, **{"name": "one", **options})
            except kind as error:
                print("refused", error)

        await fails(RuntimeError)
        async with Actor:
            await fails(ValueError, name="")
            await fails(ValueError, on_abort="resurect")
            await fails(ValueError, on_failure="again")
            with autostate.atomic():
                await fails(RuntimeError)
            await autostate.call("child", {"a": 1, "b": 2}, name="one", logger=None)
            await autostate.call("child", {"b": 2, "a": 1}, name="one", logger=None)
            print("no other input so far")
            await autostate.call("child", {"a": 2, "b": 2}, name="one", logger=None)
            try:
                await autostate.call("other", {}, name="one")
            except ValueError as error:
                print("refused", error)
    """
    run = family.start(None, body)
    assert run.wait() == 0, run.output
    assert run.output.count("refused") == 6
    so_far, _, after = run.output.partition("no other input so far")
    assert ("with another input" in so_far, "with another input" in after) == (False, True)
    assert len(family.children) == 1


@pytest.mark.parametrize(
    ("stored", "sent", "equal"),
    [
        (b'{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        (b'{"a": 1, "default": 2}', '{"a": 1}', True),
        (b'{"a": 2}', '{"a": 1}', False),
        (b'{"b": 1}', '{"a": 1}', False),
        (b'{"key": "ENCRYPTED_VALUE:abc:def"}', '{"key": "secret"}', True),
        (b"[1]", "[1]", True),
        (b"[1, 2]", "[1]", False),
        (None, "null", True),
        (None, '{"a": 1}', False),
        (b"text", "text", True),
    ],
)
def test_which_input_is_that_of_a_run(stored: bytes | None, sent: str, *, equal: bool) -> None:
    """The platform adds defaults and encrypts secrets."""
    assert is_equal(stored, sent) is equal

"""Three requests in ten fail, in every way in which requests fail, and the process is killed.

Real HTTP to a platform of the test's own. What was acknowledged is there for the next process,
and what is there is one moment. `CAMPAIGN_HTTP` says how many commits are made.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from autostate.journal import Journal
from autostate.stores.apify_platform import ApifyStore
from autostate.testing import LocalPlatform, Run
from autostate.testing.wire import Request, Response
from tests.campaign import Tally, size

COMMITS: Final = size("HTTP", 60)
A_STATE: Final = 500
"""So many commits are made to one state; then another is begun."""
WORKER: Final = """
import random, sys
import autostate
from autostate import deadline
from autostate.saving import policy
from autostate.stores.apify_http import HttpConnection

rng = random.Random(int(sys.argv[1]))
for module in (deadline, policy):
    module.backoff = lambda *_, **__: 0.002
ready = HttpConnection._ready
def refused(connection, deadline):  # as if nobody listened
    if rng.random() < 0.03:
        connection.close()
        raise ConnectionRefusedError
    return ready(connection, deadline)
HttpConnection._ready = refused

autostate.configure(flush_timeout=30, debounce=3600, max_delay=3600)
state = autostate.PersistedDict("state", n=0)
autostate.configure(flush_timeout=0.4)
while True:
    with autostate.atomic():
        state["n"] += 1
        state[str(state["n"] % 40)] = [state["n"], "x" * rng.randrange(200)]
    while True:
        try:
            autostate.flush()
            break
        except autostate.FlushError:
            pass
    print("acknowledged", state["n"], flush=True)
"""


@pytest.fixture
def platform(forked_actors: None) -> Iterator[LocalPlatform]:
    """A platform of the test's own."""
    with LocalPlatform() as platform:
        yield platform


class CutBody(bytes):
    """A body that ends too early: its length is told as that of a longer one."""

    def __len__(self) -> int:
        return super().__len__() + 7


def fail(platform: LocalPlatform, rng: random.Random) -> None:
    """Let 27 in 100 requests fail; the worker is refused 3 in 100 connections."""

    def sometimes(share: float) -> Callable[[Request], bool]:
        return lambda _: rng.random() < share

    fault = platform.traffic.fault
    fault(when=sometimes(0.04), cut=True)
    fault(when=sometimes(0.04), lose_answer=True)
    for status in (429, 500, 503):
        fault(when=sometimes(0.04), status=status)
    fault(when=sometimes(0.04), status=502, lose_answer=True)
    fault(when=sometimes(0.01), delay=0.6)  # is applied when the client has given up
    answer = platform._answer

    def cutting(request: Request) -> Response:
        response = answer(request)
        if rng.random() < 0.02 and platform.traffic._faults and response.body:
            body = CutBody(response.body[:-7])
            return Response(response.status, body, {**response.headers, "connection": "close"})
        return response

    platform._answer = cutting  # type: ignore[method-assign, unused-ignore]


def found_in(platform: LocalPlatform, run: Run) -> dict[Any, Any]:
    """What the next process will find."""
    with platform.traffic.suspended():
        store = ApifyStore(platform.url, platform.token, "apify:", store_id=run.store.id, name=None)
        try:
            nodes = Journal(store).recover().nodes.values()
            return next((dict(node.content) for node in nodes if node.name == "state"), {"n": 0})
        finally:
            store.close()


def acknowledged(run: Run) -> int:
    """The last number that the container has told."""
    told = [line for line in run.container.output.split("\n")[:-1] if "acknowledged" in line]
    return int(told[-1].split()[1]) if told else 0


def live_and_die(run: Run, rng: random.Random) -> int:
    """Let the container make some commits, and kill it; give the last one it acknowledged."""
    run.container.wait_for_output("acknowledged", count=rng.randrange(1, 60), timeout=240)
    time.sleep(rng.uniform(0, 0.01))  # the moment of the kill is what is tried here
    run.kill()
    return acknowledged(run)


def is_one_moment(state: dict[Any, Any]) -> bool:
    """Whether a state is what the worker makes of its number."""
    n = state["n"]
    expected = {str(number % 40): number for number in range(max(1, n - 39), n + 1)}
    return {key: value[0] for key, value in state.items() if key != "n"} == expected


@pytest.mark.campaign(name="http")
@pytest.mark.parametrize("half", [1, 2])
def test_nothing_acknowledged_is_lost_while_requests_fail(
    half: int, *, platform: LocalPlatform, tmp_path: Path, rng: random.Random, tally: Tally
) -> None:
    """Refused, cut before or after they were applied, too many, late, or with half an answer."""
    (tmp_path / "worker.py").write_text(WORKER)
    fail(platform, rng)
    while tally.trials < COMMITS // 2:
        command = [sys.executable, str(tmp_path / "worker.py"), str(rng.randrange(1 << 32))]
        run, before = platform.start_run(command), 0
        while before < A_STATE and tally.trials < COMMITS // 2:
            least = live_and_die(run, rng) or before
            found = found_in(platform, run)
            lost = found["n"] < least
            wrong = lost or not is_one_moment(found)
            tally.found(f"{found}, where {least} was acknowledged", lost=lost, silent=wrong)
            tally.tried(found["n"] - before - 1)
            tally.kinds["killed"] += 1
            before = found["n"]
            run.start_next_container()
        run.kill()
    failed = [call for call in platform.traffic.calls if call.status not in (200, 201, 204, 404)]
    tally.kinds["requests that failed"] += len(failed)
    tally.check()

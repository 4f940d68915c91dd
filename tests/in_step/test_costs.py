"""What it costs to be in step: requests to the platform, and pages a second."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from typing import Final, NamedTuple

import pytest

from autostate.testing import Call, LocalPlatform
from tests.campaign import Tally
from tests.in_step.running import IS_FULL, PRICES, ROOT, SAVES, Case

ROUNDS: Final = 3 if IS_FULL else 1
PAGES: Final = 600 if IS_FULL else 60
LATENCY: Final = 0.03 if IS_FULL else 0.0
"""Seconds that a request to the platform takes, as it goes over a network."""
MOST: Final = 1.3
"""So many times as many writes as without are allowed."""
KINDS: Final = {
    "key-value-stores": "state",
    "request-queues": "queue",
    "datasets": "dataset",
    "actor-runs": "charges",
}


class Cost(NamedTuple):
    """What one crawl has cost.

    Attributes:
        writes: Requests that change something on the platform, by kind.
        reads: The other requests.
        seconds: From the first page to the end of the Actor.
    """

    writes: Counter[str]
    reads: int
    seconds: float


def _kind(call: Call) -> str:
    found = re.match(r"/v2/([a-z-]+)/", call.path)
    return KINDS.get(found[1], "others") if found else "others"


def cost(case: Case, *, charged: bool) -> Cost:
    """Run a crawl that nothing disturbs."""
    given = {"pages": PAGES, "failing": 0, "at_once": case.at_once}
    prices = PRICES if charged else None
    with LocalPlatform() as platform:
        if LATENCY:
            platform.traffic.fault(delay=LATENCY)
        run = platform.start_run(case.command, env=SAVES, cwd=ROOT, input=given, prices=prices)
        run.container.wait_for_output("PAGE")
        began = time.monotonic()
        assert run.wait(300) == 0, run.output
        seconds = time.monotonic() - began
        calls = platform.traffic.calls
    writes = Counter(_kind(call) for call in calls if call.method != "GET")
    return Cost(writes, sum(call.method == "GET" for call in calls), seconds)


@pytest.mark.campaign(name="instep")
@pytest.mark.parametrize("charged", [False, True], ids=["free", "charged"])
@pytest.mark.parametrize(("shape", "at_once"), [("basic", 20), ("loop", 8), ("basic", 1)])
def test_a_crawl_in_step_writes_no_more_than_others(
    shape: str, at_once: int, *, charged: bool, tally: Tally
) -> None:
    """Seconds are told, and not judged: they depend on the machine."""
    cases = [Case(shape, at_once), Case(shape, at_once, "use_state")]
    found: list[list[Cost]] = [[], []]
    for _ in range(ROUNDS):  # in turn, as the machine may have other work
        for case, costs in zip(cases, found, strict=True):
            costs.append(cost(case, charged=charged))
    for case, costs in zip(cases, found, strict=True):
        took = statistics.median(each.seconds for each in costs)
        writes = ", ".join(f"{many} {kind}" for kind, many in sorted(costs[0].writes.items()))
        tally.note(
            f"undisturbed, {'charged' if charged else 'free'}, {case}: {PAGES / took:.0f} pages/s; "
            f"{costs[0].writes.total()} writes ({writes}), {costs[0].reads} reads"
        )
    with_it, without = (max(each.writes.total() for each in costs) for costs in found)
    assert with_it <= MOST * without

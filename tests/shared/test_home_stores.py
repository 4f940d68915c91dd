"""State is shared exactly on every store; `tests/servers/test_shared.py` has the servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.actor.programs import WITH_AUTOSTATE
from tests.actor_runs import starter
from tests.shared.sharing import ROUNDS, share

RUN = f"""
from autostate import PersistedDict, SharedCounter, SharedSet
async with Actor:
    try:
        SharedCounter("hits")
        raise AssertionError("its own store")
    except autostate.StoreError as error:
        assert "apify:NAME" in str(error)
    autostate.configure(shared="apify:stats")
    progress = PersistedDict("progress", page=0)
    hits, seen = SharedCounter("hits"), SharedSet("seen")
    for page in range({ROUNDS}):
        with autostate.atomic():
            progress["page"] += 1
            hits["pages"] += 1
        seen.add(page)
        if page % 10 == 9:
            await autostate.durable()
    await autostate.durable()
    hits.refresh()
    await Actor.set_value("OUTPUT", [hits["pages"], sorted(seen)])
"""


@pytest.mark.usefixtures("forked_programs")
@pytest.mark.parametrize("url", ["sqlite:///s.db", "apify:stats", "file://{here}/states?state=s"])
def test_two_programs(url: str, isolated: Path) -> None:
    """Each counts once, and the own state of one of them in the same store is in nobody's way."""
    share(url.replace("{here}", str(isolated)))


@pytest.mark.usefixtures("forked_actors")
def test_two_runs_of_an_actor(platform: LocalPlatform, tmp_path: Path) -> None:
    """On the platform, in a named store; the run's own is refused, and the error says what to do.

    The second run sees what the first one, which has ended, has shared.
    """
    start = starter(platform, tmp_path, WITH_AUTOSTATE)
    runs = [start(RUN), start(RUN)]
    for run in runs:
        assert run.wait() == 0, run.output
    last = start(RUN)
    assert last.wait() == 0, last.output
    assert last.store.get_json("OUTPUT") == [3 * ROUNDS, [*range(ROUNDS)]]

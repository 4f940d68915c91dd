"""A value that cannot be saved holds up nothing: all else is durable, and so it is delivered."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.actor_runs import PRELUDE, script

pytestmark = pytest.mark.usefixtures("forked_actors")

UNSAVABLE = f"""{PRELUDE}
import autostate
autostate.configure(in_step=True, debounce=0.02, max_delay=0.1)
"""
BEGIN = """
    async with Actor:
        autostate.PersistedDict("state")["bad"] = object()
        for n in range(3):
            await Actor.push_data({"n": n})
"""


def test_an_actor_delivers_all_the_same(platform: LocalPlatform, tmp_path: Path) -> None:
    """Reads, the end of the Actor, charges and marks; the value is told in the log."""
    body = f"""{BEGIN}
        dataset = await Actor.open_dataset()
        print("read", len((await dataset.get_data()).items))
        queue = await Actor.open_request_queue()
        await queue.add_request("https://example.com/0")
        request = await queue.fetch_next_request()
        await Actor.charge("page")
        await Actor.push_data({{"n": 3}})
        await queue.mark_request_as_handled(request)
    """
    run = platform.start_run(script(tmp_path, body, UNSAVABLE), prices={"page": 0.001})
    assert run.wait() == 0, run.output
    assert "read 3" in run.output
    assert [item["n"] for item in run.dataset.items] == [0, 1, 2, 3]
    assert len(run.charges) == 1
    assert run.queue.unhandled == []
    assert 'a value is not saved, everything else is: state["bad"]' in run.output
    for untrue in ("not arrived", "not delivered", "could not deliver"):
        assert untrue not in run.output


def test_an_actor_that_becomes_another_one_delivers_before(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """The next Actor would deliver nothing of it."""
    (tmp_path / "next").mkdir()
    platform.add_actor("next", script(tmp_path / "next", "    async with Actor:\n        pass"))
    body = f"""{BEGIN}
        await Actor.metamorph("next")
    """
    run = platform.start_run(script(tmp_path, body, UNSAVABLE))
    assert run.wait() == 0, run.output
    assert [item["n"] for item in run.dataset.items] == [0, 1, 2]
    assert "was not emptied" not in run.output


def test_an_end_whose_save_fails_tells_the_cause(platform: LocalPlatform, tmp_path: Path) -> None:
    """Items that are not durable are not delivered: that is no lack of time."""
    body = f"""{BEGIN}
        from autostate.errors import StoreError

        def refuse(*args, **kwargs):
            raise StoreError("no room here")

        autostate.runtime.api.current_manager()._incarnation.store.write = refuse
    """
    late = f"{UNSAVABLE}autostate.configure(debounce=3600, max_delay=3600)"
    run = platform.start_run(script(tmp_path, body, late))
    assert run.wait() != 0, run.output
    assert "3 of its pushes or charges have not arrived (FlushError: " in run.output
    assert "no room here" in run.output
    assert "no time is left" not in run.output

"""A readable copy of the state in the default key-value store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, PersistedList
from autostate.apify.publishing import view_of, views
from autostate.apify.view import ALL_ENTRIES, View
from autostate.testing import LocalPlatform
from autostate.testing.run import Run
from tests.actor_runs import PRELUDE, StartActor, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

BEGIN = f"""{PRELUDE}
import autostate
import autostate.apify.publishing
autostate.apify.publishing.INTERVAL = 0.1
"""
PUT = "*/records/STATE_VIEW"


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor that publishes often."""
    return starter(platform, tmp_path, BEGIN)


def view(run: Run) -> Any:
    """What is published."""
    record = run.store.records.get("STATE_VIEW")
    return None if record is None else json.loads(record.value)


def test_it_is_published_at_intervals_and_at_the_end(start: StartActor) -> None:
    """If it has changed; only what was chosen; a secret is a mask."""
    run = start(
        """
        autostate.configure(publish="STATE_VIEW: progress, loop")
        async with Actor:
            progress = autostate.PersistedDict("progress", page=1)
            progress["token"] = autostate.Secret("hunter2")
            other = autostate.PersistedDict("other", a=1)
            async for number in autostate.resume("loop", range(3)):
                while await Actor.get_value("GO") is None:
                    await asyncio.sleep(0.02)
            progress["page"] = 2
        """
    )
    run.wait_for(condition=lambda: view(run) is not None)
    first = view(run)["objects"]
    assert first["progress"] == {"page": 1, "token": "**********"}
    assert first.keys() <= {"progress", "loop"}
    run.store.set_json("GO", 1)
    assert run.wait() == 0, run.output
    found = view(run)
    assert found["objects"] == {
        "progress": {"page": 2, "token": "**********"},
        "loop": {"done": 3},
    }
    assert found["store"] == "apify:"
    assert found["at"].endswith("+00:00")
    assert run.store.written.count("STATE_VIEW") <= 4


def test_it_is_never_in_the_way_of_saving(platform: LocalPlatform, start: StartActor) -> None:
    """A platform that does not answer holds up neither saves nor, for long, the end."""
    fault = platform.traffic.fault("PUT", PUT, hold=True)
    run = start(
        """
        autostate.apify.publishing._AT_THE_END = 0.1
        autostate.configure(publish="STATE_VIEW")
        async with Actor:
            progress = autostate.PersistedDict("progress", page=0)
            for _ in range(20):
                progress["page"] += 1
                await autostate.durable()
                await asyncio.sleep(0.02)
        """
    )
    assert run.wait() == 0, run.output
    assert fault.hits
    assert view(run) is None
    assert "STATE_VIEW" not in run.output
    fault.release()


def test_without_the_setting_nothing_is_published(start: StartActor) -> None:
    """And nothing is written when the process is about to be killed."""
    run = start(
        """
        import sys
        async with Actor:
            autostate.PersistedDict("progress", page=0)
            await asyncio.sleep(0.3)
            assert "autostate.apify.view" not in sys.modules
            autostate.configure(publish="STATE_VIEW")
            autostate.hub.migrating.send(None, time_remaining=60)
            await asyncio.sleep(0.3)
        """
    )
    assert run.wait() == 0, run.output
    assert view(run) is None


def test_the_view_has_all_live_objects(isolated: Path) -> None:
    """But for the library's own, and outboxes; a proxy shows what it stands for."""

    @autostate.persisted
    class Shop:
        def __init__(self) -> None:
            self.page, self.seen = 1, {"b", "a"}

    with autostate.open("memory:") as manager:
        Shop()
        PersistedList("list", [1])
        autostate.proxy("total", 7)
        autostate.outbox("mails", lambda _: None)
        PersistedDict("d", a={"b": (1, 2)})
        assert view_of(manager, (), View()) == {
            "Shop": {"page": 1, "seen": ["a", "b"]},
            "list": [1],
            "total": 7,
            "d": {"a": {"b": [1, 2]}},
        }
        assert view_of(manager, ("list", "nowhere"), View()) == {"list": [1]}


def test_very_many_objects_are_cut_short(isolated: Path) -> None:
    """As many entries are."""

    @autostate.persisted(name="shop-{number}")
    class Shop:
        def __init__(self, number: int) -> None:
            self.number = number

    with autostate.open("memory:") as manager:
        kept = [Shop(number) for number in range(ALL_ENTRIES // 2 + 10)]
        found = view_of(manager, (), View())
        assert found["shop-7"] == {"number": 7}
        assert found["…"] == "10 more"
        assert len(found) == ALL_ENTRIES // 2 + 1
        assert kept


def test_several_stores_are_in_one_record(isolated: Path) -> None:
    """Else they would overwrite each other, and pay for it, at each interval."""
    autostate.configure("memory:", publish="STATE_VIEW")
    PersistedDict("d", a=1)
    with autostate.open("sqlite:///other.db", publish="STATE_VIEW"):
        PersistedDict("d", a=2)
        with autostate.open("sqlite:///third.db", publish=None):
            PersistedDict("d", a=3)
            found = views()
    assert list(found) == ["STATE_VIEW"]
    (mine, objects), (url, others) = found["STATE_VIEW"].items()
    assert (mine, objects, others) == ("memory:", {"d": {"a": 1}}, {"d": {"a": 2}})
    assert url.endswith("other.db")

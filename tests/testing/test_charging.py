"""What the local platform knows of charges, child runs, lagging counters and random faults."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from apify_client.errors import ApifyApiError

from autostate.testing import LocalPlatform
from tests.actor_runs import StartActor, client, script

pytestmark = pytest.mark.usefixtures("forked_actors")

PRICES = {"page": 0.5, "apify-default-dataset-item": 0.1}


def test_the_sdk_charges_and_knows_its_limit(start: StartActor) -> None:
    """Prices and counts are in the environment of each container and in the run object."""
    run = start(
        """
        async with Actor:
            info = Actor.get_charging_manager().get_pricing_info()
            assert info.is_pay_per_event
            assert float(info.max_total_charge_usd) == 2.0
            before = Actor.get_charging_manager().get_charged_event_count("page")
            assert (await Actor.charge("page", count=9)).charged_count == (4, 0)[before > 0]
            await Actor.push_data([{}, {}, {}])
        """,
        prices=PRICES,
        max_total_charge_usd=2.0,
    )
    assert run.wait() == 0, run.output
    run.start_next_container()
    assert run.wait() == 0, run.output
    assert run.charging.counts == {"page": 4}
    assert run.dataset.items == []


def test_a_key_is_known_for_three_minutes() -> None:
    """By the clock of the platform; a repeated charge is ignored."""
    seconds = [0.0]
    with LocalPlatform(clock=lambda: seconds[0]) as platform:
        run = platform.start_run([sys.executable, "-c", ""], prices=PRICES)
        charge = client(platform).run(run.id).charge
        for at, counted in ((0.0, 1), (179.0, 1), (180.0, 2), (181.0, 2)):
            seconds[0] = at
            charge("page", idempotency_key="k")
            assert run.charging.counts == {"page": counted}
        assert [each.key for each in run.charging.ignored] == ["k", "k"]
        with pytest.raises(ApifyApiError):
            charge("unknown")
        told = client(platform).run(run.id).get()
        assert told is not None
        assert told.charged_event_counts == {"page": 2}


def test_counters_of_a_dataset_lag(platform: LocalPlatform) -> None:
    """Items are listed at once."""
    dataset = platform.datasets.create()
    dataset.lag = 1000.0
    items = client(platform).dataset(dataset.id)
    items.push_items([{"n": 1}, {"n": 2}])
    told = items.get()
    assert told is not None
    assert told.item_count == 0
    page = items.list_items()
    assert page.items == [{"n": 1}, {"n": 2}]
    assert page.total == 0
    dataset.lag = 0.0
    told = items.get()
    assert told is not None
    assert told.item_count == 2


def test_random_faults_are_the_same_for_a_seed() -> None:
    """Whatever else is asked between, and about as many as were asked for."""

    def outcomes(seed: int, noise: int) -> list[bool]:
        with LocalPlatform() as platform:
            store = platform.stores.create()
            faults = platform.faults(probability=0.3, seed=seed, method="GET", path="*/records/*")
            seen = []
            for _ in range(100):
                for _ in range(noise):
                    _is_well(platform, store.id, "other")
                seen.append(_is_well(platform, store.id, "k"))
            assert faults.hits >= seen.count(False)
            return seen

    first = outcomes(1, 0)
    assert 50 < first.count(True) < 90
    assert first == outcomes(1, 2)
    assert first != outcomes(2, 0)


def _is_well(platform: LocalPlatform, store_id: str, key: str) -> bool:
    try:
        client(platform).key_value_store(store_id).get_record(key)
    except Exception:
        return False
    return True


def test_an_actor_starts_another_one(
    platform: LocalPlatform, start: StartActor, tmp_path: Path
) -> None:
    """With its input; the run is in the lists of runs, and can be waited for."""
    (tmp_path / "child").mkdir()
    child = script(
        tmp_path / "child",
        """
        async with Actor:
            await Actor.set_value("OUTPUT", {"got": await Actor.get_input()})
        """,
    )
    platform.add_actor("me~child", child)
    run = start(
        """
        async with Actor:
            child = await Actor.call("me~child", {"n": 1})
            await Actor.set_value("CHILD", {"id": child.id})
            listed = await Actor.apify_client.actor("me~child").runs().list(desc=True)
            assert [each.id for each in listed.items] == [child.id]
        """
    )
    assert run.wait() == 0, run.output
    started = platform.runs[run.store.get_json("CHILD")["id"]]
    assert started.store.get_json("OUTPUT") == {"got": {"n": 1}}
    assert started.describe()["meta"] == {"origin": "ACTOR"}
    runs = client(platform).runs()
    assert [each.id for each in runs.list().items] == [run.id, started.id]
    assert [each.id for each in runs.list(limit=1, desc=True).items] == [started.id]
    assert runs.list(status="RUNNING").items == []

"""Actors whose pushes and charges go through outboxes, in real processes."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform, Run
from tests.actor_runs import StartActor, script, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

PRELUDE = """
import asyncio
import autostate
from apify import Actor
from autostate.apify.charges import PlatformCharges
from autostate.apify.dataset import PlatformDataset

PlatformDataset.settle = PlatformCharges.settle = 0.2  # no request is late here
autostate.configure(debounce=0.05, max_delay=0.2)
"""
IN_STEP = f"{PRELUDE}autostate.configure(in_step=True)\n"
PRICES = {"page": 1.0, "pdf": 10.0, "apify-default-dataset-item": 0.5}
HAS_KEYS = not version("apify").startswith("4.0.")
"""Whether the SDK's `charge` takes an idempotency key."""


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor that is in step."""
    return starter(platform, tmp_path, IN_STEP)


def results(run: Run) -> list[list[object]]:
    """The results of charges that an Actor has printed: charged, limit reached, what is left."""
    lines = [line for line in run.output.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


RESULT = """
    import json
    def show(result):
        left = result.chargeable_within_limit
        print("RESULT", json.dumps([result.charged_count, result.event_charge_limit_reached, left]))
"""


@pytest.mark.parametrize("in_step", [True, False])
def test_results_are_those_of_the_sdk(
    platform: LocalPlatform, tmp_path: Path, in_step: bool
) -> None:
    """Limits are kept, of events, of items and of both, and what is reserved counts."""
    body = f"""
    {RESULT}
    async with Actor:
        show(await Actor.charge("page"))
        key = {{"idempotency_key": "a"}} if {HAS_KEYS} else {{}}
        show(await Actor.charge("page", count=2, **key))
        show(await Actor.charge("page", count=2 if key else 0, **key))
        show(await Actor.push_data([{{"n": n}} for n in range(3)]))
        show(await Actor.push_data([{{"n": n}} for n in range(2)], charged_event_name="page"))
        show(await Actor.push_data([]))
        show(await Actor.charge("unknown"))
        show(await Actor.get_charging_manager().charge("page", count=9))
        show(await Actor.push_data([{{"n": n}} for n in range(9)]))
    """
    prelude = IN_STEP if in_step else PRELUDE
    run = platform.start_run(
        script(tmp_path, body, prelude), prices=PRICES, max_total_charge_usd=12.0
    )
    assert run.wait() == 0, run.output
    assert [each[:2] for each in results(run)] == [
        [1, False],
        [2, False],
        [2 if HAS_KEYS else 0, False],
        [3, False],
        [2, False],
        [0, False],
        [1, False],
        [4, True],
        [1, True],
    ]
    assert run.charging.counts == {"page": 9, "apify-default-dataset-item": 6}
    assert len(run.dataset.items) == 6


@pytest.mark.parametrize("calls", ["Actor", "autostate"])
def test_what_a_killed_process_has_reserved_is_reserved_once(
    platform: LocalPlatform, tmp_path: Path, calls: str
) -> None:
    """Whether it had arrived or not: the SDK counts from the platform's numbers."""
    start = starter(platform, tmp_path, IN_STEP if calls == "Actor" else PRELUDE)
    held = platform.traffic.fault("POST", "*/charge", nth=3, hold=True)
    run = start(
        f"""
        {RESULT.replace(chr(10), chr(10) + "    ")}
        async with Actor:
            done = autostate.PersistedCounter("done")
            if not done:
                with autostate.atomic():
                    done["n"] += 1
                    for _ in range(5):
                        show(await {calls}.charge("page"))
                    await {calls}.push_data([{{"n": 1}}, {{"n": 2}}])
                await asyncio.sleep(60)
            show(await {calls}.charge("pdf"))
        """,
        prices=PRICES,
        max_total_charge_usd=17.0,
    )
    held.wait_hit()
    platform.traffic.wait_for_calls("POST", "*/charge", count=4)
    platform.traffic.wait_for_calls("POST", "*/items")
    run.kill()
    platform.traffic.heal()
    run.start_next_container()
    assert run.wait() == 0, run.output
    left = {"page": 1, "pdf": 0, "apify-default-dataset-item": 2}
    assert results(run)[-1] == [1, True, left]
    assert run.charging.counts == {"page": 5, "pdf": 1, "apify-default-dataset-item": 2}


@pytest.mark.skipif(not HAS_KEYS, reason="this SDK takes no keys")
def test_a_key_of_the_program_that_is_pending_is_known_after_a_kill(
    platform: LocalPlatform, start: StartActor
) -> None:
    """A repeated call is told what the first one was, and reserves nothing."""
    held = platform.traffic.fault("POST", "*/charge", hold=True)
    run = start(
        f"""
        {RESULT.replace(chr(10), chr(10) + "    ")}
        async with Actor:
            show(await Actor.charge("page", count=2, idempotency_key="k"))
            if not autostate.PersistedCounter("done")["n"]:
                autostate.PersistedCounter("done")["n"] += 1
                await asyncio.sleep(60)
        """,
        prices=PRICES,
        max_total_charge_usd=3.0,
    )
    held.wait_hit()
    run.kill()
    platform.traffic.heal()
    run.start_next_container()
    assert run.wait() == 0, run.output
    left = {"page": 1, "pdf": 0, "apify-default-dataset-item": 2}
    assert results(run) == [[2, False, left], [2, False, left]]
    assert run.charging.counts == {"page": 2}


def test_what_is_left_is_delivered_by_a_process_that_pushes_nothing(
    platform: LocalPlatform, start: StartActor
) -> None:
    """The outboxes of former processes are opened when the Actor is entered."""
    fault = platform.traffic.fault("POST", "*/items", hold=True)
    run = start(
        """
        async with Actor:
            if await Actor.get_value("PUSHED"):
                return
            await Actor.push_data([{"n": n} for n in range(3)])
            await autostate.durable()
            await Actor.set_value("PUSHED", True)
            await asyncio.sleep(60)
        """
    )
    platform.traffic.wait_for_calls("PUT", "*/records/PUSHED")
    fault.wait_hit()
    run.kill()
    platform.traffic.heal()
    run.start_next_container()
    assert run.wait() == 0, run.output
    assert run.dataset.items == [{"n": n} for n in range(3)]


def test_pushes_of_a_block_that_raises_are_not_made(start: StartActor) -> None:
    """They belong to it; others are made in their order."""
    run = start(
        """
        async with Actor:
            for n in range(6):
                try:
                    with autostate.atomic():
                        await Actor.push_data({"n": n})
                        await Actor.charge("page", count=n + 1)
                        if n % 2:
                            raise KeyError
                except KeyError:
                    pass
        """,
        prices={"page": 0.1},
    )
    assert run.wait() == 0, run.output
    assert run.dataset.items == [{"n": 0}, {"n": 2}, {"n": 4}]
    assert run.charging.counts == {"page": 9}


def test_a_block_that_raises_leaves_the_limit_as_it_was(start: StartActor) -> None:
    """What it has charged is not charged, so the SDK counts it no longer, nor knows its keys."""
    run = start(
        f"""
        {RESULT.replace(chr(10), chr(10) + "    ")}
        async with Actor:
            key = {{"idempotency_key": "k"}} if {HAS_KEYS} else {{}}
            async def work(n):
                with autostate.atomic():
                    with autostate.atomic():
                        await Actor.charge("page", count=n, **key)
                        await asyncio.sleep(0.01)
                    await Actor.push_data([{{"n": 1}}, {{"n": 2}}], charged_event_name="page")
                    await Actor.charge("unknown")
                    raise KeyError
            show(await Actor.charge("page"))
            for _ in range(3):
                await asyncio.gather(work(3), work(4), return_exceptions=True)
            show(await Actor.charge("page", count=9, **key))
            print("COUNTS", Actor.get_charging_manager().get_charged_event_count("page"))
        """,
        prices=PRICES,
        max_total_charge_usd=12.0,
    )
    assert run.wait() == 0, run.output
    left = {"page": 2, "pdf": 0, "apify-default-dataset-item": 4}
    assert results(run) == [
        [1, False, {"page": 11, "pdf": 1, "apify-default-dataset-item": 22}],
        [9, False, left],
    ]
    assert "COUNTS 10" in run.output
    assert run.charging.counts == {"page": 10}
    assert run.dataset.items == []


def test_own_functions_need_no_setting(platform: LocalPlatform, tmp_path: Path) -> None:
    """`autostate.push_data` and `charge` use outboxes; the SDK's own calls stay as they are."""
    body = """
    async with Actor:
        first = await autostate.push_data({"own": 1}, charged_event_name="page")
        assert (await autostate.charge("pdf", count=2)).charged_count == 2
        assert first.charged_count == 1
        await Actor.push_data({"direct": 1})
        await Actor.charge("page")
        print("DIRECT", flush=True)
        await asyncio.sleep(1)
    """
    run = platform.start_run(
        script(tmp_path, body, PRELUDE.replace("0.05", "30").replace("0.2)", "60)")), prices=PRICES
    )
    run.container.wait_for_output("DIRECT")
    assert run.dataset.items == [{"direct": 1}]
    assert run.charging.counts == {"page": 1, "apify-default-dataset-item": 1}
    assert run.wait() == 0, run.output
    assert run.dataset.items == [{"direct": 1}, {"own": 1}]
    assert run.charging.counts == {"page": 2, "pdf": 2, "apify-default-dataset-item": 2}


def test_a_loop_over_pushes_lets_other_tasks_work(start: StartActor) -> None:
    """Though nothing is sent meanwhile."""
    run = start(
        """
        turns = []
        async def work():
            while len(turns) < 20:
                turns.append(1)
                await asyncio.sleep(0)

        async with Actor:
            other = asyncio.create_task(work())
            for n in range(21):
                await Actor.push_data({"n": n})
            assert len(turns) == 20
            await other
        """
    )
    assert run.wait() == 0, run.output


def test_without_an_actor_they_raise(start: StartActor) -> None:
    """There is no dataset and nothing to charge for."""
    run = start(
        """
        for call in (autostate.push_data({}), autostate.charge("page")):
            try:
                await call
            except RuntimeError as error:
                assert "no Actor is open" in str(error)
            else:
                raise AssertionError
        """
    )
    assert run.wait() == 0, run.output


def test_a_program_reads_what_it_has_pushed(platform: LocalPlatform, start: StartActor) -> None:
    """Reading delivers first, also from named datasets, and a crawler's pushes are in step."""
    run = start(
        """
        from crawlee.crawlers import BasicCrawler, BasicCrawlingContext
        from crawlee.storages import Dataset
        async with Actor:
            crawler = BasicCrawler()
            @crawler.router.default_handler
            async def handle(context: BasicCrawlingContext) -> None:
                await context.push_data({"url": context.request.url})
            await crawler.run([f"http://x.test/{n}" for n in range(20)])
            assert len((await crawler.get_data()).items) == 20
            named = await Dataset.open(name="named")
            await named.push_data([{"n": 1}, {"n": 2}])
            assert [item async for item in named.iterate_items()] == [{"n": 1}, {"n": 2}]
        """
    )
    assert run.wait() == 0, run.output
    urls = Counter(item["url"] for item in run.dataset.items)
    assert urls == {f"http://x.test/{n}": 1 for n in range(20)}
    assert len(platform.traffic.calls_to("POST", "*/items")) < 10


def test_records_are_written_after_the_save(platform: LocalPlatform, start: StartActor) -> None:
    """In order, each key's newest value; a process that was killed has them written by the next."""
    platform.traffic.fault("PUT", "*/records/OUT*", times=1, cut=True)
    run = start(
        """
        from autostate.apify.records import Records, set_value
        Records.settle = 0.2
        async with Actor:
            for n in range(3):
                await set_value("OUT", {"n": n})
            await set_value("OUT-text", "háček", content_type="text/plain; charset=utf-8")
            await set_value("OUT-bytes", b"\\x00")
        """
    )
    assert run.wait() == 0, run.output
    assert run.store.get_json("OUT") == {"n": 2}
    assert run.store.records["OUT-bytes"].body == b"\x00"
    assert len(platform.traffic.calls_to("PUT", "*/records/OUT", applied=True)) == 1


def test_the_end_waits_for_what_has_not_arrived(platform: LocalPlatform, start: StartActor) -> None:
    """And a run that ends without it says so, and fails: nobody would resurrect it otherwise."""
    platform.traffic.fault("POST", "*/items", status=503)
    run = start(
        """
        from autostate.apify import in_step
        in_step.DRAINING = 1.0
        autostate.configure(flush_timeout=3)
        async with Actor:
            await Actor.push_data({"n": 1})
        """
    )
    assert run.wait() == 74, run.output
    assert "1 of its pushes or charges have not arrived" in run.output
    platform.traffic.heal()
    run.start_next_container()
    assert run.wait() == 0, run.output
    assert run.dataset.items == [{"n": 1}, {"n": 1}], "left by the first run, and pushed again"


@pytest.mark.skipif(HAS_KEYS, reason="this SDK takes keys")
def test_a_key_that_the_sdk_does_not_take_is_refused(start: StartActor) -> None:
    """With the version that takes one."""
    run = start(
        """
        async with Actor:
            try:
                await autostate.charge("page", idempotency_key="k")
            except RuntimeError as error:
                print("refused:", error)
        """,
        prices=PRICES,
    )
    assert run.wait() == 0, run.output
    assert "refused: charge() with an idempotency_key needs apify 4.1" in run.output


@pytest.mark.parametrize(
    "late",
    ["autostate.configure(in_step=True)", 'autostate.open("memory:", in_step=True)'],
    ids=["configure", "open"],
)
def test_a_setting_that_comes_too_late_is_an_error(
    platform: LocalPlatform, tmp_path: Path, late: str
) -> None:
    """The Actor was entered without it: its pushes would go to the platform at once."""
    body = f"""
    async with Actor:
        {late}
    """
    run = platform.start_run(script(tmp_path, body, PRELUDE))
    assert run.wait() == 91
    assert "in_step is set too late" in run.output


def test_an_entry_point_is_in_step_in_an_actor_that_the_program_enters(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """It says so before the call."""
    prelude = f"""{PRELUDE}
@autostate.actor(in_step=True)
async def work() -> None:
    with autostate.atomic():
        await Actor.push_data({{"n": 1}})
        assert not (await Actor.open_dataset())._client.__class__.__module__.startswith("apify")
"""
    body = """
    async with Actor:
        await work()
    """
    run = platform.start_run(script(tmp_path, body, prelude))
    assert run.wait() == 0, run.output
    assert run.dataset.items == [{"n": 1}]


def test_an_item_counts_once_while_it_is_not_known_to_have_arrived(
    platform: LocalPlatform, start: StartActor
) -> None:
    """The answer to its push was lost: it is in the dataset, and in the outbox."""
    platform.traffic.fault("POST", "*/items", lose_answer=True, status=502, times=1)
    run = start(
        """
        async with Actor:
            await Actor.push_data({"n": 1})
            dataset = await Actor.open_dataset()
            outbox = dataset._client.outbox()
            while outbox.error is None:
                await asyncio.sleep(0.01)
            print("COUNTED", (await dataset.get_metadata()).item_count, len(outbox))
        """
    )
    assert run.wait() == 0, run.output
    assert "COUNTED 1 0" in run.output
    assert run.dataset.items == [{"n": 1}]

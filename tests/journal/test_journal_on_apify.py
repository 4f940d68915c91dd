"""The journal over real HTTP to a platform that fails in all the ways in which requests fail."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from autostate.errors import FencedError, StoreUnavailableError
from autostate.journal import Journal
from autostate.journal.head import BELL
from autostate.stores.apify_platform import ApifyStore
from autostate.testing import LocalPlatform
from tests.campaign import Tally


@pytest.fixture
def stores(platform: LocalPlatform) -> Iterator[Iterator[ApifyStore]]:
    """As many stores as wanted, each a connection of its own to the same records."""
    opened: list[ApifyStore] = []
    remote = platform.stores.create()

    def make() -> Iterator[ApifyStore]:
        while True:
            store = ApifyStore(
                platform.url, platform.token, "apify:", store_id=remote.id, name=None
            )
            opened.append(store)
            yield store

    yield make()
    for store in opened:
        store.close()


def change(**entries: Any) -> bytes:
    """A change of the one root of these tests."""
    return json.dumps({"id": 1, "kind": "dict", "name": "root", "put": entries}).encode()


def content(stores: Iterator[ApifyStore]) -> dict[Any, Any]:
    """What a new incarnation finds."""
    nodes = Journal(next(stores)).recover().nodes
    found = nodes[1].content if nodes else {}
    assert isinstance(found, dict)
    return found


def started(stores: Iterator[ApifyStore], **options: Any) -> Journal:
    """A journal that has recovered."""
    journal = Journal(next(stores), **options)
    journal.recover()
    return journal


@pytest.mark.campaign(name="http")
@pytest.mark.parametrize("inline_limit", [16_384, 64])
def test_nothing_acknowledged_is_lost_while_requests_fail(
    platform: LocalPlatform,
    stores: Iterator[ApifyStore],
    inline_limit: int,
    *,
    rng: random.Random,
    tally: Tally,
) -> None:
    """Three requests in ten fail, are cut, or are applied without an answer."""
    journal = started(stores, inline_limit=inline_limit)
    for lose_answer, status in ((False, 500), (False, None), (True, None), (True, 502)):
        platform.traffic.fault(
            when=lambda _: rng.random() < 0.085,
            status=status,
            cut=status is None,
            lose_answer=lose_answer,
        )
    saved: dict[str, object] = {}
    for number in range(150):
        entries: dict[str, object] = {
            f"key-{rng.randrange(40)}": number,
            "padding": "x" * rng.randrange(60),
        }
        for _ in range(60):
            try:
                journal.commit([change(**entries)])
                break
            except StoreUnavailableError:
                entries["again"] = rng.random()  # often other bytes than those before
        else:
            pytest.fail("60 attempts in a row failed")
        saved |= entries
        tally.tried()
        if rng.random() < 0.2:
            expected, faults = dict(saved), platform.traffic.suspended()
            with faults:
                assert content(stores) == expected
    failed = [call for call in platform.traffic.calls if call.status not in {200, 201, 204, 404}]
    assert len(failed) > 30


def test_a_write_that_arrives_late_changes_nothing(
    platform: LocalPlatform, stores: Iterator[ApifyStore]
) -> None:
    """A head that timed out, and lands after later commits, lands where nobody looks."""
    journal = started(stores)
    journal.commit([change(n=1)])
    late = platform.traffic.fault("PUT", hold=True, nth=1)
    with pytest.raises(StoreUnavailableError):
        journal.commit([change(n=2)], timeout=0.3)
    journal.commit([change(n=3)])
    journal.commit([change(n=4)])
    assert content(stores) == {"n": 4}
    late.release()
    platform.traffic.wait_for_calls("PUT", count=4)
    assert content(stores) == {"n": 4}
    journal.commit([change(n=5)])
    assert content(stores) == {"n": 5}


def test_an_older_container_is_fenced(
    platform: LocalPlatform, stores: Iterator[ApifyStore]
) -> None:
    """Two containers overlap: the older one finds out, and its last words are not heard."""
    old = started(stores)
    old.commit([change(n=1)])
    new = started(stores)
    new.commit([change(n=2)])
    with pytest.raises(FencedError):
        old.check_owner()
    with pytest.raises(FencedError):
        old.commit([change(n=3)])
    assert content(stores) == {"n": 2}


def test_a_claim_that_arrives_after_its_process_died_fences_nobody(
    platform: LocalPlatform, stores: Iterator[ApifyStore]
) -> None:
    """Somebody who rings may overtake the owner; it goes on if nothing follows the claim."""
    late = platform.traffic.fault("PUT", "*-claim", hold=True, nth=1)
    dead = started(stores, token=lambda: "zz")
    with pytest.raises(StoreUnavailableError):
        dead.commit([change(n=1)], timeout=0.3)
    now = [0.0]
    living = started(stores, token=lambda: "aa", monotonic=lambda: now[0])
    living.commit([change(n=2)])
    late.release()
    platform.traffic.wait_for_calls("PUT", "*-zz-claim", applied=True)
    living.check_owner()  # nobody has rung: who claims from now on sees what was written
    next(stores).write({BELL: b"{}"})
    for now[0] in (0.0, 4.9):
        with pytest.raises(StoreUnavailableError, match="has begun to take over"):
            living.check_owner()
    now[0] = 5.0
    living.check_owner()
    living.commit([change(m=3)])
    living.check_owner()
    assert content(stores) == {"n": 2, "m": 3}


def test_a_save_that_is_checked_is_one_write_and_one_read(
    platform: LocalPlatform, stores: Iterator[ApifyStore]
) -> None:
    """A listing costs ten times as much as a read, and has a limit of requests of its own."""
    journal = started(stores)
    for number in range(3):
        journal.commit([change(n=number)])
        journal.check_owner()
    before = len(platform.traffic.calls)
    journal.commit([change(n=4)])
    journal.check_owner()
    told = [(call.method, call.path.rpartition("/")[2]) for call in platform.traffic.calls[before:]]
    assert told == [("PUT", journal._writer.me.text), ("GET", BELL)]


def test_a_ring_that_arrives_late_costs_one_listing(
    platform: LocalPlatform, stores: Iterator[ApifyStore]
) -> None:
    """The owner rings again, so that later checks are one read each as before."""
    late = platform.traffic.fault("PUT", f"*{BELL}", hold=True, nth=1)
    dead = started(stores)
    with pytest.raises(StoreUnavailableError):
        dead.commit([change(n=1)], timeout=0.3)
    living = started(stores)
    living.commit([change(n=2)])
    living.check_owner()
    late.release()
    platform.traffic.wait_for_calls("PUT", f"*{BELL}", count=2)
    listings = len(platform.traffic.calls_to("GET", "*/keys"))
    for _ in range(3):
        living.check_owner()
        living.commit([change(n=3)])
    assert len(platform.traffic.calls_to("GET", "*/keys")) == listings + 1
    assert content(stores) == {"n": 3}


def test_a_wiped_store_is_begun_anew(platform: LocalPlatform, stores: Iterator[ApifyStore]) -> None:
    """After reset() a full commit makes a state that can be recovered."""
    journal = started(stores, inline_limit=64)
    for number in range(5):
        journal.commit([change(**{f"key-{number}": "x" * 50})])
    (remote,) = platform.stores.all()
    remote.records.clear()
    journal.reset()
    journal.commit([change(n=1)])
    assert content(stores) == {"n": 1}

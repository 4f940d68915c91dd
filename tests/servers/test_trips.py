"""How often a client waits for its server: a trip each time, counted by a proxy between them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from autostate.journal import Journal, history
from autostate.settings import Settings
from autostate.shared.kinds import COUNTER
from autostate.shared.replica import Replica
from autostate.stores import Store, open_store
from autostate.stores.keyed import keyed
from tests.journal.changes import change
from tests.servers.conftest import new_state
from tests.servers.folder import Folder
from tests.servers.kinds import Remote
from tests.servers.proxy import Proxy

KEY = "a-secret-of-at-least-sixteen-bytes"


@pytest.fixture
def remote(server: Remote) -> Remote:
    """A server, and no folder."""
    if isinstance(server, Folder):
        pytest.skip("there is no way to a folder")
    return server


@contextmanager
def opened(server: Remote, state: str, proxy: Proxy, *, key: str | None) -> Iterator[Store]:
    """A store behind the proxy, with a key if there is one."""
    with closing(open_store(server.url(state, proxy))) as store:
        yield keyed(store, Settings(key=key))


def trips(proxy: Proxy, before: int) -> int:
    """The trips since then."""
    return proxy.trips - before


def test_records_travel_as_they_are(remote: Remote) -> None:
    """A write sends the bytes of its records once, and little more; a read receives them once."""
    record = os.urandom(1_000_000)
    with (
        remote.proxy() as proxy,
        closing(open_store(remote.url(new_state(), proxy))) as store,
    ):
        store.write({"first": b"1"})
        before = proxy.size
        store.write({"record": record}, expect={"first": b"1", "record": None})
        assert proxy.size - before < 1_010_000
        before = proxy.size
        assert store.read("record") == record
        assert proxy.size - before < 1_010_000


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "signed"])
def test_trips(remote: Remote, key: str | None) -> None:
    """Opening a store aside: one for a small commit and a takeover, three for a recovery."""
    state = new_state()
    pages = {f"page-{number}": "x" * 900 for number in range(200)}
    with remote.proxy() as proxy:
        with opened(remote, state, proxy, key=key) as store:
            journal = Journal(store, part_limit=20_000)
            journal.recover()
            journal.commit([change(id=1, kind="dict", name="s", assign={})])
            for batch in range(20):  # some of it in segments, some of it in the head
                names = [*pages][batch * 10 : batch * 10 + 10]
                journal.commit([change(id=1, put={name: pages[name] for name in names})])
            before = proxy.trips
            journal.commit([change(id=1, put={"page-0": "y"})])
            assert trips(proxy, before) == 1
            before = proxy.trips
            journal.check_owner()
            assert trips(proxy, before) == 1
        with opened(remote, state, proxy, key=key) as store:
            before = proxy.trips
            if remote.url("").startswith("s3"):
                proxy.delay = 0.2  # all objects are asked for before the first of them comes
            journal = Journal(store)
            found = journal.recover()
            assert trips(proxy, before) <= 3
            assert len(found.nodes[1].content) == len(pages)
            before, proxy.delay = proxy.trips, 0.0
            journal.take_over()
            assert trips(proxy, before) == 1


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "signed"])
def test_trips_of_sharing(remote: Remote, key: str | None) -> None:
    """On S3 a publication writes the lineage, and reads the index; a refresh reads lineages first.

    Elsewhere each is one trip.
    """
    state, is_s3 = new_state(), remote.url("").startswith("s3")
    with (
        remote.proxy() as proxy,
        opened(remote, state, proxy, key=key) as mine,
        opened(remote, state, proxy, key=key) as theirs,
    ):
        me, other = Replica(mine), Replica(theirs)
        hits: dict[Replica, Counter[str]] = {}

        def count(replica: Replica) -> None:
            replica.objects["hits"].write({"page": 1})
            replica.flush(10.0)

        def made(call: Callable[[], object]) -> int:
            before = proxy.trips
            call()
            return trips(proxy, before)

        for each in (me, other):
            hits[each] = each.open("hits", COUNTER, lambda _: Counter())
            count(each)
        for _ in range(2):
            me.refresh()
            assert made(lambda: count(me)) == (2 if is_s3 else 1)
            me.refresh()
            count(other)
            assert made(me.refresh) == (3 if is_s3 else 1)
            assert made(me.refresh) == (2 if is_s3 else 1), "no lineage is read that is as it was"
            assert me._fold(10.0)
            count(other)
        me.refresh()
        assert hits[me] == {"page": 8}


def test_trips_of_a_history(remote: Remote) -> None:
    """One for each chapter, which names the one before it; and one for all that they hold."""
    state = new_state()
    with remote.proxy() as proxy, opened(remote, state, proxy, key=None) as store:
        journal = Journal(store, keep=(0.0, 1000))
        journal.recover()
        journal.commit([change(id=1, kind="dict", name="s", assign={})])
        for number in range(20):
            journal.commit([change(id=1, put={f"{number}": "x" * 900})])
            if number % 5 == 4:
                journal.compact(pause=lambda: None)

        def made(read: Callable[[], object]) -> int:
            before = proxy.trips
            read()
            return trips(proxy, before)

        one = made(lambda: [*store.read_many(["none"])])
        newest = made(lambda: history.state_at(store, None, number=21))
        assert made(lambda: history.state_at(store, None, number=2)) <= newest + 4 * one
        assert made(lambda: history.commits(store, None)) <= newest + 4 * one
        assert made(lambda: history.state_at(store, None, time=0.0)) <= newest + 6 * one

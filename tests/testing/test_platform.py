"""The local Apify platform, driven by the real SDK in real processes."""

from __future__ import annotations

import socket
import sys
import threading
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from apify_client import ApifyClient
from apify_client.errors import ApifyApiError

from autostate.testing import ABSENT, KeyValueStore, LocalPlatform
from autostate.testing.storages import Storages
from autostate.testing.wire import ApiError
from tests.actor_runs import StartActor, client

pytestmark = pytest.mark.usefixtures("forked_actors")


def test_the_sdk_reads_the_input_and_what_it_wrote(start: StartActor) -> None:
    """Input, JSON, text and bytes go to the default store and back, 404 is None."""
    run = start(
        """
        async with Actor:
            given = await Actor.get_input()
            await Actor.set_value("json", {"given": given, "padding": "x" * 5000})
            await Actor.set_value("text", "háčky")
            await Actor.set_value("bytes", b"\\x00\\xff", content_type="application/x-own")
            store = await Actor.open_key_value_store()
            assert await Actor.get_value("json") == {"given": {"n": 1}, "padding": "x" * 5000}
            assert await Actor.get_value("text") == "háčky"
            assert await Actor.get_value("bytes") == b"\\x00\\xff"
            assert await Actor.get_value("missing") is None
            assert await store.record_exists("text")
            assert not await store.record_exists("missing")
            await store.delete_value("text")
            await Actor.set_status_message("half way")
        """,
        input={"n": 1},
    )
    assert run.wait() == 0, run.output
    assert run.status == "SUCCEEDED"
    assert run.status_message == "half way"
    assert sorted(run.store.records) == ["INPUT", "bytes", "json"]
    assert run.store.records["json"].content_encoding == "br"
    assert run.store.records["bytes"].content_type == "application/x-own"
    assert run.store.get_json("json")["given"] == {"n": 1}


def test_keys_come_in_pages(platform: LocalPlatform) -> None:
    """A listing follows prefix, limit and exclusive start key, at most 1,000 keys a page."""
    store = platform.stores.create("many")
    for number in range(2100):
        store.set_json(f"{'even' if number % 2 == 0 else 'odd'}-{number:04d}", number)
    keys = client(platform).key_value_store(store.id)
    page = keys.list_keys(prefix="odd-", limit=3)
    assert [item.key for item in page.items] == ["odd-0001", "odd-0003", "odd-0005"]
    assert page.is_truncated
    after = keys.list_keys(
        prefix="odd-", limit=3, exclusive_start_key=page.next_exclusive_start_key
    )
    assert [item.key for item in after.items] == ["odd-0007", "odd-0009", "odd-0011"]
    assert keys.list_keys().count == 1000
    assert len(list(keys.iterate_keys())) == 2100


def test_a_record_is_decompressed_for_those_who_cannot_read_it(platform: LocalPlatform) -> None:
    """Records stay as uploaded; the content encoding is undone only where it is not accepted."""
    store = platform.stores.create()
    body = b'{"padding": "' + b"x" * 5000 + b'"}'
    for compression in ("gzip", "brotli"):
        records = client(platform, compression=compression).key_value_store(store.id)
        records.set_record(compression, body, content_type="application/json")
        assert len(store.records[compression].body) < 500
        record = records.get_record_as_bytes(compression)
        assert record is not None
        assert record["value"] == body
        url = f"{store.url}/records/{compression}?token={platform.token}"
        with urllib.request.urlopen(url) as plain:
            assert plain.read() == body


def test_named_stores_are_made_once(platform: LocalPlatform) -> None:
    """Get-or-create gives the same store for the same name, and none for a bad name."""
    stores = client(platform).key_value_stores()
    assert stores.get_or_create(name="kept").id == stores.get_or_create(name="kept").id
    with pytest.raises(ApifyApiError):
        stores.get_or_create(name="not valid")
    assert client(platform).key_value_store("no-such").get() is None


def test_what_the_platform_refuses_is_refused(platform: LocalPlatform) -> None:
    """A bad token, a bad key and a record that is too large are errors."""
    store = platform.stores.create()
    records = client(platform).key_value_store(store.id)
    for key, body, status in (
        ("a b", b"{}", 400),
        ("k" * 257, b"{}", 400),
        ("k", b"x" * 9437185, 413),
    ):
        with pytest.raises(ApifyApiError) as refused:
            records.set_record(
                key, body, content_type="application/octet-stream", content_encoding="identity"
            )
        assert refused.value.status_code == status
    stranger = ApifyClient("wrong", api_url=platform.url, max_retries=0)
    with pytest.raises(ApifyApiError) as refused:
        stranger.key_value_store(store.id).get_record("k")
    assert refused.value.status_code == 401
    assert store.records == {}


def test_events_reach_the_listeners(start: StartActor) -> None:
    """Each platform event that parses arrives; data may be absent; cpuInfo is ignored."""
    run = start(
        """
        def tell(name):
            async def listener(data):
                print("heard", name, data.model_dump(mode="json"))
            return listener
        async with Actor:
            Actor.on(Event.MIGRATING, tell("migrating"))
            Actor.on(Event.ABORTING, tell("aborting"))
            Actor.on(Event.PERSIST_STATE, tell("persist"))
            Actor.on(Event.SYSTEM_INFO, tell("system"))
            print("listening")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("listening")
    run.container.wait_for_output("heard system")
    run.persist_state()
    assert "'is_migrating': False" in run.container.wait_for_output("heard persist")
    run.send("aborting")
    run.container.wait_for_output("heard aborting")
    run.send("cpuInfo", {"isCpuOverloaded": False})
    run.send("migrating", {"timeRemainingSecs": 58.2})
    assert "58.2" in run.container.wait_for_output("heard migrating")


@pytest.mark.parametrize("data", [None, ABSENT])
def test_an_event_can_come_with_null_or_nothing(start: StartActor, data: Any) -> None:
    """Migrating with `data: null` is dropped by the SDK, migrating without data is not."""
    run = start(
        """
        async with Actor:
            async def listener(data):
                print("heard migrating")
            Actor.on(Event.MIGRATING, listener)
            Actor.on(Event.ABORTING, lambda: print("heard aborting"))
            print("listening")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("listening")
    run.send("migrating", data)
    run.send("aborting")
    run.container.wait_for_output("heard aborting")
    assert ("heard migrating" in run.output) == (data is ABSENT)


def test_a_killed_run_goes_on_in_the_next_container(start: StartActor) -> None:
    """The next container has the same run id and the same storages."""
    run = start(
        """
        async with Actor:
            life = (await Actor.get_value("life") or 0) + 1
            await Actor.set_value("life", life)
            print("life", life, Actor.configuration.actor_run_id)
            if life < 2:
                await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("life 1")
    run.kill()
    assert run.status == "RUNNING"
    run.start_next_container()
    assert run.wait() == 0, run.output
    assert f"life 2 {run.id}" in run.output
    assert run.store.get_json("life") == 2


def test_containers_are_told_how_late_requests_are(
    start: StartActor, platform: LocalPlatform
) -> None:
    """An Actor in step waits for these seconds, and not for those of Apify's platform."""
    platform.late = 0.5
    run = start("from autostate.apify import api; print('late', api.lateness(api.LATE))")
    assert run.wait() == 0
    run.container.wait_for_output("late 0.5")


def test_a_migration_gives_notice_and_moves_the_run(start: StartActor) -> None:
    """The Actor hears of it, is killed, and the next container goes on."""
    run = start(
        """
        async with Actor:
            if await Actor.get_value("moved"):
                return
            async def moved(data):
                await Actor.set_value("moved", data.time_remaining.total_seconds())
            Actor.on(Event.MIGRATING, moved)
            print("listening")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("listening")
    run.migrate(notice=1.5)
    assert run.wait() == 0, run.output
    assert run.store.get_json("moved") == 1.5
    assert len(run.containers) == 2


def test_an_actor_that_exits_while_migrating_ends_its_run(start: StartActor) -> None:
    """As on the platform: exit code 0 during a migration is a success, nothing restarts."""
    run = start(
        """
        async with Actor:
            done = asyncio.Event()
            Actor.on(Event.MIGRATING, lambda: loop.call_soon_threadsafe(done.set))
            loop = asyncio.get_running_loop()
            print("listening")
            await done.wait()
        """
    )
    run.container.wait_for_output("listening")
    run.migrate(notice=20)
    assert run.status == "SUCCEEDED"
    assert len(run.containers) == 1


def test_a_reboot_kills_and_starts_the_next_container(start: StartActor) -> None:
    """Actor.reboot() calls the listeners, then the platform replaces the container."""
    run = start(
        """
        async with Actor:
            if await Actor.get_value("saved"):
                return
            async def save(data):
                await Actor.set_value("saved", True)
            Actor.on(Event.MIGRATING, save)
            await Actor.reboot()
            raise AssertionError("the container must be gone by now")
        """
    )
    assert run.wait() == 0, run.output
    assert run.reboots == 1
    assert "must be gone" not in run.output


@pytest.mark.parametrize("gracefully", [True, False])
def test_an_abort_ends_the_run(start: StartActor, gracefully: bool) -> None:
    """A graceful abort tells the Actor first, a plain one does not."""
    run = start(
        """
        async with Actor:
            Actor.on(Event.ABORTING, lambda: print("heard aborting"))
            Actor.on(Event.PERSIST_STATE, lambda: print("heard persist"))
            print("listening")
            await asyncio.Event().wait()
        """
    )
    run.container.wait_for_output("listening")
    run.abort(gracefully=gracefully, notice=1.0)
    assert run.status == "ABORTED"
    assert ("heard aborting" in run.output) == gracefully
    assert ("heard persist" in run.output) == gracefully


@pytest.mark.parametrize("code", [0, 3])
def test_an_actor_that_leaves_when_it_is_aborted(start: StartActor, code: int) -> None:
    """The run is aborted whatever the exit code is, and goes on when it is resurrected."""
    run = start(
        f"""
        async with Actor:
            heard = asyncio.Event()
            Actor.on(Event.ABORTING, lambda: heard.set())
            print("listening")
            await heard.wait()
            await Actor.exit(exit_code={code})
        """
    )
    run.container.wait_for_output("listening")
    run.abort(gracefully=True, notice=30.0)
    assert not run.container.killed
    assert (run.status, run.describe()["exitCode"]) == ("ABORTED", code)
    assert run.resurrect().alive
    assert run.status == "RUNNING"


def test_a_run_is_aborting_until_its_process_has_ended(start: StartActor) -> None:
    """It has not ended, so it cannot be resurrected; a reboot does nothing any more."""
    run = start(
        """
        async with Actor:
            Actor.on(Event.ABORTING, lambda: print("heard aborting"))
            print("listening")
            await asyncio.Event().wait()
        """
    )
    first = run.container
    first.wait_for_output("listening")
    aborting = threading.Thread(
        target=run.abort, kwargs={"gracefully": True, "notice": 30.0}, name="abort"
    )
    aborting.start()
    first.wait_for_output("heard aborting")
    assert (run.status, run.describe()["finishedAt"]) == ("ABORTING", None)
    with pytest.raises(ApiError, match="still running"):
        run.resurrect()
    run.reboot()
    assert run.container is first
    first.kill()
    aborting.join()
    assert run.status == "ABORTED"
    assert run.describe()["finishedAt"]


def test_a_crawler_runs_on_the_platform(start: StartActor) -> None:
    """A Crawlee crawler with the platform's queue and dataset handles every request once.

    One after the other: the SDK's client lets a request that is given back be taken by another
    task before the platform knows, and "handled" may then arrive before "given back".
    """
    run = start(
        """
        from crawlee import ConcurrencySettings
        from crawlee.crawlers import BasicCrawler, BasicCrawlingContext
        async with Actor:
            crawler = BasicCrawler(
                max_request_retries=1,
                concurrency_settings=ConcurrencySettings(max_concurrency=1, desired_concurrency=1),
            )
            @crawler.router.default_handler
            async def handle(context: BasicCrawlingContext) -> None:
                number = int(context.request.url.rpartition("/")[2])
                if number == 3 and context.request.retry_count == 0:
                    raise ValueError("once")
                if number < 5:
                    await context.add_requests([f"http://local/{number + 1}", "http://local/0"])
                await context.push_data({"number": number})
            await crawler.run(["http://local/0"])
        """
    )
    assert run.wait() == 0, run.output
    assert sorted(item["number"] for item in run.dataset.items) == [0, 1, 2, 3, 4, 5]
    assert len(run.queue.requests) == 6
    assert all(request.get("handledAt") for request in run.queue.requests), run.output


def test_a_locked_request_is_not_given_to_another_client(platform: LocalPlatform) -> None:
    """Heads are locked by client key; locks can be prolonged and given back."""
    queue = platform.queues.create()
    api = client(platform)
    one = api.request_queue(queue.id, client_key="one")
    two = api.request_queue(queue.id, client_key="two")
    for key in "abc":
        one.add_request({"unique_key": key, "url": f"http://local/{key}"})
    lock = timedelta(seconds=60)
    head = one.list_and_lock_head(lock_duration=lock, limit=2)
    assert [item.unique_key for item in head.items] == ["a", "b"]
    rest = two.list_and_lock_head(lock_duration=lock)
    assert [item.unique_key for item in rest.items] == ["c"]
    assert one.prolong_request_lock(head.items[0].id, lock_duration=lock) is not None
    one.delete_request_lock(head.items[0].id)
    assert [item.unique_key for item in two.list_head().items] == ["a", "c"]


def test_faults_meet_the_nth_request_that_matches(platform: LocalPlatform) -> None:
    """Only the second write fails, and nothing of it is applied."""
    store = platform.stores.create()
    records = client(platform).key_value_store(store.id)
    fault = platform.traffic.fault("PUT", "*/records/*", nth=2, status=503)
    records.set_record("one", 1)
    with pytest.raises(ApifyApiError) as refused:
        records.set_record("two", 2)
    records.set_record("three", 3)
    assert refused.value.status_code == 503
    assert fault.hits == 1
    assert sorted(store.records) == ["one", "three"]
    assert [call.status for call in platform.traffic.calls_to("PUT")] == [201, 503, 201]
    assert [call.applied for call in platform.traffic.calls_to("PUT")] == [True, False, True]


@pytest.mark.parametrize("lose_answer", [True, False])
def test_a_cut_connection_may_hide_a_write_that_was_applied(
    platform: LocalPlatform, lose_answer: bool
) -> None:
    """The client sees the same error whether the write was applied or not."""
    store = platform.stores.create()
    platform.traffic.fault("PUT", cut=True, lose_answer=lose_answer)
    with pytest.raises(Exception, match=r"(?i)connect|closed|protocol|error|eof"):
        client(platform).key_value_store(store.id).set_record("key", 1)
    assert ("key" in store.records) == lose_answer
    assert {call.status for call in platform.traffic.calls_to("PUT")} == {None}


def test_a_held_write_is_applied_late(platform: LocalPlatform) -> None:
    """A client that gives up on a held request cannot take it back."""
    store = platform.stores.create()
    records = client(platform).key_value_store(store.id)
    fault = platform.traffic.fault("PUT", hold=True, nth=1)
    with pytest.raises(Exception, match=r"(?i)time"):
        records.set_record("key", "old", timeout=timedelta(seconds=0.2))
    fault.wait_hit()
    records.set_record("key", "new")
    fault.release()
    platform.traffic.wait_for_calls("PUT", count=2)
    assert store.records["key"].value == b"old"


def test_the_sdk_survives_faults_by_its_own_retries(
    platform: LocalPlatform, start: StartActor
) -> None:
    """Some failing writes do not disturb an Actor, and the log counts every request."""
    fault = platform.traffic.fault("PUT", "*/records/out", times=2, status=500)
    run = start(
        """
        async with Actor:
            await Actor.set_value("out", 1)
        """
    )
    assert run.wait() == 0, run.output
    assert fault.hits == 2
    assert run.store.get_json("out") == 1
    assert len(platform.traffic.calls_to("PUT", "*/records/out")) == 3


def test_storages_are_found_by_id_name_and_owner(platform: LocalPlatform) -> None:
    """A store answers to its id, its name and `username~name`."""
    stores: Storages[KeyValueStore] = platform.stores
    made = stores.create("mine")
    assert {stores.find(each) for each in (made.id, "mine", "local~mine")} == {made}
    assert stores.find("other") is None


def test_leaving_the_platform_kills_its_runs(tmp_path: Path) -> None:
    """No process outlives the platform."""
    with LocalPlatform() as platform:
        run = platform.start_run([sys.executable, "-c", "import time; time.sleep(600)"])
        assert run.container.alive
    assert not run.container.alive


RECORD = (
    "PUT /v2/key-value-stores/{store}/records/key HTTP/1.1\r\nHost: x\r\n"
    "Authorization: Bearer {token}\r\n"
)
LENGTH = RECORD + 'Content-Length: 14\r\n\r\n{{"page": 12345}}'
CHUNKED = RECORD + 'Transfer-Encoding: chunked\r\n\r\n7\r\n{{"page"\r\n7\r\n: 1234}}\r\n0\r\n\r\n'


@pytest.mark.parametrize("form", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_a_request_that_is_cut_short_stores_nothing(platform: LocalPlatform, form: str) -> None:
    """At whatever byte the client is killed: what arrived may be JSON, and is not what was sent."""
    store = platform.stores.create()
    request = form.format(store=store.id, token=platform.token).encode()
    if "chunked" not in form:
        request = request.replace(b"Content-Length: 14", b"Content-Length: 15")
    address = ("127.0.0.1", int(platform.url.rpartition(":")[2]))
    for end in range(request.index(b"Bearer"), len(request)):
        with socket.create_connection(address, timeout=30) as connection:
            connection.sendall(request[:end])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):  # until the server is done with it
                pass
        assert not store.records
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(request)
        assert connection.recv(4096).startswith(b"HTTP/1.1 201")
    assert store.get_json("key")

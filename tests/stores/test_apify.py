"""The store on Apify's platform, over real HTTP with real faults."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import textwrap
import threading
import time

import pytest

import autostate
from autostate import hub
from autostate.errors import StoreError, StoreUnavailableError
from autostate.journal.head import BELL
from autostate.stores import Store, open_store
from autostate.stores.apify_platform import AT_ONCE, ApifyStore
from autostate.testing import KeyValueStore, LocalPlatform
from autostate.testing.wire import Request, Response
from tests.conformance import store_kit
from tests.stores.apify_stores import USES

pytestmark = pytest.mark.usefixtures("forked_actors")


@pytest.fixture
def remote(platform: LocalPlatform) -> KeyValueStore:
    """The default store as the platform has it."""
    found = platform.stores.find(os.environ["ACTOR_DEFAULT_KEY_VALUE_STORE_ID"])
    assert found is not None
    return found


def test_small_json_lies_on_the_platform_as_it_is(store: Store, remote: KeyValueStore) -> None:
    """What the Console shows is the record itself, as JSON."""
    store.write({"head": b'{"autostate":1}'})
    record = remote.records["head"]
    assert (record.body, record.content_type) == (b'{"autostate":1}', "application/json")
    assert store.read("head") == b'{"autostate":1}'


def test_large_records_are_compressed_the_same_way_every_time(
    store: Store, remote: KeyValueStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated write sends identical bytes, which a late duplicate cannot turn into others."""
    value = b'{"body":"' + b"state " * 1000 + b'"}'
    store.write({"one": value})
    monkeypatch.setattr(time, "time", lambda: 4e9)  # gzip would put the time into its header
    store.write({"two": value})
    monkeypatch.undo()
    assert remote.records["one"].body == remote.records["two"].body
    assert gzip.decompress(remote.records["one"].body) == value
    assert store.read("one") == value


def test_what_the_sdk_wrote_can_be_read_and_the_other_way_round(
    platform: LocalPlatform, store: Store, remote: KeyValueStore
) -> None:
    """Records go both ways between the real SDK and the store, brotli and gzip undone."""
    store.write({"ours": b'{"padding":"' + b"x" * 3000 + b'"}'})
    script = """
        import asyncio
        from apify import Actor
        async def main():
            async with Actor:
                store = await Actor.open_key_value_store()
                assert await store.get_value("ours") == {"padding": "x" * 3000}
                await store.set_value("theirs", {"padding": "y" * 3000})
        asyncio.run(main())
    """
    env = {"ACTOR_DEFAULT_KEY_VALUE_STORE_ID": remote.id}
    run = platform.start_run([sys.executable, "-c", textwrap.dedent(script)], env=env)
    assert run.wait() == 0, run.output
    read = store.read("theirs")
    assert read is not None
    assert json.loads(read) == {"padding": "y" * 3000}


def test_a_named_store_is_found_or_made_at_its_first_use(platform: LocalPlatform) -> None:
    """Opening sends nothing; two stores of one name are the same; the run's own is another."""
    one, two = open_store("apify:kept"), open_store("apify:kept")
    assert platform.traffic.calls == []
    one.write({"key": b"{}"})
    assert two.read("key") == b"{}"
    own = open_store("apify:")
    assert own.read("key") is None
    own.close()
    found = platform.stores.find("kept")
    assert found is not None
    assert list(found.records) == ["key"]
    one.close()
    two.close()


def test_a_listing_goes_through_all_pages(store: Store, remote: KeyValueStore) -> None:
    """Thousands of keys come back, sorted, and only those with the prefix."""
    wanted = [f"autostate-{number:05d}" for number in range(2500)]
    for key in [*wanted, "INPUT", "zzz"]:
        remote.set_json(key, 1)
    assert store.list("autostate-") == wanted
    assert store.list("nothing") == []


@pytest.mark.parametrize("use", ["read", "write", "delete", "list"])
def test_a_platform_in_trouble_is_unavailable(
    platform: LocalPlatform, store: Store, use: str
) -> None:
    """Server errors may pass: the caller may try again. No write is sent twice."""
    for status in (408, 500, 502, 503, 504):
        calls = len(platform.traffic.calls)
        platform.traffic.fault(status=status)
        with pytest.raises(StoreUnavailableError, match=str(status)):
            USES[use](store)
        assert len(platform.traffic.calls) == calls + (3 if use in ("read", "list") else 1)
        platform.traffic.heal()
        USES[use](store)


@pytest.mark.parametrize("use", ["read", "write", "delete", "list"])
def test_what_was_refused_for_its_rate_is_sent_again(
    platform: LocalPlatform, store: Store, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not carried out. Taken for an unknown outcome, it would cost further requests."""
    monkeypatch.setattr("autostate.stores.apify_platform._REFUSED", 0.001)
    USES[use](store)
    calls = len(platform.traffic.calls)
    platform.traffic.fault(status=429, times=5)
    USES[use](store)
    assert len(platform.traffic.calls) == calls + 6


@pytest.mark.parametrize(("status", "advice"), [(401, "APIFY_TOKEN"), (403, "give it access")])
def test_a_refusal_is_final_and_says_what_to_do(
    platform: LocalPlatform, store: Store, status: int, advice: str
) -> None:
    """A bad token or missing rights will not get better by trying."""
    platform.traffic.fault(status=status)
    for use in USES.values():
        with pytest.raises(StoreError, match=advice) as refused:
            use(store)
        assert not isinstance(refused.value, StoreUnavailableError)


def test_a_store_that_is_gone_is_an_error_not_an_empty_one(platform: LocalPlatform) -> None:
    """A deleted store must not look like a state that was never saved."""
    store = ApifyStore(platform.url, platform.token, "apify:", store_id="gone", name=None)
    with pytest.raises(StoreError, match="check the store's name or id"):
        store.list("autostate-")
    with pytest.raises(StoreError, match="404"):
        store.write({"key": b"{}"})
    store.close()


def test_a_cut_connection_leaves_the_outcome_open(
    platform: LocalPlatform, store: Store, remote: KeyValueStore
) -> None:
    """Applied or not, it is unavailable, sent only once, and the next request works."""
    store.write({"warm": b"{}"})  # the connection is kept, and found good
    lost = platform.traffic.fault("PUT", lose_answer=True, nth=1)
    with pytest.raises(StoreUnavailableError):
        store.write({"applied": b"{}"})
    cut = platform.traffic.fault("PUT", cut=True, nth=1)
    with pytest.raises(StoreUnavailableError):
        store.write({"lost": b"{}"})
    store.write({"after": b"{}"})
    assert (lost.hits, cut.hits) == (1, 1)
    assert sorted(remote.records) == ["after", "applied", "warm"]


def test_a_connection_that_the_server_closed_is_not_used(
    platform: LocalPlatform, store: Store
) -> None:
    """The server may close an idle connection at any time: that costs no request."""
    store.read("key")
    platform._http._server.hang_up()
    assert store.read("key") is None
    assert len(platform.traffic.calls) == 2


def test_the_timeout_is_for_each_request(
    platform: LocalPlatform, store: Store, remote: KeyValueStore
) -> None:
    """What is not answered in time ends a write of several records; what follows is not sent."""
    fault = platform.traffic.fault("PUT", "*/slow", hold=True)
    with pytest.raises(StoreUnavailableError, match="setting flush_timeout"):
        store.write({"fast": b"{}", "slow": b"{}", "never": b"{}"}, timeout=0.3)
    assert list(remote.records) == ["fast"]
    fault.release()
    platform.traffic.wait_for_calls("PUT", "*/slow")
    assert sorted(remote.records) == ["fast", "slow"]
    with pytest.raises(StoreUnavailableError):
        store.write({"late": b"{}"}, timeout=0.0)
    assert "late" not in remote.records


def test_an_unreachable_platform_is_unavailable(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server at all: try again later."""
    monkeypatch.setenv("APIFY_API_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError):
        open_store("apify:").read("key")


def test_an_answer_that_is_not_the_apis_is_unavailable(
    platform: LocalPlatform, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's page, or an answer that claims a compression it does not have."""
    zipped = {"content-encoding": "gzip"}
    strange = [
        ("list", Response(200, b"<html>welcome</html>")),
        ("list", Response(200, b'{"data": 1}')),
        ("read", Response(200, b"not gzip", zipped)),
        ("read", Response(200, gzip.compress(b"cut" * 999)[:-9], zipped)),
        ("read", Response(200, b"?", {"content-encoding": "zstd"})),
    ]
    for use, answer in strange:
        monkeypatch.setattr(platform, "_answer", lambda _, answer=answer: answer)
        with pytest.raises(StoreUnavailableError):
            USES[use](store)


def test_a_record_is_read_from_where_the_api_sends_us_without_the_token(
    platform: LocalPlatform, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect to a file server is followed; the token stays with the API."""
    seen: list[Request] = []

    def serve(request: Request) -> Response:
        seen.append(request)
        if not request.path.startswith("/v2"):
            return Response(200, b"{}")
        location = platform.url.replace("127.0.0.1", "localhost") + "/files/1"
        return Response(302, b"", {"location": location})

    monkeypatch.setattr(platform, "_answer", serve)
    assert store.read("key") == b"{}"
    assert ["authorization" in request.headers for request in seen] == [True, False]


def test_messages_hold_no_values(platform: LocalPlatform, store: Store) -> None:
    """Neither the record nor the token shows in an error."""
    platform.traffic.fault(status=500)
    with pytest.raises(StoreUnavailableError) as failed:
        store.write({"key": b'{"cookie":"secret-value"}'})
    shown = f"{failed.value!r} {failed.value.__cause__!r}"
    assert "secret-value" not in shown
    assert platform.token not in shown


def test_a_forked_child_can_use_a_store_of_its_own(store: Store, remote: KeyValueStore) -> None:
    """After a fork a new store works in the child, and the old one in the parent."""
    store.write({"parent": b"{}"})
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        own = open_store("apify:")
        own.write({"child": b"{}"})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.write({"after": b"{}"})
    assert sorted(remote.records) == ["after", "child", "parent"]


def test_the_store_works_in_atexit(platform: LocalPlatform) -> None:
    """The last save may come when threads can no longer be started."""
    script = """
        import atexit
        from autostate.stores import open_store
        store = open_store("apify:")
        atexit.register(lambda: store.write({"last": b"{}"}))
    """
    run = platform.start_run([sys.executable, "-c", textwrap.dedent(script)])
    assert run.wait() == 0, run.output
    assert list(run.store.records) == ["last"]


@pytest.mark.parametrize("lives", [1, 2])
def test_the_first_save_takes_no_more_requests_than_later_ones(
    platform: LocalPlatform, lives: int
) -> None:
    """Also where nothing is stored yet: the state is claimed when the first object is created."""
    for _ in range(lives):
        requests = []
        with autostate.open("apify:", debounce=3600, migrating_debounce=3600) as manager:
            state = autostate.PersistedDict("state")
            hub.migrating.send(None, time_remaining=60.0)  # nothing else is sent meanwhile
            for number in range(4):
                before = len(platform.traffic.calls)
                state["n"] = number
                manager.flush()
                requests.append(len(platform.traffic.calls) - before)
        # The record, and a look who owns the state; then also the claim, as the head is renamed.
        assert requests == [2, 3, 3, 2]


def test_flush_asks_again_who_owns_the_state(platform: LocalPlatform) -> None:
    """An answer that is missing, or is an error, for as long as it has time."""
    with autostate.open("apify:", debounce=3600) as manager:
        state = autostate.PersistedDict("state", n=0)
        manager.flush()
        state["n"] = 1
        bell = f"*/{BELL}"
        platform.traffic.fault("GET", bell, status=503, times=2)
        platform.traffic.fault("GET", bell, cut=True, nth=1)
        before = len(platform.traffic.calls_to("GET", bell))
        manager.flush()
        assert len(platform.traffic.calls_to("GET", bell)) == before + 4
        platform.traffic.fault("GET", bell, status=503)
        state["n"] = 2
        with pytest.raises(autostate.FlushError, match="everything is written, but"):
            manager.flush(timeout=0.3)
        platform.traffic.heal()
        manager.flush()


def test_opening_an_apify_store_imports_no_apify(platform: LocalPlatform) -> None:
    """Neither form of the store loads the SDK or its client."""
    script = """
        import os, sys
        from autostate.stores import open_store
        open_store("apify:").list("")
        del os.environ["APIFY_IS_AT_HOME"]
        open_store("apify:").list("")
        loaded = {"apify", "apify_client", "crawlee", "impit"} & set(sys.modules)
        assert not loaded, loaded
    """
    run = platform.start_run([sys.executable, "-c", textwrap.dedent(script)])
    assert run.wait() == 0, run.output


@pytest.mark.parametrize("name", ["-", "a/b", "..", "a_b", "ends-", "x" * 64])
def test_a_name_that_no_store_can_have_is_refused(name: str) -> None:
    """What the platform would refuse is refused locally too."""
    with pytest.raises(ValueError, match="at most 63"):
        open_store(f"apify:{name}")


def test_missing_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the platform without its variables the error says which one is missing."""
    monkeypatch.setenv("APIFY_IS_AT_HOME", "true")
    with pytest.raises(StoreError, match="ACTOR_DEFAULT_KEY_VALUE_STORE_ID"):
        open_store("apify:")
    monkeypatch.setenv("APIFY_DEFAULT_KEY_VALUE_STORE_ID", "by-its-old-name")
    with pytest.raises(StoreError, match="APIFY_TOKEN"):
        open_store("apify:")


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
@pytest.mark.parametrize("url", ["apify:", "apify:kept"])
def test_the_platform_conforms(platform: LocalPlatform, url: str, check: store_kit.Check) -> None:
    """The store over HTTP keeps every promise of a store."""
    check(lambda: open_store(url))


def test_many_records_are_read_at_the_same_time(
    platform: LocalPlatform, store: Store, remote: KeyValueStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, whichever is missing; and a few are, for which one connection has to do."""
    keys = [f"key-{number:02}" for number in range(1 + 3 * AT_ONCE)]
    store.write({key: key.encode() for key in keys if key != "key-05"})
    expected = [None if key == "key-05" else key.encode() for key in keys]
    together = threading.Barrier(AT_ONCE)
    answer, threads = platform._answer, set()

    def serve(request: Request) -> Response:
        threads.add(threading.get_ident())
        if not request.path.endswith("key-00"):  # the first one finds the store
            together.wait(30.0)
        return answer(request)

    with monkeypatch.context() as patch:
        patch.setattr(platform, "_answer", serve)
        assert [*store.read_many(keys)] == expected
    assert len(threads) == 1 + AT_ONCE
    assert [*store.read_many(keys)] == expected, "on the same connections"
    assert [*store.read_many(keys[:3])] == expected[:3]
    assert [*store.read_many([])] == []


def test_a_reading_of_many_records_may_fail_or_be_left(
    platform: LocalPlatform, store: Store, remote: KeyValueStore
) -> None:
    """Where it is; the store goes on, and leaves no thread behind."""
    keys = [f"key-{number:02}" for number in range(20)]
    store.write(dict.fromkeys(keys, b"{}"))
    fault = platform.traffic.fault("GET", "*/key-10", status=500, times=3)
    found = store.read_many(keys)
    assert [next(found) for _ in range(10)] == [b"{}"] * 10
    with pytest.raises(StoreUnavailableError, match="500"):
        next(found)
    assert fault.hits == 3
    left = store.read_many(keys)
    assert next(left) == b"{}"
    left.close()  # type: ignore[attr-defined]
    begun = store.read_many(keys)
    assert [next(begun), next(begun)] == [b"{}"] * 2
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        list(begun)

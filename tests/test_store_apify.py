"""The Apify stores: over real HTTP with real faults, and in the folder the real SDK reads."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import autostate
from autostate import hub
from autostate.errors import DamagedStoreError, StoreError, StoreUnavailableError
from autostate.stores import Store, open_store
from autostate.stores.apify import ApifyStore, local_folder, purges_on_start
from autostate.stores.apify_folder import ApifyFolderStore
from autostate.stores.apify_record import read_record
from autostate.testing import KeyValueStore, LocalPlatform
from autostate.testing.wire import Request, Response
from tests.campaign import LONG
from tests.conformance import store_kit
from tests.peers.forked import ProgramServer

pytestmark = pytest.mark.usefixtures("forked_actors")


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
    """A platform on which this process believes to run."""
    with LocalPlatform() as platform:
        for name, value in platform.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ACTOR_DEFAULT_KEY_VALUE_STORE_ID", platform.stores.create().id)
        yield platform


@pytest.fixture
def remote(platform: LocalPlatform) -> KeyValueStore:
    """The default store as the platform has it."""
    found = platform.stores.find(os.environ["ACTOR_DEFAULT_KEY_VALUE_STORE_ID"])
    assert found is not None
    return found


@pytest.fixture
def store(platform: LocalPlatform) -> Iterator[Store]:
    """The default store as the library sees it."""
    store = open_store("apify:")
    assert isinstance(store, ApifyStore)
    yield store
    store.close()


@pytest.fixture
def folder() -> ApifyFolderStore:
    """The local default store."""
    store = open_store("apify:")
    assert isinstance(store, ApifyFolderStore)
    return store


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
    """Rate limits and server errors may pass: the caller may try again. No write is sent twice."""
    for status in (408, 429, 500, 502, 503, 504):
        calls = len(platform.traffic.calls)
        platform.traffic.fault(status=status)
        with pytest.raises(StoreUnavailableError, match=str(status)):
            USES[use](store)
        assert len(platform.traffic.calls) == calls + (3 if use in ("read", "list") else 1)
        platform.traffic.heal()
        USES[use](store)


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
        monkeypatch.setattr(platform._http._server, "answer", lambda _, answer=answer: answer)
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

    monkeypatch.setattr(platform._http._server, "answer", serve)
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


def listings(platform: LocalPlatform) -> list[Any]:
    """The requests for keys."""
    return platform.traffic.calls_to("GET", "*/keys")


def test_flush_asks_again_who_owns_the_state(platform: LocalPlatform) -> None:
    """An answer that is missing, or is an error, for as long as it has time."""
    with autostate.open("apify:", debounce=3600) as manager:
        state = autostate.PersistedDict("state", n=0)
        manager.flush()
        state["n"] = 1
        platform.traffic.fault("GET", "*/keys", status=503, times=2)
        platform.traffic.fault("GET", "*/keys", cut=True, nth=1)
        before = len(listings(platform))
        manager.flush()
        assert len(listings(platform)) == before + 4
        platform.traffic.fault("GET", "*/keys", status=503)
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


def test_the_sdk_reads_the_local_records(
    folder: ApifyFolderStore, tmp_path: Path, sdk: Sdk
) -> None:
    """JSON comes back as JSON, other bytes as bytes, keys are listed, deleted ones are gone."""
    odd_key = "it's-(odd)!_.key"
    folder.write({"json": b'{"n":[1,2]}', "part": b'{"n":[1', odd_key: b"{}", "gone": b"{}"})
    folder.write({"json": b'{"n":3}'}, ["gone", "never-there"])
    read = sdk(
        f"""
        store = await Actor.open_key_value_store()
        keys = sorted([item.key async for item in store.iterate_keys()])
        print(keys, [await store.get_value(key) for key in keys])
        assert not await store.record_exists("gone")
        await store.set_value("theirs", {{"n": 4}})
        await store.set_value({odd_key!r}, {{"n": 5}})
        """
    )
    assert read == f"{sorted(['json', 'part', odd_key])} [{{}}, {{'n': 3}}, b'{{\"n\":[1']"
    assert json.loads(folder.read("theirs") or b"") == {"n": 4}
    assert json.loads(folder.read(odd_key) or b"") == {"n": 5}
    assert folder.list("") == sorted(["json", "part", odd_key, "theirs"])


@pytest.mark.parametrize("variable", ["APIFY_LOCAL_STORAGE_DIR", "CRAWLEE_STORAGE_DIR"])
def test_a_named_local_store_is_the_sdks(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sdk: Sdk
) -> None:
    """Folder and name are the SDK's, and the purge leaves it alone."""
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    open_store("apify:kept").write({"key": b'{"n":1}'})
    purged = sdk(
        """
        store = await Actor.open_key_value_store(name="kept")
        print(store.name, await store.get_value("key"))
        """,
        APIFY_PURGE_ON_START="1",
    )
    assert purged == "kept {'n': 1}"
    assert (tmp_path / "elsewhere" / "key_value_stores" / "kept" / "key").exists()


@pytest.mark.parametrize(
    ("variables", "purges"),
    [
        ({}, True),
        ({"APIFY_PURGE_ON_START": "0"}, False),
        ({"CRAWLEE_PURGE_ON_START": "false"}, False),
        ({"crawlee_purge_on_start": "off"}, False),
        ({"APIFY_PURGE_ON_START": "yes", "CRAWLEE_PURGE_ON_START": "0"}, True),
    ],
)
def test_the_purge_is_foretold(
    variables: dict[str, str],
    purges: bool,
    folder: ApifyFolderStore,
    monkeypatch: pytest.MonkeyPatch,
    sdk: Sdk,
) -> None:
    """The SDK wipes the default store exactly when we say so."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    folder.write({"key": b"{}", "INPUT": b"{}"})
    assert purges_on_start() == purges
    sdk("pass", **({"APIFY_PURGE_ON_START": "unset"} | variables))
    assert folder.list("") == (["INPUT"] if purges else ["INPUT", "key"])


def test_a_crash_between_any_two_steps_leaves_the_old_record_or_the_new(
    folder: ApifyFolderStore, monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    """The process ends before lines of a put and a delete in turn: each, in a long run."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a process ends here, not the power
    old, new = b'{"n":1}', b'{"n":2,"more":true}'
    seen = set()
    finished = False
    stride = 1 if LONG else 5
    for step in range(rng.randrange(stride), 5000, stride):
        shutil.rmtree(folder.folder, ignore_errors=True)
        folder.write({"replaced": old, "deleted": old})
        child = os.fork()
        if child == 0:
            crash_after(step)
            folder.write({"replaced": new, "made": new}, ["deleted"])
            os._exit(0)
        finished = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        found = [folder.read(key) for key in ("replaced", "made", "deleted")]
        seen.add(tuple(found))
        assert found[0] in {old, new}
        assert found[1] in {None, new}
        assert found[2] in {old, None}
        assert found[1] is None or found[0] == new, "a later put before an earlier one"
        assert found[2] is not None or found[1] == new, "a delete before a put"
        for metadata in folder.folder.glob("*.__metadata__.json"):
            value = metadata.with_name(metadata.name.removesuffix(".__metadata__.json"))
            assert value.exists(), "the SDK would list a record that is not there"
        if finished:
            break
    assert finished
    assert len(seen) == 4, "not every intermediate state was met"


def test_a_value_or_metadata_alone_is_no_record(folder: ApifyFolderStore, sdk: Sdk) -> None:
    """Half a record is none, for the SDK and for us, and writing it mends it."""
    folder.write({"a": b"{}", "b": b"{}"})
    (folder.folder / "a.__metadata__.json").unlink()
    (folder.folder / "b").unlink()
    assert (folder.read("a"), folder.read("b"), folder.list("")) == (None, None, [])
    assert sdk("print(await Actor.get_value('a'), await Actor.get_value('b'))").endswith(
        "None None"
    )
    folder.write({"a": b'{"n":1}'})
    assert folder.read("a") == b'{"n":1}'


def test_what_killed_processes_left_aside_is_removed(folder: ApifyFolderStore) -> None:
    """Old leftovers go at the first write; young ones may belong to a living process."""
    folder.write({"key": b"{}"})
    for name, age in ((".old.autostate-tmp", 7200), (".young.autostate-tmp", 60)):
        path = folder.folder / name
        path.write_bytes(b"left")
        os.utime(path, (time.time() - age, time.time() - age))
    open_store("apify:").write({"key": b"{}"})
    assert {path.name for path in folder.folder.glob(".*tmp")} == {".young.autostate-tmp"}


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    """A file where the folder should be: trying again will not help."""
    (tmp_path / "file").write_text("in the way")
    store = ApifyFolderStore(tmp_path / "file" / "default", "apify:", 9)
    for use in (USES["write"], USES["list"]):
        with pytest.raises(StoreError, match="make the folder") as refused:
            use(store)
        assert not isinstance(refused.value, StoreUnavailableError)


# -- a folder to which somebody else can write -----------------------------------------------------


def plant_link(path: Path) -> None:
    """A symbolic link to a file that holds what a record could."""
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_bytes(b'{"secret":1}')
    path.symlink_to(elsewhere)


def plant_socket(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(os.path.relpath(path))


def plant_much(path: Path) -> None:
    """A file of a terabyte, which takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (plant_link, "is a symbolic link, which is not followed"),
    "loop": (lambda path: path.symlink_to(path.name), "is a symbolic link"),
    "pipe": (os.mkfifo, "is no file"),
    "socket": (plant_socket, "is no file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link"),
    "folder": (Path.mkdir, "is no file"),
    "much": (plant_much, "has 1,099,511,627,776 bytes"),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("suffix", ["", ".__metadata__.json"])
def test_what_is_planted_for_a_record_is_not_opened(
    folder: ApifyFolderStore, kind: str, suffix: str
) -> None:
    """No link is followed, nothing waits for a pipe, nothing is read that is too large."""
    plant, message = PLANTED[kind]
    folder.write({"key": b"{}", "other": b"{}"})
    path = folder.folder / f"key{suffix}"
    path.unlink()
    plant(path)
    for read in (folder.read, lambda key: read_record(None, key)):
        if suffix and read != folder.read:
            continue  # a value is one without metadata, too
        with pytest.raises(DamagedStoreError, match=message) as refused:
            read("key")
        assert str(path) in str(refused.value)
        assert "move it away" in str(refused.value)
    assert folder.read("other") == b"{}"
    if kind == "folder":
        return
    folder.write({"key": b'{"new":1}'})
    assert folder.read("key") == b'{"new":1}'
    assert stat.S_ISREG(path.lstat().st_mode)
    elsewhere = folder.folder.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == b'{"secret":1}'
    folder.write({}, ["key"])
    assert folder.list("") == ["other"]


def test_the_folder_of_a_store_may_be_a_link(folder: ApifyFolderStore, tmp_path: Path) -> None:
    """Users put `storage` on another disk."""
    other = tmp_path / "disk"
    other.mkdir()
    folder.folder.parent.mkdir(parents=True)
    folder.folder.symlink_to(other)
    folder.write({"key": b"{}"})
    assert (folder.read("key"), folder.list("")) == (b"{}", ["key"])
    assert (other / "key").exists()


def test_names_of_files_that_are_no_keys_are_not_listed(folder: ApifyFolderStore) -> None:
    """Each record is listed once, under the key by which it is read."""
    folder.write({"autostate-a": b"{}"})
    for name in (b"%61utostate-a", b"autostate-\xff", b"autostate-%FF"):
        for suffix in (b"", b".__metadata__.json"):
            (folder.folder / os.fsdecode(name + suffix)).write_bytes(b"{}")
    assert folder.list("autostate-") == ["autostate-a"]


def test_a_full_disk_is_unavailable_and_leaves_the_old_record() -> None:
    """What a full disk refuses may work later; nothing half-written is left."""
    script = """
        import resource, signal
        from autostate.errors import StoreUnavailableError
        from autostate.stores import open_store
        store = open_store("apify:")
        store.write({"key": b"{}"})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            store.write({"key": b"x" * 100_000})
        except StoreUnavailableError:
            print("unavailable")
        assert store.read("key") == b"{}"
        assert not list(store.folder.glob(".*tmp"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "unavailable\n", done.stderr


def test_the_local_folder_is_fixed_when_the_store_is_opened(
    folder: ApifyFolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its working directory goes on saving where it began."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder.write({"key": b"{}"})
    assert (tmp_path / "storage" / "key_value_stores" / "default" / "key").exists()
    assert local_folder("x") == elsewhere / "storage" / "key_value_stores" / "x"


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
def test_the_folder_conforms(check: store_kit.Check) -> None:
    """The local store keeps every promise of a store."""
    check(lambda: open_store("apify:"))


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
@pytest.mark.parametrize("url", ["apify:", "apify:kept"])
def test_the_platform_conforms(platform: LocalPlatform, url: str, check: store_kit.Check) -> None:
    """The store over HTTP keeps every promise of a store."""
    check(lambda: open_store(url))


USES: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read("key"),
    "write": lambda store: store.write({"key": b"{}"}),
    "delete": lambda store: store.write({}, ["key"]),
    "list": lambda store: store.list("autostate-"),
}


Sdk = Callable[..., str]
"""Runs something with the real SDK in a process of its own, and gives its last line."""


@pytest.fixture
def sdk(program_server: ProgramServer) -> Sdk:
    """The SDK, with variables of the environment; "unset" stands for one that is not there."""

    def run(body: str, **variables: str) -> str:
        main = textwrap.indent(textwrap.dedent(body), "        ")
        script = (
            "import asyncio\nfrom apify import Actor\nasync def main():\n"
            f"    async with Actor:\n{main}\nasyncio.run(main())\n"
        )
        env = {**os.environ, "APIFY_PURGE_ON_START": "0", **variables}
        if env["APIFY_PURGE_ON_START"] == "unset":
            del env["APIFY_PURGE_ON_START"]
        status, output, errors = program_server.run([sys.executable, "-c", script], env, Path.cwd())
        assert status == 0, errors
        lines = output.strip().splitlines()
        return lines[-1] if lines else ""

    return run


def crash_after(lines: int) -> None:
    """End this process before the nth line that it runs in the store or below it."""
    left = lines

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        code = frame.f_code
        changes = code.co_name in {"write_bytes", "replace", "unlink", "mkdir"}
        if not (code.co_filename.endswith("apify_folder.py") or changes):
            return None
        left -= 1
        if left < 0:
            os._exit(1)
        return trace

    sys.settrace(trace)

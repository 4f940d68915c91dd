"""What only S3 does, on a real server that speaks its protocol."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

import autostate
from autostate.errors import DamagedStoreError, FencedError, StoreError, StoreUnavailableError
from autostate.settings import Settings
from autostate.stores import open_store
from autostate.stores.indexed import ABANDONED, INDEX, MOST, OBJECTS
from tests.programs import run_python
from tests.servers import need
from tests.servers.conftest import new_state
from tests.servers.kinds import PACKAGES
from tests.servers.proxy import check_interrupt, check_timeouts
from tests.servers.seaweed import Seaweed

pytestmark = pytest.mark.servers
LINE = "shared-0-00000001-a-00000000-0000"
"""A key of a record that lies apart."""


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A server of this file's own."""
    need(*PACKAGES["seaweed"])
    made = Seaweed(tmp_path_factory.mktemp("seaweed"))
    made.start()
    with closing(open_store(made.url("first"))) as store:
        store.list("")  # the client begins threads, which stay
    yield made
    made.remove()


@pytest.fixture
def url(seaweed: Seaweed) -> str:
    """The URL of a state of the test's own."""
    return seaweed.url(new_state())


def test_a_missing_bucket_is_no_empty_state(seaweed: Seaweed, url: str) -> None:
    """Reading says so; when the bucket is there again, everything goes on."""
    missing = url.replace("s3://states", "s3://nobody")
    with closing(open_store(missing)) as store:
        for read in (store.read, store.list):
            for key in ("record", LINE):
                with pytest.raises(StoreUnavailableError, match="is no such bucket") as caught:
                    read(key)
                assert caught.value.lasting


def test_a_deleted_bucket_gets_everything_again(seaweed: Seaweed, url: str) -> None:
    """It is said; nothing is lost while the program lives."""
    bucket = f"b{time.time_ns()}"
    seaweed.make_bucket(bucket)
    url = url.replace("s3://states", f"s3://{bucket}")
    with autostate.open(url, flush_timeout=5, lease=1):
        pages = autostate.PersistedDict[str, int]("pages", first=1)
        autostate.flush()
        seaweed.delete_bucket(bucket)
        pages["second"] = 2
        with pytest.raises(autostate.FlushError):
            autostate.flush(timeout=1)
        seaweed.make_bucket(bucket)
        pages["third"] = 3
        autostate.flush()
    with autostate.open(url, lease=1):
        assert autostate.PersistedDict[str, int]("pages") == {"first": 1, "second": 2, "third": 3}


def test_credentials_and_endpoint_come_from_the_environment(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the client takes them, without TLS too; none are told."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with closing(open_store(f"s3://states/tests?state={new_state()}")) as store:
        store.write({"record": b"1"})
        assert store.read("record") == b"1"
    with (
        closing(open_store("s3://states?state=a&endpoint=http://127.0.0.1:1")) as store,
        pytest.raises(StoreUnavailableError, match=r"s3://states\?.*state=a") as caught,
    ):
        store.read("record")
    assert "secret" not in str(caught.value)
    assert "someone" not in str(caught.value)


def test_a_forked_process_is_told_at_once(url: str) -> None:
    """The client's threads do not exist there: a call would never return."""
    done = run_python("-c", FORK, env={**os.environ, "AUTOSTATE_URL": url})
    assert "was forked from one that has used S3" in done.stdout, done.stderr


FORK = """
import os, signal, sys
from autostate.errors import StoreError
from autostate.stores import open_store
store = open_store(os.environ["AUTOSTATE_URL"])
store.write({"record": b"1"})
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    signal.alarm(20)  # a hang is a failure
    write, again = lambda key: store.write({key: b"2"}), lambda _: open_store(store.url)
    for call in (store.read, store.list, write, again):
        try:
            call("record")
        except StoreError as error:
            print(error, flush=True)
            continue
        os._exit(1)
    os._exit(0)
"""


def test_ones_own_success_is_no_refusal(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something between client and server has sent the PUT a second time: 412."""
    with closing(open_store(url)) as opened:
        store: Any = opened
        store.write({"owner": b"1"})
        bucket, put = store._objects, store._objects._put

        def twice(*arguments: Any) -> Any:
            put(*arguments)
            return put(*arguments)

        monkeypatch.setattr(bucket, "_put", twice)
        store.write({"owner": b"2"}, expect={"owner": b"1"})
        monkeypatch.setattr(bucket, "_put", put)
        store.write({"owner": b"3"}, expect={"owner": b"2"})
        with pytest.raises(FencedError):
            store.write({"owner": b"4"}, expect={"owner": b"2"})


def test_what_somebody_else_has_put_there_is_not_read(seaweed: Seaweed, url: str) -> None:
    """An object that is too large, and an index that is none."""
    with closing(open_store(url)) as opened:
        store: Any = opened
        seaweed.put(f"tests/{store.state_name}/{INDEX}", b"x" * (MOST + 1))
        with pytest.raises(DamagedStoreError, match="more than any has"):
            store.read("record")
        seaweed.put(f"tests/{store.state_name}/{INDEX}", b"x")
        with pytest.raises(DamagedStoreError, match="does not read"):
            store.write({"record": b"1"})


def test_abandoned_objects_are_found(url: str) -> None:
    """What a killed process has left is listed, and old when the newest is a day younger."""
    with closing(open_store(url)) as opened:
        bucket: Any = vars(opened)["_objects"]
        names = [f"{OBJECTS}{number:032x}-1" for number in range(2)]
        for name in names:
            bucket.put_many({name: b"1"}, None)
            time.sleep(1.1)  # the server counts seconds
        opened.write({LINE: b"1"})  # what lies apart is none of them
        assert bucket.old(OBJECTS, 0.5, None) == names[:1]
        assert bucket.old(OBJECTS, ABANDONED, None) == []


def test_heads_lie_in_the_index(seaweed: Seaweed, url: str) -> None:
    """A commit is one PUT up to the size of a head; segments are objects."""
    with closing(open_store(url)) as opened:
        store: Any = opened
        store.write({"autostate-head-1": b"x" * 30_000, "autostate-owner": b"y"})
        store.write({"autostate-seg-1": b"x" * 10_000})
        index = store._load(None).content
        assert set(index.small) == {"autostate-head-1", "autostate-owner"}
        assert set(index.large) == {"autostate-seg-1"}


def test_a_lineage_is_an_object(seaweed: Seaweed, url: str) -> None:
    """A write overwrites it, and leaves the index alone; a listing tells whether it has changed."""
    with closing(open_store(url)) as opened:
        store: Any = opened
        store.write({"record": b"1"})
        index = store._load(None).version
        keys = [f"shared-0-{number:08}-a-00000000-0000" for number in range(1_100)]
        store.write(dict.fromkeys(keys, b"1"))
        store.write({keys[0]: b"a longer one" * 10_000})
        assert store._load(None).version == index
        assert store.list("shared-0-") == keys, "in two pages"
        assert len(store.scan(["shared-0-"])[keys[0]]) == 120_000
        store.write({keys[0]: b"3"})
        asked: list[str] = []
        get_many = store._objects.get_many

        def counted(names: list[str], timeout: float | None) -> Any:
            asked.extend(names)
            return get_many(names, timeout)

        store._objects.get_many = counted
        assert store.scan(["shared-0-"]) == dict.fromkeys(keys, b"1") | {keys[0]: b"3"}
        assert asked == ["autostate-shared-0/00000000-a-00000000-0000"]
        store.write({}, keys)
        assert store.list("") == ["record"]
        seaweed.put(f"tests/{store.state_name}/autostate-shared-0/x", b"x" * (MOST + 1))
        with pytest.raises(DamagedStoreError, match="more than any has"):
            store.scan(["shared-0-"])


def test_calls_end_in_time(seaweed: Seaweed) -> None:
    """After a timeout, and after Ctrl-C, the next call gets its own answer."""
    with (
        seaweed.proxy() as proxy,
        closing(open_store(seaweed.url(new_state(), proxy))) as store,
    ):
        check_interrupt(store, proxy)
        check_timeouts(store, proxy)


class Refusing(BaseHTTPRequestHandler):
    """Answers as S3 does to a signature that is wrong."""

    answer = (
        b'<?xml version="1.0"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>It differs.'
        b"</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId><CanonicalRequest>host:b\n"
        b"x-amz-security-token:sesame</CanonicalRequest></Error>"
    )

    def do_GET(self) -> None:
        """Refuse."""
        self.send_response(403)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("obstore")
def test_no_message_tells_what_an_answer_quotes() -> None:
    """It has the key and the token of the request in it."""
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    url = f"s3://b?state=a&endpoint=http://127.0.0.1:{server.server_port}&access_key_id=AKIA"
    with (
        closing(open_store(f"{url}&secret_access_key=sesame")) as store,
        pytest.raises(StoreError, match="SignatureDoesNotMatch: It differs") as caught,
    ):
        store.read("record")
    thread.join()
    server.server_close()
    assert "AKIA" not in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.usefixtures("obstore")
def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the address where the client looks for those of a machine's role."""
    for name in [each for each in os.environ if each.startswith("AWS")]:
        monkeypatch.delenv(name)
    url = "s3://b?state=a&endpoint=http://127.0.0.1:1&metadata_endpoint=http://127.0.0.1:2"
    with (
        closing(open_store(url)) as store,
        pytest.raises(StoreUnavailableError, match="set AWS_ACCESS_KEY_ID and") as caught,
    ):
        store.read("record")
    assert "127.0.0.1:2/" not in str(caught.value)


def test_a_write_costs_money() -> None:
    """So it is made more rarely."""
    settings = Settings.for_store("s3://bucket?state=a")
    assert (settings.debounce, settings.max_delay, settings.lease) == (2, 10, 60)

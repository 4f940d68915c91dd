"""Servers that never end, send too much, or lie: an error in time, and little memory."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import logging
import re
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autostate.errors import AutostateError, DamagedStoreError, StoreError, StoreUnavailableError
from autostate.ownership.owner import Owner
from autostate.stores.apify import open_apify
from autostate.stores.apify_platform import MAX_RECORD, ApifyStore

TOKEN = "apify_api_TheSecretToken123"
Answer = Callable[[], Iterator[bytes]]
MIB = 1 << 20


class Server:
    """Answers every request on a loopback port with the same bytes, which may have no end."""

    def __init__(self) -> None:
        self.answer: Answer = lambda: iter([b""])
        self.requests: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._start(self._serve)

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._answer, self._listening.accept()[0])

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.05)
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    request = connection.recv(1 << 16)
                    if not request:
                        return
                    self.requests.append(request)
                    for piece in self.answer():
                        if self._ended.is_set() or not self._send(connection, piece):
                            return

    def _send(self, connection: socket.socket, piece: bytes) -> bool:
        while piece and not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                piece = piece[connection.send(piece) :]
        return True


@pytest.fixture
def server() -> Iterator[Server]:
    """A server."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def store(server: Server) -> Iterator[ApifyStore]:
    """A store on it."""
    store = at(f"http://127.0.0.1:{server.port}")
    yield store
    store.close()


def at(api: str, **named: Any) -> ApifyStore:
    """A store at an API."""
    return ApifyStore(api, TOKEN, "apify:", store_id="one", name=None, **named)


def headed(*headers: str, status: str = "200 OK") -> bytes:
    """The beginning of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    """An answer that ends."""
    return lambda: iter([headed(*headers, f"content-length: {len(body)}", status=status), body])


def endless(first: bytes, more: bytes, wait: float = 0.0) -> Answer:
    """An answer that does not."""

    def answer() -> Iterator[bytes]:
        yield first
        while True:
            time.sleep(wait)
            yield more

    return answer


CHUNKED = headed("transfer-encoding: chunked")
TEN = b"x" * MIB


def packed(encoding: str, body: bytes) -> Iterator[bytes]:
    """An answer with a compressed body."""
    return whole(body, f"content-encoding: {encoding}")()


ZEROS = bytes(64 * MIB)
LARGE: dict[str, Answer] = {
    "body": endless(headed(), TEN),
    "long body": endless(headed(f"content-length: {1 << 60}"), TEN),
    "chunks": endless(CHUNKED, b"100000\r\n" + TEN + b"\r\n"),
    "small chunks": endless(CHUNKED, b"1\r\nx\r\n" * 9999),
    "one chunk": endless(CHUNKED + b"ffffffffffff\r\n", TEN),
    "trailers": endless(CHUNKED + b"0\r\n", b"x: y\r\n" * 9999),
    "long trailers": endless(CHUNKED + b"0\r\n", b"x: " + b"y" * 60_000 + b"\r\n"),
    "headers": endless(headed()[:-2], b"x: y\r\n" * 99),
    "long headers": endless(headed()[:-2], b"x: " + b"y" * 60_000 + b"\r\n"),
    "one header": endless(headed()[:-2] + b"x: ", TEN),
    "continues": endless(b"", headed(status="100 Continue") * 999),
    "status line": endless(b"HTTP/1.1 200 ", TEN),
    "gzipped zeros": lambda: packed("gzip", gzip.compress(ZEROS, 1)),
    "deflated zeros": lambda: packed("deflate", zlib.compress(ZEROS, 1)),
    "endless gzip": endless(
        headed("content-encoding: gzip"), zlib.compressobj(9, wbits=31).compress(bytes(MIB)) + TEN
    ),
}


@pytest.mark.parametrize("kind", LARGE)
def test_an_answer_that_is_too_large_is_an_error(
    server: Server, store: ApifyStore, kind: str
) -> None:
    """Of reads and listings; no more of it is held than a record has."""
    server.answer = LARGE[kind]
    for use in (lambda: store.read("key", timeout=0.5), lambda: store.list("a", timeout=0.5)):
        tracemalloc.start()
        try:
            with pytest.raises(StoreError):
                use()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert most < 5 * MAX_RECORD


def test_a_record_that_is_too_large_is_named(server: Server, store: ApifyStore) -> None:
    """It will not be another one by trying again; one that is as large as can be is read."""
    largest = bytes(MAX_RECORD)
    zipped = "content-encoding: gzip"
    for answer in (whole(largest), whole(gzip.compress(largest, 1), zipped)):
        server.answer = answer
        assert store.read("key") == largest
    for answer in (whole(largest + b"x"), whole(gzip.compress(largest + b"x", 1), zipped)):
        server.answer = answer
        with pytest.raises(DamagedStoreError, match="the record key of apify: has more than"):
            store.read("key")


SLOW: dict[str, Answer] = {
    "silence": endless(b"", b"", 0.02),
    "status line": endless(b"HTTP/1.1 200 ", b"x", 0.02),
    "header": endless(headed()[:-2] + b"x: ", b"y", 0.02),
    "headers": endless(headed()[:-2], b"x:\r\n", 0.1),
    "continues": endless(b"", headed(status="100 Continue"), 0.02),
    "body": endless(headed("content-length: 999999"), b"x", 0.02),
    "chunks": endless(CHUNKED, b"1\r\nx\r\n", 0.02),
    "length of a chunk": endless(CHUNKED, b"0", 0.02),
    "trailers": endless(CHUNKED + b"0\r\n", b"x: y\r\n", 0.02),
}


@pytest.mark.parametrize("kind", SLOW)
def test_an_answer_that_drips_is_given_up_in_time(
    server: Server, store: ApifyStore, kind: str
) -> None:
    """The timeout is for all of it, not for each byte."""
    server.answer = SLOW[kind]
    for use in (
        lambda: store.read("key", timeout=0.2),
        lambda: store.write({"key": b"{}"}, timeout=0.2),
        lambda: store.list("", timeout=0.2),
    ):
        with pytest.raises(StoreUnavailableError, match="flush_timeout"):
            use()


def pages(make: Callable[[int], Any]) -> Answer:
    """An answer to each listing, one after another."""
    numbers = itertools.count()

    def answer() -> Iterator[bytes]:
        return whole(json.dumps({"data": make(next(numbers))}).encode())()

    return answer


def page(keys: list[Any], following: Any = None, **more: Any) -> dict[str, Any]:
    """A page of a listing."""
    found = {"isTruncated": following is not None, "nextExclusiveStartKey": following}
    return {"items": [{"key": key} for key in keys], **found, **more}


LISTINGS: dict[str, tuple[Callable[[int], Any], str]] = {
    "the same page": (lambda _: page(["a"], "a"), "not the API's"),
    "no next page": (lambda _: page(["a"], isTruncated=True), "not the API's"),
    "endless pages": (
        lambda n: page([f"a{n}-{i}" for i in range(20_000)], f"{n}"),
        "more than 100,000 records",
    ),
    "empty pages": (lambda n: page([], str(n)), "flush_timeout"),
    "huge keys": (lambda n: page(["a" * 5_000_000], str(n)), "more than 4,194,304 bytes"),
    "keys that are no texts": (lambda _: page([1]), "not the API's"),
    "items that are none": (lambda _: {"items": 5, "isTruncated": False}, "not the API's"),
    "next page that is none": (lambda _: page(["a"], [1]), "not the API's"),
    "no items": (lambda _: {}, "not the API's"),
    "null": (lambda _: None, "not the API's"),
}


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_listing_that_never_ends_is_an_error(
    server: Server, store: ApifyStore, kind: str
) -> None:
    """By what the pages say, by the number of keys, or in the end by the time."""
    make, message = LISTINGS[kind]
    server.answer = pages(make)
    with pytest.raises(StoreError, match=message):
        store.list("a", timeout=1.0 if message == "flush_timeout" else 60.0)


def test_a_key_that_is_listed_twice_is_one(server: Server, store: ApifyStore) -> None:
    """Colliding keys on several pages."""
    server.answer = pages(lambda n: page(["b", "a"], "b") if not n else page(["a", "a"]))
    assert store.list("") == ["a", "b"]


def test_stores_without_end_are_an_error(server: Server) -> None:
    """Of a named store that is only looked for."""
    server.answer = pages(lambda n: {"items": [{"id": str(n), "name": "x"}], "total": n + 9})
    store = ApifyStore(
        f"http://127.0.0.1:{server.port}", TOKEN, "apify:no", store_id=None, name="no", make=False
    )
    with pytest.raises(StoreUnavailableError, match="flush_timeout"):
        store.list("", timeout=0.5)
    store.close()


NESTED = (b"[" * 100_000, b'{"data":' * 100_000, b'{"data":' + b"[" * 200_000 + b"]" * 200_000)
STRANGE = (*NESTED, b"", b"\xff", b"1" * 100_000, b'{"data":{"id":1}}', b'{"data":"\xed\xa0\x80"}')


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "400 Bad", "500 Oh"])
def test_nested_and_strange_json_is_an_error(
    server: Server, store: ApifyStore, status: str
) -> None:
    """Nothing but an error of the library, whatever is asked."""
    named = ApifyStore(
        f"http://127.0.0.1:{server.port}", TOKEN, "apify:no", store_id=None, name="no"
    )
    found = ApifyStore(
        f"http://127.0.0.1:{server.port}", TOKEN, "apify:no", store_id=None, name="no", make=False
    )
    for body in STRANGE:
        server.answer = whole(body, status=status)
        for use in (store.list, named.read, found.read):
            with contextlib.suppress(StoreError):
                assert not use("a")
        assert named.owner_lives(Owner(1, "host", "", None, run="one")) is None
    for one in (named, found):
        one.close()


ECHOES: dict[str, Answer] = {
    "status line": lambda: iter([f"HTTP/9 {TOKEN}\r\n\r\n".encode()]),
    "no status line": lambda: iter([f"Bearer {TOKEN}\r\n\r\n".encode()]),
    "reason": whole(b"", status=f"500 {TOKEN}"),
    "type": whole(json.dumps({"error": {"type": TOKEN}}).encode(), status="400 Bad"),
    "encoding": whole(b"x", f"content-encoding: {TOKEN}"),
    "location": whole(b"", f"location: http://{TOKEN}:{TOKEN}@[", status="302 Found"),
    "path": whole(b"", f"location: /\x01{TOKEN}", status="302 Found"),
    "port": whole(b"", f"location: http://u:{TOKEN}@127.0.0.1:{TOKEN}/", status="302 Found"),
    "closed port": whole(b"", f"location: http://u:{TOKEN}@127.0.0.1:9/", status="302 Found"),
    "length of a chunk": lambda: iter([CHUNKED, f"{TOKEN}\r\n".encode()]),
    "body": whole(f"HTTP {TOKEN}".encode(), status="403 No"),
    "listing": whole(json.dumps({"data": {"items": [{"key": 1, TOKEN: TOKEN}]}}).encode()),
}


def told_by(use: Callable[[str], object], key: str) -> str:
    """What is shown of an error of the library, with all from which it was raised."""
    try:
        use(key)
    except AutostateError as error:
        return "".join(traceback.format_exception(error))
    return ""


@pytest.mark.parametrize("kind", ECHOES)
def test_no_error_shows_what_the_server_says(
    server: Server, store: ApifyStore, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be what it was sent: the token; or the password of a place to which it sends us."""
    server.answer = ECHOES[kind]
    caplog.set_level(logging.DEBUG)
    for use in (store.read, store.list, lambda key: store.write({key: b"{}"})):
        assert TOKEN not in told_by(use, "key")
    assert TOKEN not in caplog.text
    assert server.requests


def test_a_redirect_gets_no_token_and_is_followed_once(server: Server, store: ApifyStore) -> None:
    """To another host, another port, and to another scheme."""
    other = Server()
    try:
        for host in ("localhost", "u:p@127.0.0.1", "127.0.0.1"):
            other.requests.clear()
            other.answer = whole(b"", "location: /again", status="302 Found")
            location = f"location: http://{host}:{other.port}/there?a=1"
            server.answer = whole(b"", location, status="307 Temporary Redirect")
            with pytest.raises(StoreError, match="302"):
                store.read("key")
            [request] = other.requests
            assert request.startswith(b"GET /there?a=1 HTTP/1.1\r\n")
            assert TOKEN.encode() not in request
            server.answer = whole(b"", location.replace("http:", "https:"), status="302 Found")
            with pytest.raises(StoreError):
                store.read("key", timeout=1.0)
            assert all(TOKEN.encode() not in request for request in other.requests)
    finally:
        other.close()
    for location in ("file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x", "http://", "//"):
        server.answer = whole(b"", f"location: {location}", status="302 Found")
        with pytest.raises(StoreError):
            store.read("key", timeout=1.0)


def test_credentials_in_the_base_url_are_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of one that works nor of one that cannot."""
    server.answer = whole(b"?", status="500 Oh")

    def read(api: str) -> None:
        with contextlib.closing(at(api)) as store:
            store.read("key", timeout=1.0)

    for api in (
        f"http://user:{TOKEN}@127.0.0.1:{server.port}",
        f"http://user:{TOKEN}@127.0.0.1:9",
        f"ftp://user:{TOKEN}@127.0.0.1",
        f"http://127.0.0.1:{TOKEN}",
        f"http://[{TOKEN}",
        f"http://user:{TOKEN}@",
        f"{TOKEN}",
    ):
        told = told_by(read, api)
        assert told
        assert TOKEN not in told
    for token in (f"{TOKEN}\n", f"{TOKEN}\u20ac", f"{TOKEN} x"):
        monkeypatch.setenv("APIFY_IS_AT_HOME", "1")
        monkeypatch.setenv("APIFY_TOKEN", token)
        monkeypatch.setenv("ACTOR_DEFAULT_KEY_VALUE_STORE_ID", "one")
        with pytest.raises(StoreError, match="APIFY_TOKEN holds a character") as refused:
            open_apify(None)
        assert TOKEN not in "".join(traceback.format_exception(refused.value))
    assert not re.search(TOKEN, repr(at("http://127.0.0.1")))

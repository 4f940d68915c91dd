"""One synchronous HTTP connection with deadlines, on the standard library alone.

It works where this library has to work: in a thread while the event loop is blocked, in `atexit`,
in a forked child. A request is sent once and never repeated without the caller: a first copy that
arrives late would overwrite later writes. To make failures rare, a connection that was idle for
long, or that the other side has closed, is replaced before it is used.

The answer may come from anybody: a proxy, or a server that a redirect names. `http.client` limits
the length of one line of an answer, but not the number of lines, and a timeout of a socket begins
anew with every byte. So the deadline, and the limit for the bytes of an answer including its
headers, are enforced below `http.client`, where it reads from the socket. The texts of its errors
may contain data that was received or sent, and are not shown.
"""

from __future__ import annotations

import http.client
import io
import re
import select
import socket
import time
import zlib
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from autostate.errors import StoreError, StoreUnavailableError

_MAX_IDLE = 20.0
"""Seconds after which servers may have dropped a connection without a notice."""

_ENVELOPE = 1 << 20
"""The most bytes of an answer beside its content: headers, the lengths of chunks."""

_CHUNK = 256 * 1024
_TOKEN: Final = re.compile(r"[!-~]+")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, its body decompressed.

    Attributes:
        status: The status.
        body: The body.
        retry_after: The header of that name: seconds, or a date.
    """

    status: int
    body: bytes
    retry_after: str | None = None


class Request(NamedTuple):
    """An HTTP request.

    Attributes:
        method: The HTTP method.
        path: The path and query.
        deadline: The time to give up, on the monotonic clock.
        body: The body.
        headers: Headers besides those of the connection.
        limit: The most bytes of the decompressed body of the answer. An answer about a store, a
            page of a thousand keys for example, has a tenth of the default.
    """

    method: str
    path: str
    deadline: float
    body: bytes | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    limit: int = 4 << 20


class AnswerTooLargeError(StoreError):
    """An answer is larger than the requested content can be. It was not read to its end."""


class _BadAnswerError(http.client.HTTPException):
    """An error in an answer; its text contains nothing of the answer."""


_HARMLESS = (OSError, _BadAnswerError, zlib.error)
"""Errors whose text contains nothing of an answer."""


class Terms(NamedTuple):
    """What messages to users call the things that they may have to change.

    Attributes:
        url: Where the URL stands.
        time: The time for an answer.
    """

    url: str = "APIFY_API_BASE_URL"
    time: str = "the time that the setting flush_timeout left for it"


OF_APIFY: Final = Terms()


class HttpConnection:
    """A kept-alive connection to one server. Used by one thread at a time.

    Args:
        base_url: Scheme, host, and a path that goes before every path.
        token: Sent as a bearer token; None: there is none.
        terms: The words of messages.
    """

    def __init__(self, base_url: str, token: str | None, terms: Terms = OF_APIFY) -> None:
        self._terms = terms
        parts = _split(base_url.rstrip("/").removesuffix("/v2"))
        if parts is None:
            raise StoreError(
                f"what {terms.url} holds is not the URL of an API, such as "
                "https://api.apify.com: check it"
            )
        if token is not None and not _TOKEN.fullmatch(token):
            raise StoreError(
                "APIFY_TOKEN holds a character that no token has, the end of a line perhaps: check "
                "it"
            )
        self._origin = _origin_of(parts)
        self._path = parts.path
        self._headers = {"accept-encoding": "gzip, identity", "user-agent": "autostate"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def request(self, request: Request) -> Answer:
        """Send one request and read the answer.

        Raises:
            StoreUnavailableError: There was no answer in time: the outcome is unknown.
            AnswerTooLargeError: The content is larger than the request allows.
            StoreError: The server cannot be trusted (its certificate is not valid).
        """
        try:
            return self._exchange(request)
        except BaseException as error:
            self.close()  # in the middle of an exchange: the connection cannot be used again
            translated = _translated(error, self._origin, request, self._terms)
            if translated is None:
                raise
            # The text and the cause of any other error of `http.client` may contain anything.
            raise translated from (error if isinstance(error, _HARMLESS) else None)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _exchange(self, request: Request) -> Answer:
        connection = self._ready(request.deadline)
        headers = {**self._headers, **request.headers}
        target = f"{self._path}{request.path}"
        answer, location = _answered(connection, target, headers, request)
        self._used = time.monotonic()
        if connection.sock is None:
            self.close()
        if request.method == "GET" and answer.status in _REDIRECTS and location:
            return _follow(f"{self._origin}{target}", location, headers, request)
        return answer

    def _ready(self, deadline: float) -> http.client.HTTPConnection:
        """Give a connection that is open as far as can be known."""
        connection = self._connection
        if connection is not None and self._stale(connection):
            self.close()
            connection = None
        if connection is None:
            connection = self._connection = _connected(self._origin, deadline)
        return connection

    def _stale(self, connection: http.client.HTTPConnection) -> bool:
        if connection.sock is None or time.monotonic() - self._used > _MAX_IDLE:
            return True
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))  # no request is open: readable means closed


class _TooMuchError(Exception):
    """The answer is larger than it can be."""


class _Wire:
    """A socket for one exchange, with a deadline and a limit of bytes.

    Attributes:
        deadline: The time to give up, on the monotonic clock.
        left: The number of bytes that may still come.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.deadline = 0.0
        self.left = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def sendall(self, data: Any) -> None:
        self.socket.settimeout(_remaining(self.deadline))
        self.socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self, self.socket.makefile("rb", buffering=0)))


class _Stream(io.RawIOBase):
    """The bytes that come over a wire, as a stream."""

    def __init__(self, wire: _Wire, raw: io.RawIOBase) -> None:
        self._wire = wire
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        wire = self._wire
        if wire.left <= 0:
            raise _TooMuchError
        wire.socket.settimeout(_remaining(wire.deadline))
        count = self._raw.readinto(buffer)
        wire.left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _split(url: str, location: str = "") -> SplitResult | None:
    """Split a URL, or a redirect from it, that names a host; None for any other text."""
    try:
        parts = urlsplit(urljoin(url, location))
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known else None


def _origin_of(parts: SplitResult) -> str:
    """Give scheme, host and port, without the name and the password that a URL may contain."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _connected(origin: str, deadline: float) -> http.client.HTTPConnection:
    parts = urlsplit(origin)
    assert parts.hostname is not None
    remaining = _remaining(deadline)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=remaining)
    connection.connect()
    connection.sock = _Wire(connection.sock)
    return connection


def _answered(
    connection: http.client.HTTPConnection, target: str, headers: dict[str, str], request: Request
) -> tuple[Answer, str | None]:
    """Send one request; give the answer, and the target of a redirect."""
    wire: Any = connection.sock
    wire.deadline, wire.left = request.deadline, request.limit + _ENVELOPE
    with suppress(BrokenPipeError):  # the server may answer before it has read everything
        connection.request(request.method, target, request.body, headers)
    with connection.getresponse() as response:
        data = _drain(response, request.limit)
    if response.will_close:
        connection.close()
    plain = _inflated(data, response.getheader("content-encoding"), request.limit)
    answer = Answer(response.status, plain, response.getheader("retry-after"))
    return answer, response.getheader("location")


def _follow(url: str, location: str, headers: dict[str, str], request: Request) -> Answer:
    """Read a record from the target of the API's redirect, without sending the token elsewhere."""
    parts = _split(url, location)
    if parts is None:
        raise _BadAnswerError("redirected to something that is not HTTP")
    elsewhere, target = _origin_of(parts), urlunsplit(("", "", parts.path or "/", parts.query, ""))
    known = elsewhere == _origin_of(urlsplit(url))
    kept = {k: v for k, v in headers.items() if known or k != "authorization"}
    with closing(_connected(elsewhere, request.deadline)) as connection:
        return _answered(connection, target, kept, request)[0]


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no time left")
    return remaining


def _drain(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Read the body, in pieces."""
    data = bytearray()
    while piece := response.read1(_CHUNK):
        data += piece
        if len(data) > limit + _ENVELOPE:  # compressed it may be a little larger
            raise _TooMuchError
    if response.length:
        raise _BadAnswerError("the answer breaks off")
    return bytes(data)


def _inflated(body: bytes, encoding: str | None, limit: int) -> bytes:
    plain = body
    if body and (encoding or "identity").lower() != "identity":
        if encoding not in {"gzip", "deflate"}:
            raise _BadAnswerError("it is compressed in a way that was not asked for")
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = inflate.decompress(body, limit + 1)
        if len(plain) <= limit and not inflate.eof:
            raise _BadAnswerError("the compressed answer is incomplete")
    if len(plain) > limit:
        raise _TooMuchError
    return plain


def _translated(
    error: BaseException, origin: str, request: Request, terms: Terms
) -> StoreError | None:
    """Make the library's error from an error of the network; None for any other."""
    method = request.method
    if isinstance(error, _TooMuchError):
        told = f"{origin} gave an answer to {method} of more than {request.limit:,} bytes"
        if method == "GET":
            return AnswerTooLargeError(f"{told}: check {terms.url}")
        return StoreUnavailableError(told)  # a write may have been done
    if type(error).__name__ == "SSLCertVerificationError":
        return StoreError(f"{origin}: its certificate is not valid. Check {terms.url}")
    if isinstance(error, TimeoutError):
        return StoreUnavailableError(f"{origin} did not answer {method} in {terms.time}")
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return StoreUnavailableError(f"{origin} cannot be reached: {error}")
    what = type(error).__name__.strip("_")
    if isinstance(error, _HARMLESS):
        return StoreUnavailableError(f"{origin} was lost during {method}: {what}: {error}")
    if isinstance(error, http.client.HTTPException):
        return StoreUnavailableError(f"{origin} was lost during {method}: {what}")
    return None
